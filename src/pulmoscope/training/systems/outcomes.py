"""Outcomes of patients, from a table of values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import check_folder
from pulmoscope.recipes.recipe import Named
from pulmoscope.runtime.outcome import MANIFEST
from pulmoscope.training.outcome.run import SUMMARY, cross_validate_outcome, train_outcome
from pulmoscope.training.systems.base import Figures, Options, Report, System, Told, check_without_model

_SHOWN = ("auroc", "calibration_error", "brier")


class Outcomes(System):
    """Patients with values and an outcome; trained in seconds, so that nothing is gone on with."""

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_without_model(options, folds)
        check_folder(out, SUMMARY if folds else MANIFEST, options.force)

    def notes(self) -> Told:
        """How many values are missing because they are impossible."""
        counts = ", ".join(f"{name} {count}" for name, count in self.patients.impossible.items())
        warning = f"{self.patients.name}: values beyond the catalogue's limits count as missing: {counts}"
        return Told((), (warning,) if counts else ())

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        how = self.options
        model = train_outcome(
            self.recipe,
            self.patients,
            out,
            force=how.force,
            terms=how.terms,
            release=how.release,
            command=how.command,
        )
        lines = [_line(split, own) for split, own in model.metrics.items()]
        return Told([*lines, f"Threshold: {model.threshold:.3f}", f"Model: {out}"])

    def cross_validate(self, folds: int, out: Path) -> Told:
        """See :meth:`System.cross_validate`."""
        summary = cross_validate_outcome(self.recipe, self.patients, folds, out, self.options.force)
        return Told([_line(f"{folds} folds", summary["figures"]), f"Summary: {out / SUMMARY}"])

    @property
    def patients(self) -> Any:
        """The table of patients.

        Raises:
            RecipeError: several are given.
        """
        if len(self.tables) != 1:
            raise RecipeError(f"{self.recipe.name}: learns from one --data (found: {len(self.tables)})")
        return self.tables[0]

    def prepare(self, cache: Path, progress: bool) -> None:
        """Nothing: there are no trials."""

    def trained(self, recipe: Named, cache: Path, run: Path, report: Report) -> Figures:
        """None: see the recipe's ``untunable``."""
        raise RecipeError(f"{recipe.name}: can't be tuned: {recipe.untunable}")


def _line(split: str, own: Mapping[str, Any]) -> str:
    figures = ", ".join(f"{name} {_with_interval(own['figures'][name])}" for name in _SHOWN)
    return f"{split}: {own['patients']} patients, {own['events']} with the outcome; {figures}"


def _with_interval(figure: Mapping[str, float | None]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    text = "-" if value is None else f"{value:.3f}"
    return text if low is None else f"{text} ({low:.3f} to {high:.3f})"
