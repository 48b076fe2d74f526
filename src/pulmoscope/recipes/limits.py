"""What a recipe's settings may be beyond their types: told before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.datasets.labels import hard_labels, soft_labels
from pulmoscope.preprocess.kinds import BY_MODALITY
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Phase, Recipe
from pulmoscope.recipes.specs import LossSpec

ANY = math.inf
LIMITS: Mapping[str, tuple[float, float]] = {
    "preprocess.size": (32, 4096),  # the backbones halve a side five times
    "preprocess.margin": (0, 1),
    "preprocess.mean": (0, 1),
    "preprocess.std": (0.001, 10),
    "augment.shift": (0, 1),
    "augment.rotate_deg": (0, 180),
    "augment.zoom": (0, 0.9),
    "augment.squeeze": (0, 0.9),
    "augment.flip": (0, 1),
    "augment.film": (0, 3),
    "augment.mixing": (0, 1),
    "augment.opacities": (0, 1),
    "augment.clutter": (0, 1),
    "augment.contrast": (0, 1),
    "model.hidden": (0, ANY),
    "model.dropout": (0, 0.99),
    "model.filters": (1, ANY),
    "loss.gamma": (0, 100),
    "loss.largest_margin": (0, 10),
    "loss.scale": (0.001, 1000),
    "loss.beta": (0, 0.9999999),
    "loss.deferred": (0, 1),
    "label_smoothing": (0, 0.99),
    "mixup": (0, 10),
    "balance": (0, 1),
    "robust": (0, 1),
    "locate": (0, 100),
    "average": (0, 0.99999),
    "batch_size": (2, ANY),  # BatchNorm needs two
    "seed": (0, 2**32 - 1),
}
PHASE_LIMITS: Mapping[str, tuple[float, float]] = {
    "epochs": (0, ANY),
    "learning_rate": (0, ANY),
    "weight_decay": (0, ANY),
    "momentum": (0, 0.9999),
    "patience": (0, ANY),
}
OWN_LIMITS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "XRAY": {
        "preprocess.edge": (0, 0.45),
        "preprocess.clahe_clip": (0.01, 1000),
        "preprocess.clahe_grid": (1, 64),
    },
    "CT": {"preprocess.room": (0, 0.5), "preprocess.hidden": (0, 1)},
}
"""Settings that the preprocessing of one modality alone has."""
SPLITS = ("train", "val")


def check(recipe: Recipe) -> None:
    """Is every setting within its limits, and do the phases fit together?

    Raises:
        RecipeError: one is not; the message names the setting, its limits and the value.
    """
    own = BY_MODALITY[recipe.modality]
    if not isinstance(recipe.preprocess, own):
        raise RecipeError(
            f"modality={recipe.modality}: needs an {own.__name__} (found: {type(recipe.preprocess).__name__})"
        )
    _check_values(dict(settings.leaves(settings.to_plain(recipe))), {**LIMITS, **OWN_LIMITS[recipe.modality]})
    if recipe.preprocess.hull and recipe.preprocess.region != "lungs":
        raise RecipeError(
            f"preprocess.hull: needs preprocess.region=lungs (found: {recipe.preprocess.region})"
        )
    check_loss(recipe)
    _check_shares(recipe)
    _check_plain_mean(recipe)
    if not recipe.phases:
        raise RecipeError(f"{recipe.name}: has no phase")
    earlier: list[str] = []
    for phase in recipe.phases:
        _check_phase(phase, earlier)
        earlier.append(phase.name)
    _check_frozen(recipe)


def check_loss(recipe: Recipe) -> None:
    """Does the loss go with the rest of the recipe?

    Raises:
        RecipeError: it does not.
    """
    if recipe.loss != LossSpec() and (recipe.class_weights or recipe.label_smoothing):
        raise RecipeError(
            "class_weights, label_smoothing: go with the plain cross-entropy alone; weights of other losses are "
            f"loss.beta's (found: loss.kind={recipe.loss.kind}, loss.beta={recipe.loss.beta:g})"
        )
    model = recipe.model
    if recipe.loss.kind == "ldam" and (model.hidden or model.stages > 1 or model.output != "softmax"):
        raise RecipeError(
            "loss.kind=ldam: needs a single last layer: model.hidden=0, model.stages=1, model.output=softmax (found: "
            f"{model.hidden}, {model.stages}, {model.output})"
        )


def _check_shares(recipe: Recipe) -> None:
    """Do shares of labels sum to 1, and does what is learnt from them take shares?"""
    try:
        hard_labels(recipe.labels)  # no circles
    except DatasetError as error:
        raise RecipeError(f"labels: {error}") from error
    total = sum(recipe.unread.values())
    if total >= 1 or min(recipe.unread.values(), default=0) < 0:
        raise RecipeError(f"unread: shares must be above 0 and sum to less than 1 (found: {total:g})")
    soft = soft_labels(recipe.labels) or recipe.unread or recipe.augment.opacities
    if (soft or recipe.robust) and (recipe.loss != LossSpec() or recipe.model.output != "softmax"):
        raise RecipeError(
            "labels, unread, augment.opacities, robust: go with the plain cross-entropy of a softmax alone "
            f"(found: loss.kind={recipe.loss.kind}, loss.beta={recipe.loss.beta:g}, model.output={recipe.model.output})"
        )
    if recipe.locate and (recipe.model.stages > 1 or recipe.loss.kind == "ldam"):
        raise RecipeError(
            "locate: needs model.stages=1 and another loss than ldam "
            f"(found: {recipe.model.stages}, loss.kind={recipe.loss.kind})"
        )
    if recipe.modality != "XRAY" and (recipe.locate or recipe.augment.opacities):
        raise RecipeError(
            f"locate, augment.opacities: are for X-rays alone (found: modality={recipe.modality})"
        )


def _check_plain_mean(recipe: Recipe) -> None:
    """Do class weights and smoothing of labels go with what the mean of the loss is taken over?"""
    if recipe.robust and (recipe.class_weights or recipe.label_smoothing):
        raise RecipeError(
            "robust: weighs hospitals and classes itself; class_weights and label_smoothing can't be set with it "
            f"(found: class_weights={str(recipe.class_weights).lower()}, label_smoothing={recipe.label_smoothing:g})"
        )
    if recipe.class_weights and (soft_labels(recipe.labels) or recipe.unread or recipe.augment.opacities):
        raise RecipeError(
            "class_weights: need labels of one class each: no shares in labels, no unread, augment.opacities=0"
        )


def _check_frozen(recipe: Recipe) -> None:
    """Has everything that a phase freezes learnt something before?"""
    begun = recipe.model.pretrained or bool(recipe.model.weights)
    learnt = begun
    for phase in recipe.phases:
        learnt = begun if phase.restart else learnt
        if phase.frozen != "none" and not learnt:
            raise RecipeError(
                f"phases.{phase.name}.frozen={phase.frozen}: would freeze random layers, as model.pretrained=false and "
                f"no model.weights are given; set phases.{phase.name}.frozen=none"
            )
        learnt = True


def _check_values(
    values: Mapping[str, object], limits: Mapping[str, tuple[float, float]], at: str = ""
) -> None:
    for name, (low, high) in limits.items():
        value = values[name]
        if isinstance(value, int | float) and not (low <= value <= high and math.isfinite(value)):
            most = "" if high == ANY else f" and at most {high:.10g}"
            raise RecipeError(f"{at}{name}={value}: must be at least {low:g}{most}")


def _check_phase(phase: Phase, earlier: list[str]) -> None:
    at = f"phases.{phase.name}."
    if phase.name in earlier or "/" in phase.name or not phase.name:
        raise RecipeError(f"phases: the name {phase.name!r} must be a file name and unique")
    _check_values(vars(phase), PHASE_LIMITS, at)
    if phase.epochs_of and phase.epochs_of not in earlier:
        raise RecipeError(f"{at}epochs_of={phase.epochs_of}: no earlier phase of that name")
    if not phase.epochs_of and phase.epochs < 1:
        raise RecipeError(f"{at}epochs={phase.epochs}: must be at least 1")
    if not phase.train_on or not set(phase.train_on) <= set(SPLITS):
        raise RecipeError(f"{at}train_on={','.join(phase.train_on)}: must be {', '.join(SPLITS)} or both")
