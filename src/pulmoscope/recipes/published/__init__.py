"""The recipes: one file a system, and the one table of all."""

from __future__ import annotations

from collections.abc import Mapping

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes.published import (
    ct_severity_resnet18,
    ct_slice_covid,
    ct_slice_inception,
    ct_three_level,
    ct_three_level_light,
    xray_4class_densenet121,
    xray_4class_efficientnet,
    xray_4class_mobilenetv2,
    xray_4class_resnet50,
    xray_4class_vgg16,
    xray_binary_cnn,
    xray_binary_resnet50v2,
    xray_covid,
    xray_covid_1,
)
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.severity import SeverityRecipe
from pulmoscope.recipes.three_level import ThreeLevelRecipe

RECIPES: Mapping[str, Recipe] = {
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
    )
}

THREE_LEVEL: Mapping[str, ThreeLevelRecipe] = {
    module.RECIPE.name: module.RECIPE for module in (ct_three_level, ct_three_level_light)
}
"""Those of system B, which are trained otherwise."""

SEVERITY: Mapping[str, SeverityRecipe] = {
    module.RECIPE.name: module.RECIPE for module in (ct_severity_resnet18,)
}
"""That of system A, which has networks of quality control besides."""


def find(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in RECIPES:
        raise RecipeError(f"no recipe {name} (there are: {', '.join([*RECIPES, *THREE_LEVEL, *SEVERITY])})")
    return RECIPES[name]


def as_run(recipe: Recipe) -> str:
    """How a recipe's network and its start differ from what is published and from each other; empty: not at all."""
    published = RECIPES.get(recipe.name)
    if published is None:
        return ""
    notes = []
    if recipe.model.backbone != published.model.backbone:
        notes.append(f"run on {recipe.model.backbone} instead of the published {published.model.backbone}")
    if published.model.pretrained and not recipe.model.pretrained and not recipe.model.weights:
        notes.append("trained from scratch instead of from ImageNet weights")
    if recipe.model.from_hub and recipe.model.backbone_options.get("pad_type") == "same":
        notes.append(
            "begins with the hub's weights, which were trained with symmetric padding and ImageNet's mean and s.d.; "
            "pad_type=same, mean and std are those of weights ported from TensorFlow, as model.weights=PATH gives them"
        )
    return "; ".join(notes)
