"""A recipe of system A as data: frozen dataclasses, saved with every run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pulmoscope.core.errors import RecipeError
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.recipes import settings
from pulmoscope.recipes.gan_specs import AnoGanSettings, MisGanSettings
from pulmoscope.recipes.specs import LossSpec, ModelSpec

NORMAL = "CT-0"
"""The grade without disease, which an AnoGAN learns from."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "preprocess.size": (32, 1024),
    "preprocess.margin": (0, 1),
    "preprocess.slice_mm": (0.1, 100),
    "preprocess.least_lung": (0, 0.99),
    "preprocess.std": (0.001, 10),
    "augment.rotate_deg": (0, 180),
    "augment.shift": (0, 1),
    "augment.zoom": (0, 0.9),
    "augment.shear": (0, 1),
    "augment.brightness": (0, 1),
    "augment.flip": (0, 1),
    "loss.gamma": (0, 100),
    "loss.largest_margin": (0, 10),
    "loss.scale": (0.001, 1000),
    "loss.beta": (0, 0.9999999),
    "loss.deferred": (0, 1),
    "slices.per_study": (0, math.inf),
    "slices.epochs": (1, math.inf),
    "slices.learning_rate": (0, math.inf),
    "slices.momentum": (0, 0.9999),
    "slices.weight_decay": (0, math.inf),
    "slices.batch_size": (2, math.inf),
    "misgan.learning_rate": (1e-9, 1),
    "misgan.imputer_learning_rate": (1e-9, 1),
    "anogan.learning_rate": (1e-9, 1),
    "anogan.search_rate": (1e-9, 10),
    "seed": (0, 2**32 - 1),
}
"""What settings may be beyond their types."""


@dataclass(frozen=True)
class SliceTrainingSpec:
    """How the slice network learns, with SGD.

    Attributes:
        per_study: so many of a study's slices an epoch, drawn anew; 0: all.
        epochs: of which the last one is kept: the fold that is held out chooses nothing.
        learning_rate, momentum, weight_decay: of SGD; the rate falls along a cosine.
        batch_size: of slices.
    """

    per_study: int = 12
    epochs: int = 30
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 32


@dataclass(frozen=True)
class SeverityRecipe:
    """System A, whole.

    Attributes:
        name, title, paper, deviations, published: as in :class:`pulmoscope.recipes.recipe.Recipe`.
        classes: the grades, in order of the logits.
        drop: grades whose studies are left out, with a word in the log.
        preprocess: the standardisation.
        imputer: what fills missing regions: ``none`` leaves damage as it is, in training and diagnosis, and does not
            look for it; ``misgan`` is trained on the training patients; the others are in ``quality.imputation``.
        anomalies: whether an AnoGAN is trained on the training patients without disease (the first class).
        augment, model, loss, slices: of the slice network. The loss counts patients, not slices.
        vote: how a patient's slices become one answer; all four are always computed and compared.
        misgan, anogan: of the two networks of quality control.
        grid: what ``tune`` tries: dotted setting → values. The paper names none: it is ours.
        cache: a folder for prepared slices and quality networks, which several runs may share; empty: the run's own,
            removed when it is done.
        precision: ``auto`` takes bf16 where the hardware has it, else fp32.
    """

    name: str
    title: str
    paper: str
    preprocess: Standardisation
    augment: CtAugmentation
    model: ModelSpec
    misgan: MisGanSettings
    anogan: AnoGanSettings
    deviations: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    modality: Literal["CT"] = "CT"
    classes: tuple[str, ...] = ("CT-0", "CT-1", "CT-2", "CT-3")
    drop: tuple[str, ...] = ("CT-4",)
    imputer: Literal["none", "mean", "linear", "navier-stokes", "misgan"] = "misgan"
    anomalies: bool = True
    loss: LossSpec = LossSpec()
    slices: SliceTrainingSpec = SliceTrainingSpec()
    vote: Literal["majority", "mean", "attention", "regression"] = "majority"
    grid: Mapping[str, tuple[float | int | str, ...]] = field(default_factory=dict)
    cache: str = ""
    precision: Literal["auto", "32", "bf16"] = "auto"
    seed: int = 20


def check(recipe: SeverityRecipe) -> None:
    """Do the settings make sense, alone and together?

    Raises:
        RecipeError: one does not; the message names the setting, its limits and the value.
    """
    values = dict(settings.leaves(settings.to_plain(recipe)))
    for name, (low, high) in LIMITS.items():
        value = values[name]
        if isinstance(value, int | float) and not (low <= value <= high and math.isfinite(value)):
            most = "" if high == math.inf else f" and at most {high:.10g}"
            raise RecipeError(f"{name}={value}: must be at least {low:g}{most}")
    if not recipe.preprocess.hu_low < recipe.preprocess.hu_high:
        raise RecipeError(
            f"preprocess.hu_low={recipe.preprocess.hu_low:g}: must be below preprocess.hu_high "
            f"(found: {recipe.preprocess.hu_high:g})"
        )
    if recipe.anomalies and recipe.classes[:1] != (NORMAL,):
        raise RecipeError(
            f"anomalies=true: needs {NORMAL} as the first of classes, to learn from (found: "
            f"{', '.join(recipe.classes) or 'none'})"
        )
    gans = recipe.imputer == "misgan" or recipe.anomalies
    if gans and recipe.preprocess.size not in (32, 64, 128):
        raise RecipeError(
            f"preprocess.size={recipe.preprocess.size}: must be 32, 64 or 128 for the networks of quality control "
            "(without them: imputer other than misgan, anomalies=false)"
        )
    if recipe.loss.kind == "ldam" and (recipe.model.hidden or recipe.model.stages > 1):
        raise RecipeError(
            f"loss.kind=ldam: needs model.hidden=0 and model.stages=1 (found: {recipe.model.hidden}, "
            f"{recipe.model.stages})"
        )
    both = set(recipe.classes) & set(recipe.drop)
    if len(recipe.classes) < 2 or both:
        raise RecipeError(
            f"classes, drop: at least two classes, none of them dropped (found: {', '.join(recipe.classes) or 'none'}; "
            f"dropped: {', '.join(recipe.drop) or 'none'})"
        )


def travelling(recipe: SeverityRecipe) -> SeverityRecipe:
    """The recipe as a bundle names it: no folders of the machine that it was trained on."""
    model = dataclasses.replace(recipe.model, weights=recipe.model.weights.rpartition("/")[2])
    return dataclasses.replace(recipe, model=model, cache="")
