"""The lung finder's recipe: not a published system, but a tool that recipes with ``region="lungs"`` share."""

from __future__ import annotations

from dataclasses import dataclass

from pulmoscope.recipes.recipe import Tool


@dataclass(frozen=True, kw_only=True)
class LungRecipe(Tool):
    """How the lung finder is trained: cross-entropy plus soft Dice loss."""


RECIPE = LungRecipe(
    name="xray-lungs",
    title="Lung finder: a small U-Net on films with lung masks; recipes with region=lungs use it",
    steps=1200,
    batch_size=24,
    learning_rate=3e-3,
    weight_decay=1e-3,
    grid={"learning_rate": (1e-3, 3e-3, 1e-2), "weight_decay": (1e-3, 1e-2)},
)
