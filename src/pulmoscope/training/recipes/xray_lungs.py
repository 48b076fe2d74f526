"""The lung finder's recipe: not a published system, but a tool that recipes with ``region="lungs"`` share."""

from __future__ import annotations

from dataclasses import dataclass


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
