"""The models that a run builds on: the one that it begins with, and the one that teaches it.

What they have learnt from, the run has learnt from. So none of them may know a hospital that the run leaves out, and
the run's bundle names their hospitals beside its own (``training_data.parents``).
"""

from __future__ import annotations

from typing import Any

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.hospitals import has_learnt, known_to
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import Bundle, load


def parents_of(recipe: Recipe) -> dict[str, Any]:
    """What the data of a run say of its parents: ``{"parents": [...]}``, each with ``role``, ``name``, ``version``,
    ``sha256``, ``hospitals``; empty where the recipe has none.

    Raises:
        BundleError: there is no such model, or its files are damaged.
        RecipeError: it has other classes than the recipe, or knows a hospital that the recipe leaves out, or nobody
            knows whether it does.
    """
    roles = {"start": recipe.light.start, "teacher": recipe.light.teacher}
    parents = [_parent(recipe, role, load(model)) for role, model in roles.items() if model]
    return {"parents": parents} if parents else {}


def _parent(recipe: Recipe, role: str, bundle: Bundle) -> dict[str, Any]:
    setting = f"light.{role}={getattr(recipe.light, role)}"
    if set(bundle.classes) != set(recipe.classes):
        raise RecipeError(
            f"{setting}: must have the classes {', '.join(recipe.classes)} (found: {', '.join(bundle.classes)})"
        )
    known = known_to(bundle.training_data)
    for hospital in recipe.left_out:
        if has_learnt(known, hospital) is not False:
            how = "does not say what it has learnt from" if known is None else "has learnt from it"
            raise RecipeError(
                f"{setting}: {how}, and {hospital} is left out; give a model trained without it"
            )
    return {
        "role": role,
        "name": bundle.name,
        "version": bundle.version,
        "sha256": bundle.sha256,
        "hospitals": None if known is None else sorted(known),
    }
