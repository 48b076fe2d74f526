"""How a recipe's settings go together; checked before anything is read. Each rule raises a RecipeError of one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.datasets.labels import hard_labels, soft_labels
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.gan_specs import SIDES
from pulmoscope.recipes.limits import check_limits
from pulmoscope.recipes.recipe import Named, Recipe
from pulmoscope.recipes.specs import CLASSIFIERS, LossSpec, Phase, QualitySpec, SliceSpec

SPLITS = ("train", "val")
GRADED_VOTES = ("majority", "mean", "attention", "regression")
"""All votes on studies that are graded; each is computed."""
PHASES_OF_IMAGES: Mapping[str, tuple[Any, ...]] = {
    "learn": ("labelled",),
    "frozen": ("none", "early", "backbone"),
    "monitor": ("loss", "accuracy"),
}
PHASES_OF_ENSEMBLES: Mapping[str, tuple[Any, ...]] = {
    "variants": (0,),
    "epochs_of": ("",),
    "train_on": (("train",),),
    "restart": (False,),
    "frozen": ("none", "norm", "backbone"),
    "monitor": ("loss", "accuracy"),
}
PHASES_OF_GRADES: Mapping[str, tuple[Any, ...]] = {
    "variants": (0,),
    "epochs_of": ("",),
    "patience": (0,),
    "train_on": (("train",),),
    "restart": (False,),
    "optimizer": ("sgd",),
    "schedule": ("cosine",),
    "frozen": ("none",),
    "monitor": ("none",),
    "learn": ("labelled",),
}
"""Setting of a phase → the values that its training knows."""


@singledispatch
def check(recipe: Named) -> None:
    """Is every setting of a recipe within its limits, and do they go together?

    Raises:
        RecipeError: one is not; the message names the setting, its limits and the value.
    """
    check_limits(recipe)


@check.register
def _(recipe: Recipe) -> None:
    check_limits(recipe)
    _check_idle(recipe)
    _check_names(recipe)
    _check_loss(recipe)
    if recipe.slices is None:
        _check_images(recipe)
    else:
        _check_studies(recipe)


def _check_idle(recipe: Recipe) -> None:
    """Are settings that do nothing for this recipe left alone?"""
    for field in dataclasses.fields(recipe):
        default = {} if field.default is dataclasses.MISSING else field.default
        if field.name in recipe.idle and getattr(recipe, field.name) != default:
            raise RecipeError(f"{field.name}: does nothing in this recipe, which is of {recipe.learns_from}")


def _check_names(recipe: Recipe) -> None:
    if not recipe.phases:
        raise RecipeError(f"{recipe.name}: has no phase")
    names = [phase.name for phase in recipe.phases]
    for index, name in enumerate(names):
        if name in names[:index] or "/" in name or not name:
            raise RecipeError(f"phases: the name {name!r} must be a file name and unique")


def _check_loss(recipe: Recipe) -> None:
    """Does the loss go with the rest of the recipe?"""
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


def _check_images(recipe: Recipe) -> None:
    """The rules of recipes of single images."""
    kind = XrayPreprocess if recipe.modality == "XRAY" else SlicePreprocess
    _check_parts(recipe, kind, Augmentation)
    if recipe.framing.hull and recipe.framing.region != "lungs":
        raise RecipeError(f"preprocess.hull: needs preprocess.region=lungs (found: {recipe.framing.region})")
    _check_shares(recipe)
    _check_plain_mean(recipe)
    earlier: list[str] = []
    for phase in recipe.phases:
        _check_phase(phase, earlier)
        earlier.append(phase.name)
    _check_frozen(recipe)
    _check_variants(recipe)
    _check_light(recipe)


def _check_parts(recipe: Recipe, preprocess: type[Any], augment: type[Any]) -> None:
    """Is what the image network sees made by the right code?"""
    for name, kind, value in (
        ("preprocess", preprocess, recipe.preprocess),
        ("augment", augment, recipe.augment),
    ):
        if not isinstance(value, kind):
            raise RecipeError(
                f"modality={recipe.modality}, {name}: needs {kind.__name__} (found: {type(value).__name__})"
            )


def _check_shares(recipe: Recipe) -> None:
    """Do fractions of labels sum to 1, and does what is learnt from them take fractions?"""
    try:
        hard_labels(recipe.labels)  # no circles
    except DatasetError as error:
        raise RecipeError(f"labels: {error}") from error
    total = sum(recipe.unread.values())
    if total >= 1 or min(recipe.unread.values(), default=0) < 0:
        raise RecipeError(f"unread: shares must be above 0 and sum to less than 1 (found: {total:g})")
    opacities = recipe.augmentation.opacities
    soft = soft_labels(recipe.labels) or recipe.unread or opacities
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
    if recipe.modality != "XRAY" and (recipe.locate or opacities):
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
    soft = soft_labels(recipe.labels) or recipe.unread or recipe.augmentation.opacities
    if recipe.class_weights and soft:
        raise RecipeError(
            "class_weights: need labels of one class each: no shares in labels, no unread, augment.opacities=0"
        )


def _check_frozen(recipe: Recipe) -> None:
    """Has everything that a phase freezes learnt something before?"""
    light = recipe.light
    begun = not light.prune and (recipe.model.pretrained or bool(recipe.model.weights or light.start))
    why = (
        f"light.prune={light.prune:g} is given"
        if light.prune
        else "model.pretrained=false and no model.weights are given"
    )
    what = "damaged" if light.prune else "random"
    learnt = begun
    for phase in recipe.phases:
        learnt = begun if phase.restart else learnt
        if phase.frozen != "none" and not learnt:
            raise RecipeError(
                f"phases.{phase.name}.frozen={phase.frozen}: would freeze {what} layers, as {why}; set "
                f"phases.{phase.name}.frozen=none"
            )
        learnt = True


def _check_variants(recipe: Recipe) -> None:
    """Is what a backbone makes of images kept only where it stays the same?"""
    for phase in recipe.phases:
        if phase.variants and (
            phase.frozen != "backbone" or recipe.mixup or recipe.locate or recipe.light.teacher
        ):
            raise RecipeError(
                f"phases.{phase.name}.variants={phase.variants}: needs a frozen backbone, and no mixup, no locate and "
                f"no light.teacher, for which images are made anew (found: frozen={phase.frozen}, "
                f"mixup={recipe.mixup:g}, locate={recipe.locate:g}, light.teacher={recipe.light.teacher})"
            )


def _check_light(recipe: Recipe) -> None:
    """Has the network a last layer that pruning and a teacher know?"""
    light = recipe.light
    if (light.prune or light.teacher) and recipe.loss.kind == "ldam":
        raise RecipeError("light.prune, light.teacher: need another loss than ldam (found: loss.kind=ldam)")


def _check_phase(phase: Phase, earlier: list[str]) -> None:
    at = f"phases.{phase.name}."
    _check_choices(phase, PHASES_OF_IMAGES)
    if phase.epochs_of and phase.epochs_of not in earlier:
        raise RecipeError(f"{at}epochs_of={phase.epochs_of}: no earlier phase of that name")
    if not phase.epochs_of and phase.epochs < 1:
        raise RecipeError(f"{at}epochs={phase.epochs}: must be at least 1")
    if not phase.train_on or not set(phase.train_on) <= set(SPLITS):
        raise RecipeError(f"{at}train_on={','.join(phase.train_on)}: must be {', '.join(SPLITS)} or both")


def _check_choices(phase: Phase, choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Does the recipe's training know the values of this phase?"""
    for name, known in choices.items():
        if getattr(phase, name) not in known:
            allowed = ", ".join(_text(value) for value in known)
            raise RecipeError(
                f"phases.{phase.name}.{name}={_text(getattr(phase, name))}: must be one of {allowed} in this recipe"
            )


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value).lower() or "(empty)"


def _check_studies(recipe: Recipe) -> None:
    """The rules of recipes of studies."""
    graded = recipe.grades
    if soft := soft_labels(recipe.labels):
        raise RecipeError(f"labels: a study is of one class (found: shares for {', '.join(soft)})")
    if recipe.cache == "none":
        raise RecipeError("cache=none: is for single images; studies are always prepared in a folder")
    _check_parts(recipe, Standardisation if graded else CtPreprocess, CtAugmentation)
    if recipe.model.output != "softmax":
        raise RecipeError("model.output: must be softmax for studies (found: sigmoid)")
    low, high = (getattr(recipe.preprocess, name) for name in ("hu_low", "hu_high"))
    if not low < high:
        raise RecipeError(f"preprocess.hu_low={low:g}: must be below preprocess.hu_high (found: {high:g})")
    for phase in recipe.phases:
        _check_choices(phase, PHASES_OF_GRADES if graded else PHASES_OF_ENSEMBLES)
        if phase.epochs < 1:
            raise RecipeError(f"phases.{phase.name}.epochs={phase.epochs}: must be at least 1")
    if graded:
        _check_grades(recipe)
        _check_quality(recipe, recipe.controls)
    else:
        _check_ensemble(recipe)


def _check_ensemble(recipe: Recipe) -> None:
    """An ensemble of learnt votes, on slices whose infection is known or picked."""
    assert recipe.slices is not None
    assert recipe.ensemble is not None
    if recipe.patient is None or recipe.patient.decides != "ensemble":
        raise RecipeError("patient.decides: must be ensemble, as the recipe has one")
    if recipe.model.hidden < 1:
        raise RecipeError(
            f"model.hidden={recipe.model.hidden}: must be at least 1, as patients are told by this layer"
        )
    if recipe.model.stages != 3:
        raise RecipeError(
            f"model.stages={recipe.model.stages}: must be 3, as heat maps show the last three stages"
        )
    _check_slices(recipe.slices, "per_study")
    if all(phase.learn == "pretrain" for phase in recipe.phases):
        raise RecipeError("phases: one at least must learn from the studies themselves")
    votes = recipe.patient.votes
    unknown = [name for name in votes if name not in CLASSIFIERS]
    if unknown or not votes:
        raise RecipeError(
            f"patient.votes: must be of {', '.join(CLASSIFIERS)} (found: {', '.join(unknown) or 'none'})"
        )
    missing = [name for name in recipe.ensemble.of if name not in votes]
    if missing or not recipe.ensemble.of:
        raise RecipeError(f"ensemble.of: must be of patient.votes (found: {', '.join(missing) or 'none'})")


def _check_grades(recipe: Recipe) -> None:
    """Four votes on every slice of a study, which has its patient's grade; one of them decides."""
    assert recipe.slices is not None
    if len(recipe.phases) > 1:
        raise RecipeError(f"phases: must be one in this recipe (found: {len(recipe.phases)})")
    patient = recipe.patient
    if patient is None or patient.votes != GRADED_VOTES or patient.decides not in GRADED_VOTES:
        raise RecipeError(
            f"patient.votes, patient.decides: must be {', '.join(GRADED_VOTES)}, and one of them (found: "
            + ("none)" if patient is None else f"{', '.join(patient.votes)}; {patient.decides})")
        )
    if patient.l1 or patient.l2:
        raise RecipeError("patient.l1, patient.l2: must be 0 in this recipe")
    _check_slices(recipe.slices, "per_epoch", "interpolate", "sure", "pretrain")
    both = set(recipe.classes) & set(recipe.drop)
    if len(recipe.classes) < 2 or both:
        raise RecipeError(
            f"classes, drop: at least two classes, none of them dropped (found: {', '.join(recipe.classes) or 'none'}; "
            f"dropped: {', '.join(recipe.drop) or 'none'})"
        )


def _check_quality(recipe: Recipe, quality: QualitySpec) -> None:
    """Can the networks of quality control be trained?"""
    if quality.anomalies and recipe.classes[:1] != (recipe.normal,):
        raise RecipeError(
            f"quality.anomalies=true: needs {recipe.normal or 'normal'} as the first of classes, to learn from (found: "
            f"{', '.join(recipe.classes) or 'none'})"
        )
    size = recipe.preprocess.size
    if (quality.imputer == "misgan" or quality.anomalies) and size not in SIDES:
        raise RecipeError(
            f"preprocess.size={size}: must be {', '.join(map(str, SIDES))} for the networks of quality control "
            "(without them: quality.imputer other than misgan, quality.anomalies=false)"
        )
    if quality.misgan.adversarial_every > 1 and not quality.misgan.reconstruction:
        raise RecipeError(
            "quality.misgan: without reconstruction, adversarial_every must be 1 (nothing else is learnt)"
        )


def _check_slices(slices: SliceSpec, *names: str) -> None:
    for name in names:
        if getattr(slices, name) != getattr(SliceSpec(), name):
            raise RecipeError(f"slices.{name}: does nothing in this recipe")
