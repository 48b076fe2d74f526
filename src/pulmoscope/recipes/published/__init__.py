"""The recipes: one file a system, and the one table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes import rules, settings
from pulmoscope.recipes.published import (
    ct_severity_resnet18,
    ct_slice_covid,
    ct_slice_inception,
    ct_three_level,
    ct_three_level_light,
    outcome_clinical,
    xray_4class_densenet121,
    xray_4class_efficientnet,
    xray_4class_mobilenetv2,
    xray_4class_resnet50,
    xray_4class_vgg16,
    xray_binary_cnn,
    xray_binary_resnet50v2,
    xray_covid,
    xray_covid_1,
    xray_lungs,
    xray_severity,
    xray_severity_densenet121,
    xray_view,
)
from pulmoscope.recipes.recipe import Named, Recipe

K = TypeVar("K", bound=Named)

RECIPES: Mapping[str, Named] = {
    module.RECIPE.name: module.RECIPE
    for module in (
        xray_binary_cnn,
        xray_binary_resnet50v2,
        xray_4class_resnet50,
        xray_4class_mobilenetv2,
        xray_4class_efficientnet,
        xray_4class_vgg16,
        xray_4class_densenet121,
        xray_covid,
        xray_covid_1,
        ct_slice_covid,
        ct_slice_inception,
        ct_three_level,
        ct_three_level_light,
        ct_severity_resnet18,
        xray_lungs,
        xray_view,
        xray_severity,
        xray_severity_densenet121,
        outcome_clinical,
    )
}
"""All recipes by name: of systems, and of tools that they share."""


def named(kind: type[K]) -> Mapping[str, K]:
    """All recipes of one type, e.g. those of systems."""
    return {name: recipe for name, recipe in RECIPES.items() if isinstance(recipe, kind)}


def grading() -> tuple[str, ...]:
    """The names of recipes that grade studies."""
    return tuple(name for name, recipe in named(Recipe).items() if recipe.grades)


def find(name: str, kind: type[K] = Recipe) -> K:  # type: ignore[assignment]  # K is Recipe where none is given
    """A recipe by name.

    Args:
        kind: of what type; of systems (``Recipe``), or of these and of tools (``Named``).

    Raises:
        RecipeError: there is none of that name.
    """
    known = named(kind)
    if name not in known:
        raise RecipeError(f"no recipe {name} (there are: {', '.join(known)})")
    return known[name]


def chosen(name: str, changes: Sequence[str], kind: type[K] = Recipe) -> K:  # type: ignore[assignment]  # as in find
    """A recipe by name, with its settings, checked.

    Args:
        changes: settings, each ``dotted.path=value``.

    Raises:
        RecipeError: there is no such recipe or setting, a setting is beyond its limits, or settings don't go together.
    """
    recipe = settings.apply(find(name, kind), changes)
    rules.check(recipe)
    return recipe


def changed_settings(recipe: Recipe) -> list[str]:
    """How a resolved recipe differs from the published one of its name, as ``train --set`` takes it."""
    measured = ("preprocess.mean=", "preprocess.std=") if recipe.normalise == "data" else ()
    return [
        change
        for change in settings.changed(recipe, RECIPES.get(recipe.name))
        if not change.startswith(measured)
    ]


def as_run(recipe: Named) -> str:
    """How a recipe's network and its start differ from what is published and from each other; empty: not at all."""
    published = named(Recipe).get(recipe.name)
    if published is None or not isinstance(recipe, Recipe):
        return ""
    light, notes = recipe.light, []
    if recipe.model.backbone != published.model.backbone:
        notes.append(f"run on {recipe.model.backbone} instead of the published {published.model.backbone}")
    if published.model.pretrained and not (recipe.model.pretrained or recipe.model.weights or light.start):
        notes.append("trained from scratch instead of from ImageNet weights")
    if recipe.hub_backbone and recipe.model.backbone_options.get("pad_type") == "same":
        notes.append(
            "begins with the hub's weights, which were trained with symmetric padding and ImageNet's mean and s.d.; "
            "pad_type=same, mean and std are those of weights ported from TensorFlow, as model.weights=PATH gives them"
        )
    named_last = {"begins with": light.start, "is taught by": light.teacher}
    notes += [f"{how} {Path(model).name}" for how, model in named_last.items() if model]
    if light.prune:
        notes.append(f"{light.prune:.0%} of its channels are pruned")
    return "; ".join(notes)
