"""Systems of single images: radiographs, or slices of CT that came as pictures."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.hospitals import check_hospitals
from pulmoscope.datasets.labels import renamed
from pulmoscope.datasets.table import SampleTable
from pulmoscope.quality.unproven import limits_of
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import is_bundle
from pulmoscope.training.classification import by_accuracy_then_loss
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.folds import cross_validate
from pulmoscope.training.frame_cache import frame_cache_of
from pulmoscope.training.frames import IMAGES, frames_of, prepared, read_frames, write_frames
from pulmoscope.training.run import PREPARED, TrainedRun, check_free, fit, measured, settled
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
from pulmoscope.training.tune.head import FEATURES, VARIANTS, fit_head, frozen_throughout, write_features


@dataclass(frozen=True)
class Images(System):
    """A recipe of single images.

    Attributes:
        told: what is said of the data.
        framed: the recipe that images shared by trials are framed by.
        cached: trials train heads alone, on features of the frozen backbone.
    """

    figures = ("val_accuracy", "val_loss", "best_epoch", "epochs")
    told: Told | None = None
    framed: Recipe | None = None
    cached: bool = False

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_without_model(options, folds)
        check_free(out / "fold-1" if folds else out, options.resume, options.force)

    @classmethod
    def of(cls, recipe: Recipe, tables: Sequence[SampleTable], options: Options) -> Self:
        """See :meth:`System.of`; says which labels are renamed, and what is left out."""
        (table,) = tables
        check_hospitals(table, recipe.left_out)
        line = renamed(table, recipe.labels)
        whole, known = settled(recipe, table)
        notes = Told([f"labels: {line}"] if line else [], known.warnings[len(table.warnings) :])
        return cls(whole, (known,), options, notes)

    def notes(self) -> Told:
        """See :meth:`System.notes`."""
        return self.told or Told(())

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        run = self._fitted(self.recipe, self.table, out)
        summary, warnings = run.summary, []
        # It is a bundle only where a finished run was resumed: exporting again would drop its figures.
        if not is_bundle(out):
            made = export_bundle(out, self.table, version=self.options.release, terms=self.options.terms)
            warnings = [f"every answer of this model is referred: {flag.message}" for flag in limits_of(made)]
        best = []
        if summary["val_accuracy"] is not None:
            best.append(
                f"best epoch {summary['best_epoch']}: held-out accuracy {summary['val_accuracy']:.4f}, "
                f"loss {summary['val_loss']:.4f}"
            )
        seconds = f"{summary['epochs']} epochs in {summary['seconds']:.0f} s; curves: {out / 'curves.png'}"
        return Told([*best, seconds, f"Model: {out}"], warnings)

    def cross_validate(self, folds: int, out: Path) -> Told:
        """See :meth:`System.cross_validate`."""
        shared = out / PREPARED  # each image is in every fold
        recipe = dataclasses.replace(self.recipe, cache=self.recipe.cache or str(shared))
        done = cross_validate(recipe, self.table, folds, out, partial(self._fitted, recipe))
        shutil.rmtree(shared, ignore_errors=True)
        return report_of_folds(done, out)

    def _fitted(self, recipe: Recipe, table: SampleTable, out: Path) -> TrainedRun:
        how = self.options
        return fit(
            recipe,
            table,
            out,
            device=how.device,
            workers=how.workers,
            launch=how.launch,
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
        """See :meth:`System.for_trials`; chooses what trials share."""
        whole, known = settled(recipe, prepared(recipe, table).split("train", "val"))
        ends = [
            settings.apply(whole, [f"{name}={value}" for name, value in point.items()]) for point in points
        ]
        cacheable = (
            all(frozen_throughout(trial) for trial in ends) and len({_features(trial) for trial in ends}) == 1
        )
        if cached_features and not cacheable:
            raise RecipeError(
                f"{recipe.name}: its backbone is trained, its images are mixed or framed anew for every trial, or its "
                "loss is not the plain one; features can't be cached"
            )
        framed = next((trial for trial in ends if _maps(trial)), whole)
        cached = cacheable if cached_features is None else cached_features
        return cls(whole, (known,), options, framed=framed, cached=cached)

    @property
    def feature_variants(self) -> int | None:
        """Augmented variants an image, where features are computed once; else None."""
        return VARIANTS if self.cached else None

    def prepare(self, cache: Path, progress: bool) -> None:
        """Read and frame the images; for cached features run the backbone over them, too."""
        if not (cache / IMAGES).is_file():
            framed = self.framed or self.recipe
            kept = frame_cache_of(framed, None)
            write_frames(frames_of(framed, self.table, progress, kept), cache)
        if self.cached and not (cache / FEATURES).is_file():
            frames = read_frames(cache)
            write_features(measured(self.recipe, frames), frames, cache, progress)

    def trained(self, recipe: Recipe, cache: Path, run: Path, report: Report) -> Figures:
        """Accuracy and loss of the best epoch, which epoch that was, and how many there were."""
        if self.cached:
            return fit_head(recipe, cache, report)
        shared = _framing(recipe) == _framing(self.framed or self.recipe)
        run_done = fit(
            dataclasses.replace(recipe, cache=recipe.cache or str(cache / PREPARED)),
            self.table,
            run,
            device=self.options.device,
            force=True,
            progress=False,
            frames=read_frames(cache) if shared else None,
            after_epoch=lambda row: report(-by_accuracy_then_loss(row)),
        )
        return {name: run_done.summary[name] for name in self.figures}


def _maps(recipe: Recipe) -> bool:
    return bool(recipe.locate or recipe.augmentation.opacities)


def _framing(recipe: Recipe) -> Sequence[Any]:
    """What framed images depend on."""
    return recipe.preprocess, recipe.classes, recipe.labels, recipe.unread


def _features(recipe: Recipe) -> str:
    """What a frozen backbone's features depend on: all but the head and how it is trained."""
    model = dataclasses.replace(recipe.model, dropout=0.0, hidden=0)
    head = dataclasses.replace(
        recipe, model=model, phases=(), batch_size=0, class_weights=False, label_smoothing=0.0
    )
    return repr(head)
