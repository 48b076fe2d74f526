"""Which heat maps explain a model's answers; what draws them is in :mod:`pulmoscope.explain.maps`."""

from __future__ import annotations

from dataclasses import dataclass

GRAD_CAM = "grad-cam"
MAPS = (GRAD_CAM, "grad-cam++", "layer-cam", "contrast-cam", "occlusion", "rise")
"""Codes of the kinds of heat maps."""


@dataclass(frozen=True)
class Maps:
    """What a bundle says of its heat maps.

    Attributes:
        kind: one of :data:`MAPS`.
    """

    kind: str = GRAD_CAM

    def __post_init__(self) -> None:
        """Check the kind (errors: ValueError)."""
        if self.kind not in MAPS:
            raise ValueError(f"explanation.kind must be one of {', '.join(MAPS)} (found: {self.kind})")
