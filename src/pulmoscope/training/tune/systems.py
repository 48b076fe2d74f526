"""What a trial trains, for every kind of recipe: one class a kind, and the one place that knows which."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import settings
from pulmoscope.recipes.published.xray_lungs import LungRecipe
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.severity import SeverityRecipe
from pulmoscope.recipes.three_level import ThreeLevelRecipe
from pulmoscope.training.cached import (
    FEATURES,
    IMAGES,
    VARIANTS,
    fit_head,
    frozen_throughout,
    read_frames,
    write_features,
    write_frames,
)
from pulmoscope.training.frames import frames_of, prepared
from pulmoscope.training.hardware import find_device
from pulmoscope.training.loop import fit, measured, settled
from pulmoscope.training.lung_finder.fit import train_lung_finder
from pulmoscope.training.severity import run as severity
from pulmoscope.training.severity.export import export_severity
from pulmoscope.training.state import Row
from pulmoscope.training.three_level import run as three_level
from pulmoscope.training.three_level.course import Teller
from pulmoscope.training.three_level.studies import Cache
from pulmoscope.training.tune.plan import Plan, Tuned, as_settings

Report = Callable[[float], None]
"""Gets a validation figure after every epoch; raises to end the trial."""
Figures = dict[str, Any]

_IMAGE_FIGURES = ("val_accuracy", "val_loss", "best_epoch", "epochs")


@dataclass(frozen=True)
class System(ABC):
    """A recipe and its data.

    Attributes:
        figures: what a trial gives; the first is to become large.
        recipe: as trials train it.
        table: the samples of train and val.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    figures: ClassVar[tuple[str, ...]]
    recipe: Any
    table: SampleTable
    device: str

    @property
    def feature_variants(self) -> int | None:
        """Augmented variants an image, where features are computed once; else None."""
        return None

    @abstractmethod
    def prepare(self, cache: Path, progress: bool) -> None:
        """Make what all trials share; what is there already stays."""

    @abstractmethod
    def trained(self, recipe: Any, cache: Path, run: Path, report: Report) -> Figures:
        """Train a trial's recipe in the folder ``run``, and give its figures."""


@dataclass(frozen=True)
class Images(System):
    """Radiographs or single slices of CT.

    Attributes:
        framed: the recipe that the shared images are framed by.
        cached: train heads alone, on features of the frozen backbone.
    """

    figures = _IMAGE_FIGURES
    framed: Recipe
    cached: bool

    @classmethod
    def of(cls, recipe: Recipe, table: SampleTable, plan: Plan, cached: bool | None, device: str) -> Images:
        """Choose what trials share.

        Raises:
            RecipeError: ``cached`` for trials whose features differ.
        """
        ends = [settings.apply(recipe, as_settings(point)) for point in plan.points()]
        cacheable = all(frozen_throughout(own) for own in ends) and len({_features(own) for own in ends}) == 1
        if cached and not cacheable:
            raise RecipeError(
                f"{recipe.name}: its backbone is trained, its images are mixed or framed anew for every trial, or its "
                "loss is not the plain one; features can't be cached"
            )
        framed = next((own for own in ends if _maps(own)), recipe)
        return cls(recipe, table, device, framed, cacheable if cached is None else cached)

    @property
    def feature_variants(self) -> int | None:
        """Augmented variants an image, where features are computed once; else None."""
        return VARIANTS if self.cached else None

    def prepare(self, cache: Path, progress: bool) -> None:
        """Read and frame the images; for cached features run the backbone over them, too."""
        if not (cache / IMAGES).is_file():
            write_frames(frames_of(self.framed, self.table, progress), cache)
        if self.cached and not (cache / FEATURES).is_file():
            frames = read_frames(cache)
            write_features(measured(self.recipe, frames), frames, cache, progress)

    def trained(self, recipe: Recipe, cache: Path, run: Path, report: Report) -> Figures:
        """Accuracy and loss of the best epoch, which epoch that was, and how many there were."""
        if self.cached:
            return fit_head(recipe, cache, report)
        shared = _framing(recipe) == _framing(self.framed)
        found = fit(
            recipe,
            self.table,
            run,
            device=self.device,
            force=True,
            progress=False,
            frames=read_frames(cache) if shared else None,
            after_epoch=lambda row: report(row["val_accuracy"]),
        )
        return {name: found.summary[name] for name in self.figures}


@dataclass(frozen=True)
class Studies(System):
    """CT studies in three levels; the ensemble's accuracy on patients counts, slices' accuracy prunes."""

    figures = _IMAGE_FIGURES

    def prepare(self, cache: Path, progress: bool) -> None:
        """Prepare the slices."""
        three_level.prepared_splits(self.recipe, self.table, Cache(cache), Teller.of(progress))

    def trained(self, recipe: ThreeLevelRecipe, cache: Path, run: Path, report: Report) -> Figures:
        """Of the ensemble, on patients."""

        def of_slices(row: Row) -> None:
            if row["phase"].startswith("1-"):  # the levels above take seconds
                report(row["val_accuracy"])

        own = dataclasses.replace(recipe, cache=recipe.cache or str(cache))
        summary = three_level.fit_studies(
            own, self.table, run, device=self.device, force=True, progress=False, after_epoch=of_slices
        ).summary
        return {**summary["courses"][-1], "epochs": summary["epochs"]}


@dataclass(frozen=True)
class Severity(System):
    """CT studies with grades; Matthews' correlation on patients counts, by the vote that the recipe names."""

    figures = ("val_mcc", "val_accuracy", "epochs")

    def prepare(self, cache: Path, progress: bool) -> None:
        """Standardise the slices, and train the networks of quality control."""
        teller, own = Teller.of(progress), Cache(cache)
        train, _ = severity.prepared_splits(self.recipe, self.table, own, teller)
        severity.quality_controlled(self.recipe, train, own, find_device(self.device), teller)

    def trained(self, recipe: SeverityRecipe, cache: Path, run: Path, report: Report) -> Figures:
        """Of patients; held-out studies are judged when all is trained, so nothing is reported before."""
        own = dataclasses.replace(recipe, cache=recipe.cache or str(cache))
        found = severity.fit_severity(own, self.table, run, device=self.device, force=True, progress=False)
        figures = export_severity(run, self.table, cache=own.cache, progress=False).metrics["val"]["figures"]
        if figures["mcc"]["value"] is None:
            raise RecipeError("val has studies of one grade only; their correlation is not defined")
        accuracy = figures["accuracy"]["value"]
        return {
            "val_mcc": figures["mcc"]["value"],
            "val_accuracy": accuracy,
            "epochs": found.summary["epochs"],
        }


@dataclass(frozen=True)
class Lungs(System):
    """Radiographs with masks of the lungs."""

    figures = ("val_dice", "val_dice_least")

    def prepare(self, cache: Path, progress: bool) -> None:
        """Nothing is shared: reading takes little of a trial's time."""

    def trained(self, recipe: LungRecipe, cache: Path, run: Path, report: Report) -> Figures:
        """Dice coefficient: the mean and the least."""
        dice = train_lung_finder(recipe, self.table, run, force=True, progress=False)["dice"]["val"]
        return {"val_dice": dice["mean"], "val_dice_least": dice["least"]}


def system_of(
    recipe: Tuned,
    table: SampleTable,
    plan: Plan,
    *,
    cached_features: bool | None,
    device: str,
) -> System:
    """The system of a recipe, with the samples of train and val.

    Raises:
        DatasetError: the data are not complete.
        RecipeError: ``cached_features`` where they can't be.
    """
    if isinstance(recipe, Recipe):
        whole, known = settled(recipe, prepared(recipe, table).split("train", "val"))
        return Images.of(whole, known, plan, cached_features, device)
    if cached_features is not None:
        raise RecipeError(f"{recipe.name}: --cached-features is for single images alone")
    known = table.split("train", "val")
    known.split("val")
    if isinstance(recipe, ThreeLevelRecipe):
        return Studies(three_level.resolve_studies(recipe, known), known, device)
    if isinstance(recipe, SeverityRecipe):
        return Severity(recipe, known, device)
    return Lungs(recipe, known, device)


def _maps(recipe: Recipe) -> bool:
    return bool(recipe.locate or recipe.augment.opacities)


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
