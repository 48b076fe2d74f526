"""The lung finder's recipe: not a published system, but a tool that recipes with ``region="lungs"`` share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pulmoscope.core.errors import RecipeError


@dataclass(frozen=True)
class LungRecipe:
    """How the lung finder is trained: AdamW with one cycle, cross-entropy plus soft Dice loss."""

    name: str = "xray-lungs"
    title: str = "Lung finder: a small U-Net on films with lung masks"
    steps: int = 1200
    batch_size: int = 24
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    seed: int = 20


RECIPE = LungRecipe()
GRID: Mapping[str, tuple[float | int | str, ...]] = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "weight_decay": (1e-3, 1e-2),
}
"""What ``tune`` tries."""


def check(recipe: LungRecipe) -> None:
    """Do the settings make sense?

    Raises:
        RecipeError: one does not; the message names the setting, its limits and the value.
    """
    for name, low in {"steps": 1, "batch_size": 1, "learning_rate": 0, "weight_decay": 0, "seed": 0}.items():
        value = getattr(recipe, name)
        if not low <= value < math.inf:
            raise RecipeError(f"{name}={value}: must be at least {low}")
