"""What can be done with a recipe and its data, whatever the system: train it, cross-validate it, compare settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.training.parallel.launch import Launch

Report = Callable[[float], None]
"""Gets the best epoch's validation figure after every epoch; raises to end the trial."""
Figures = dict[str, Any]
Point = Mapping[str, float | int | str]
"""Settings that are tried together: dotted setting → value."""


@dataclass(frozen=True)
class Options:
    """How a recipe is trained, beyond its settings.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: processes that prepare images; 0: a thread of the training process.
        launch: starts the processes that share every batch; None: this one trains alone.
        resume: go on where the run in the folder stopped.
        force: replace a run that is in the folder.
        progress: show bars and figures on standard error.
        terms: the data's licence or terms of use, for the model card.
        release: version of the model; empty: its checksum's beginning.
        command: what was typed.
    """

    device: str = "auto"
    workers: int = 0
    launch: Launch | None = None
    resume: bool = False
    force: bool = False
    progress: bool = True
    terms: str = ""
    release: str = ""
    command: str = ""


@dataclass(frozen=True)
class Told:
    """What is shown to a person: lines, and warnings."""

    lines: Sequence[str]
    warnings: Sequence[str] = ()


def check_without_model(options: Options, folds: int) -> None:
    """Are what only a model has, terms and a version, left alone where folds are trained to be measured?

    Raises:
        RecipeError: they are not.
    """
    if folds and (options.terms or options.release):
        raise RecipeError("--folds: gives no model, so --terms and --release can't be given")


def report_of_folds(summary: Mapping[str, Any], out: Path) -> Told:
    """What is shown to a person of a cross-validation (see :func:`pulmoscope.training.folds.cross_validate`)."""
    lines = [
        f"fold {fold['fold']}: accuracy {fold['val_accuracy']}, loss {fold['val_loss']}"
        for fold in summary["folds"]
    ]
    accuracy = summary["val_accuracy"]
    if accuracy is not None:
        lines.append(f"accuracy {accuracy['mean']:.4f}, s.d. over folds {accuracy['sd']:.4f}")
    return Told([*lines, f"Summary: {out / 'summary.json'}"])


@dataclass(frozen=True)
class System(ABC):
    """A recipe and its data.

    Attributes:
        figures: what a trial gives; the first is to become large.
        recipe: as it is trained.
        tables: one, or the data sets one by one where the recipe does not join them.
    """

    figures: ClassVar[tuple[str, ...]] = ()
    recipe: Any
    tables: tuple[SampleTable, ...]
    options: Options

    @property
    def table(self) -> SampleTable:
        """The data set."""
        (table,) = self.tables
        return table

    @classmethod
    @abstractmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """Refuse a folder that holds a run; cheap, so that it is reported before data are read.

        Raises:
            OutputExistsError: it does, and neither ``resume`` nor ``force`` is given.
        """

    @classmethod
    def of(cls, recipe: Any, tables: Sequence[SampleTable], options: Options) -> Self:
        """A recipe and data made for one another.

        Raises:
            DatasetError, RecipeError: they are not.
        """
        return cls(recipe, tuple(tables), options)

    def notes(self) -> Told:
        """What is to be said before training."""
        return Told(())

    @abstractmethod
    def fit(self, out: Path) -> Told:
        """Train, and make the folder what others use: a bundle, or a tool's network."""

    def cross_validate(self, folds: int, out: Path) -> Told:
        """Train every fold in ``out/fold-<n>``, and write ``out/summary.json``.

        Raises:
            RecipeError: it can't be cross-validated.
        """
        raise RecipeError(f"{self.recipe.name}: can't be cross-validated")

    @classmethod
    def for_trials(
        cls,
        recipe: Any,
        table: SampleTable,
        points: Sequence[Point],
        cached_features: bool | None,
        options: Options,
    ) -> Self:
        """The same, to compare settings on the splits train and val.

        Args:
            points: settings that are tried.
            cached_features: compute a frozen backbone's features once; None: where it can be done.

        Raises:
            DatasetError: the data are not complete.
            RecipeError: ``cached_features`` where they can't be.
        """
        if cached_features is not None:
            raise RecipeError(f"{recipe.name}: --cached-features is for single images alone")
        known = table.split("train", "val")
        known.split("val")
        return cls(recipe, (known,), options)

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
