"""A recipe of three levels as data: frozen dataclasses, saved with every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pulmoscope.core.errors import RecipeError
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.recipes.specs import CLASSIFIERS, ModelSpec


@dataclass(frozen=True)
class SlicePhase:
    """One stretch of training the slice network.

    Attributes:
        name: unique within the recipe.
        learn: ``pretrain``: the data set ``slice.pretrain``; ``labelled``: slices whose label is known; ``picked``:
            these and those that the network itself has picked of patients without slice labels.
        epochs, learning_rate: of this phase, with Adam.
        frozen: ``none``; ``norm``: BatchNorm, statistics and weights; ``backbone``: all but the last two layers.
    """

    name: str
    learn: Literal["pretrain", "labelled", "picked"]
    epochs: int
    learning_rate: float
    frozen: Literal["none", "norm", "backbone"] = "none"


@dataclass(frozen=True)
class SliceLevel:
    """Level 1.

    Attributes:
        model: the backbone, and ``hidden``, the length of a slice's vector.
        phases: in order; each ends with its best weights.
        pretrain: a data set of labelled slices, for the phases that learn from it; empty: these are skipped.
        per_epoch: so many slices an epoch, drawn anew, as many of each class; 0: all of them, classes weighted.
        batch_size: of slices.
        interpolate: how many slices become of one along z, for training; 1: none are added.
        sure: of a patient without slice labels those slices are picked to which the network gives at least this
            probability of not being ``normal``.
    """

    model: ModelSpec
    phases: tuple[SlicePhase, ...]
    pretrain: str = ""
    per_epoch: int = 0
    batch_size: int = 64
    interpolate: int = 1
    sure: float = 0.5


@dataclass(frozen=True)
class PatientLevel:
    """Level 2.

    Attributes:
        classifiers: which are trained; see :data:`pulmoscope.recipes.specs.CLASSIFIERS`.
        epochs, learning_rate, batch_size, l1, l2: of each, with Adam; ``l1`` and ``l2`` are of all weight matrices.
        lstm_units: of each direction.
    """

    classifiers: tuple[str, ...] = ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted", "attention")
    epochs: int = 25
    learning_rate: float = 1e-3
    batch_size: int = 64
    l1: float = 1e-5
    l2: float = 1e-4
    lstm_units: int = 512


@dataclass(frozen=True)
class EnsembleLevel:
    """Level 3.

    Attributes:
        of: whose probabilities it gets, in this order.
        scores: what it learns from. ``train``: what the classifiers say of the patients that they have learnt from, as
            in the paper. ``folds``: what classifiers say that were trained without them, one of ``folds`` each; how
            sure a classifier is of patients that it knows says little about others.
        folds: how many.
        hidden: units of its ReLU layer.
        epochs, learning_rate, batch_size, l1, l2: as in :class:`PatientLevel`.
    """

    of: tuple[str, ...] = ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted")
    scores: Literal["train", "folds"] = "train"
    folds: int = 5
    hidden: int = 10
    epochs: int = 200
    learning_rate: float = 1e-3
    batch_size: int = 64
    l1: float = 1e-5
    l2: float = 1e-4


@dataclass(frozen=True)
class ThreeLevelRecipe:
    """One system of three levels, whole.

    Attributes:
        name, title, paper, deviations, published: as in :class:`pulmoscope.recipes.recipe.Recipe`.
        classes: in order of the logits; empty: whatever the data has.
        normal: the class whose patients have no infected slice.
        preprocess, augment, slice, patient, ensemble: see there.
        grid: what ``tune`` tries: dotted setting → values. The papers name none: it is ours.
        cache: a folder for prepared slices and features, which several runs may share; empty: the run's own, removed
            when it is done.
        precision: ``auto`` takes bf16 where the hardware has it, else fp32.
    """

    name: str
    title: str
    paper: str
    preprocess: CtPreprocess
    augment: CtAugmentation
    slice: SliceLevel
    deviations: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    modality: Literal["CT"] = "CT"
    classes: tuple[str, ...] = ()
    normal: str = "Normal"
    patient: PatientLevel = PatientLevel()
    ensemble: EnsembleLevel = EnsembleLevel()
    grid: Mapping[str, tuple[float | int | str, ...]] = field(default_factory=dict)
    cache: str = ""
    precision: Literal["auto", "32", "bf16"] = "auto"
    seed: int = 20


def check(recipe: ThreeLevelRecipe) -> None:
    """Do the settings make sense, alone and together?

    Raises:
        RecipeError: one does not; the message names the setting, its limits and the value.
    """
    least = {
        "slice.model.hidden": 1,
        "slice.per_epoch": 0,
        "slice.batch_size": 2,
        "slice.interpolate": 1,
        "patient.epochs": 1,
        "patient.batch_size": 1,
        "patient.lstm_units": 1,
        "ensemble.folds": 2,
        "ensemble.hidden": 1,
        "ensemble.epochs": 1,
        "ensemble.batch_size": 1,
        "preprocess.size": 32,  # the backbones halve a side five times
    }
    for path, low in least.items():
        _at_least(path, _value(recipe, path), low)
    for path in (
        "patient.learning_rate",
        "ensemble.learning_rate",
        "patient.l1",
        "patient.l2",
        "ensemble.l1",
        "ensemble.l2",
        "slice.model.dropout",
        "slice.sure",
    ):
        _at_least(path, _value(recipe, path), 0)
    _check_phases(recipe.slice)
    unknown = [name for name in recipe.patient.classifiers if name not in CLASSIFIERS]
    if unknown or not recipe.patient.classifiers:
        raise RecipeError(
            f"patient.classifiers: must be of {', '.join(CLASSIFIERS)} (found: {', '.join(unknown) or 'none'})"
        )
    missing = [name for name in recipe.ensemble.of if name not in recipe.patient.classifiers]
    if missing or not recipe.ensemble.of:
        raise RecipeError(
            f"ensemble.of: must be of patient.classifiers (found: {', '.join(missing) or 'none'})"
        )


def _value(recipe: ThreeLevelRecipe, path: str) -> float:
    value: object = recipe
    for part in path.split("."):
        value = getattr(value, part)
    assert isinstance(value, int | float)
    return value


def _at_least(path: str, value: float, low: float) -> None:
    if not value >= low:
        raise RecipeError(f"{path}={value}: must be at least {low}")


def _check_phases(level: SliceLevel) -> None:
    names = [phase.name for phase in level.phases]
    if not names or len(set(names)) < len(names) or any(not name or "/" in name for name in names):
        raise RecipeError(
            f"slice.phases: their names must be file names and unique (found: {', '.join(names)})"
        )
    for phase in level.phases:
        _at_least(f"slice.phases.{phase.name}.epochs", phase.epochs, 1)
        _at_least(f"slice.phases.{phase.name}.learning_rate", phase.learning_rate, 0)
    if all(phase.learn == "pretrain" for phase in level.phases):
        raise RecipeError("slice.phases: one at least must learn from the studies themselves")


def travelling(recipe: ThreeLevelRecipe) -> ThreeLevelRecipe:
    """The recipe as a bundle names it: no folders of the machine that it was trained on."""
    model = dataclasses.replace(recipe.slice.model, weights=recipe.slice.model.weights.rpartition("/")[2])
    level = dataclasses.replace(recipe.slice, model=model, pretrain=recipe.slice.pretrain.rpartition("/")[2])
    return dataclasses.replace(recipe, slice=level, cache="")
