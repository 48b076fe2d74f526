"""Systems of CT studies: with an ensemble of learnt votes, or with grades."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.hospitals import check_hospitals, without
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import is_bundle
from pulmoscope.training.classification import by_accuracy_then_loss
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.folds import cross_validate
from pulmoscope.training.hardware import find_device
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import TrainedRun, check_free
from pulmoscope.training.severity import run as severity
from pulmoscope.training.severity.folds import cross_validate_severity
from pulmoscope.training.state import Row
from pulmoscope.training.systems.base import (
    Figures,
    Options,
    Point,
    Report,
    System,
    Told,
    check_without_model,
    report_of_folds,
)
from pulmoscope.training.three_level import run as three_level
from pulmoscope.training.three_level.studies import Cache


class _Studies(System):
    """What all systems of CT studies have in common."""

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_free(out / "fold-1" if folds else out, options.resume, options.force)

    @classmethod
    def of(cls, recipe: Recipe, tables: Sequence[SampleTable], options: Options) -> Self:
        """See :meth:`System.of`: hospitals are left out, and labels put in the recipe's words."""
        (table,) = tables
        check_hospitals(table, recipe.left_out)
        table = without(table, recipe.left_out) if recipe.left_out else table
        return cls(recipe, (mapped_labels(table, recipe.labels),), options)

    @classmethod
    def for_trials(
        cls,
        recipe: Recipe,
        table: SampleTable,
        points: Sequence[Point],
        cached_features: bool | None,
        options: Options,
    ) -> Self:
        """See :meth:`System.for_trials`."""
        known = cls.of(recipe, (table,), options).table
        return super().for_trials(recipe, known, points, cached_features, options)


class Studies(_Studies):
    """CT studies in three levels; the ensemble's accuracy on patients counts, slices' accuracy prunes."""

    figures = ("val_accuracy", "val_loss", "best_epoch", "epochs")

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_without_model(options, folds)
        super().check_free(out, options, folds)

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        summary = self._fitted(self.table, out).summary
        if not is_bundle(out):
            export_bundle(
                out,
                self.table,
                self.options.release,
                terms=self.options.terms,
                progress=self.options.progress,
            )
        return Told(
            [
                f"held-out accuracy of the ensemble {summary['val_accuracy']:.4f}; {summary['epochs']} epochs in "
                f"{summary['seconds']:.0f} s; curves: {out / 'curves.png'}",
                f"Model: {out}",
            ]
        )

    def cross_validate(self, folds: int, out: Path) -> Told:
        """See :meth:`System.cross_validate`; the ensemble's figures on patients count."""
        return report_of_folds(cross_validate(self.recipe, self.table, folds, out, self._fitted), out)

    def _fitted(self, table: SampleTable, out: Path) -> TrainedRun:
        how = self.options
        return three_level.fit_studies(
            self.recipe,
            table,
            out,
            device=how.device,
            resume=how.resume,
            force=how.force,
            progress=how.progress,
        )

    @classmethod
    def for_trials(
        cls,
        recipe: Recipe,
        table: SampleTable,
        points: Sequence[Point],
        cached_features: bool | None,
        options: Options,
    ) -> Self:
        """See :meth:`System.for_trials`."""
        system = super().for_trials(recipe, table, points, cached_features, options)
        return dataclasses.replace(system, recipe=three_level.resolve_studies(recipe, system.table))

    def prepare(self, cache: Path, progress: bool) -> None:
        """Prepare the slices."""
        three_level.prepared_splits(self.recipe, self.table, Cache(cache), Reporter.of(progress))

    def trained(self, recipe: Recipe, cache: Path, run: Path, report: Report) -> Figures:
        """Of the ensemble, on patients."""

        def of_slices(row: Row) -> None:
            if row["phase"].startswith("1-"):  # the levels above take seconds
                report(-by_accuracy_then_loss(row))

        settled = dataclasses.replace(recipe, cache=recipe.cache or str(cache))
        device = self.options.device
        summary = three_level.fit_studies(
            settled, self.table, run, device=device, force=True, progress=False, after_epoch=of_slices
        ).summary
        return {**summary["phases"][-1], "epochs": summary["epochs"]}


class Grades(_Studies):
    """CT studies with grades; Matthews' correlation on patients counts, by the vote that the recipe names."""

    figures = ("val_mcc", "val_accuracy", "epochs")

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        summary = self.fitted(self.recipe, self.table, out).summary
        seconds = f"{summary['epochs']} epochs in {summary['seconds']:.0f} s; curves: {out / 'curves.png'}"
        return Told([seconds, f"Model: {out}"])

    def fitted(self, recipe: Recipe, table: SampleTable, folder: Path) -> TrainedRun:
        """A run that is a bundle; one that is finished is left as it is."""
        how = self.options
        run = severity.fit_severity(
            recipe,
            table,
            folder,
            device=how.device,
            resume=how.resume,
            force=how.force,
            progress=how.progress,
        )
        if not is_bundle(folder):
            export_bundle(
                folder, table, how.release, cache=recipe.cache, terms=how.terms, progress=how.progress
            )
        return run

    def cross_validate(self, folds: int, out: Path) -> Told:
        """See :meth:`System.cross_validate`."""
        command = self.options.command
        validated = cross_validate_severity(
            self.recipe, self.table, folds, out, self.fitted, command=command
        ).summary
        mcc = [
            f"MCC of held-out studies, {level}: {_figure(row['scores']['mcc'])}"
            for level, row in validated["figures"].items()
        ]
        anomalies = [
            f"AnoGAN, AUROC of {name} against the first class: "
            + ", ".join(f"{level} {_figure(row[level])}" for level in ("slice", "study"))
            for name, row in (validated["anomaly"] or {"auroc": {}})["auroc"].items()
        ]
        synthetic = ["Synthetic: the figures are of simulated studies and say nothing about patients."]
        lines = [*mcc, *anomalies, *(synthetic if validated["synthetic"] else [])]
        return Told([*lines, f"Summary: {out / 'summary.json'}"])

    def prepare(self, cache: Path, progress: bool) -> None:
        """Standardise the slices, and train the networks of quality control."""
        reporter, shared = Reporter.of(progress), Cache(cache)
        train, _ = severity.prepared_splits(self.recipe, self.table, shared, reporter)
        device = find_device(self.options.device)
        severity.quality_controlled(self.recipe, train, shared, device, reporter)

    def trained(self, recipe: Recipe, cache: Path, run: Path, report: Report) -> Figures:
        """Of patients; held-out studies are predicted when all is trained, so nothing is reported before."""
        settled = dataclasses.replace(recipe, cache=recipe.cache or str(cache))
        device = self.options.device
        run_done = severity.fit_severity(settled, self.table, run, device=device, force=True, progress=False)
        figures = export_bundle(run, self.table, cache=settled.cache, progress=False).metrics["val"][
            "figures"
        ]
        if figures["mcc"]["value"] is None:
            raise RecipeError("val has studies of one grade only; their correlation is not defined")
        accuracy = figures["accuracy"]["value"]
        return {
            "val_mcc": figures["mcc"]["value"],
            "val_accuracy": accuracy,
            "epochs": run_done.summary["epochs"],
        }


def _figure(estimate: Mapping[str, Any]) -> str:
    """An estimate and its interval as text."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return "-" if value is None else f"{value:.3f}" + ("" if low is None else f" ({low:.3f}–{high:.3f})")
