"""The network that a run begins with, where that is no backbone as published: a former run's, or a pruned one."""

from __future__ import annotations

import dataclasses

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.classifier import Classifier
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import ModelSpec
from pulmoscope.runtime.bundle import load
from pulmoscope.training.light.parents import parents_of
from pulmoscope.training.light.prune import fit_shapes, prune

WEIGHTS = "weights.safetensors"


def begun(network: Classifier, recipe: Recipe) -> Classifier:
    """The network as training begins with it: with the start's weights and shapes, then pruned; changed in place.

    Args:
        network: of the resolved recipe, untrained or with its backbone's pretrained weights.

    Raises:
        BundleError, RecipeError: see :func:`parents_of`.
        RecipeError: the start's network is another one, or its weights are damaged or not there; nothing can be pruned.
    """
    light = recipe.light
    parents_of(recipe)  # refuses a start or teacher that does not fit, before any image is read
    if light.start:
        _load(network, recipe)
    if light.prune:
        prune(network, light.prune, recipe.framing.channels)
    return network


def _load(network: Classifier, recipe: Recipe) -> None:
    setting = f"light.start={recipe.light.start}"
    bundle = load(recipe.light.start)
    file = bundle.folder / WEIGHTS
    if not file.is_file():
        raise RecipeError(f"{setting}: has no {WEIGHTS}; training goes on from a run's own folder alone")
    before = settings.from_plain(bundle.recipe)
    if bundle.classes != recipe.classes or _shape(before.model) != _shape(recipe.model):
        raise RecipeError(
            f"{setting}: must have the recipe's network and classes, {recipe.model.backbone} with "
            f"{', '.join(recipe.classes)} (found: {before.model.backbone} with {', '.join(bundle.classes)})"
        )
    try:
        state = load_file(file)
        if network.locator is None:
            state = {name: value for name, value in state.items() if not name.startswith("locator.")}
        load_state(network, state)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"{setting}: {WEIGHTS} does not fit the recipe's network ({reason})") from error


def load_state(network: Classifier, state: dict[str, Tensor]) -> None:
    """Give a network the weights of a pruned one, and the shapes that go with them.

    Raises:
        RuntimeError: the weights are of another network.
    """
    fit_shapes(network, state)
    network.load_state_dict(state)


def without_weights(recipe: Recipe) -> Recipe:
    """The recipe, its backbone's first weights drawn."""
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, pretrained=False, weights=""))


def _shape(model: ModelSpec) -> ModelSpec:
    """What of a model's settings decides its layers."""
    return dataclasses.replace(model, pretrained=False, weights="", dropout=0.0)
