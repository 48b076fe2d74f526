"""What the view network is shown of a picture, and what it can say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.segment.xray_lungs import squared

VIEW_SIZE = 112
"""Side of the view network's square input, px."""

VIEWS = (
    "frontal",
    "child",
    "lateral",
    "body-part",
    "ct",
    "two-films",
    "part",
    "turned",
    "negative",
    "heat-map",
    "other",
)
"""What a picture can be, in the order of the network's logits."""

CHESTS = 2
"""So many of :data:`VIEWS`, the first ones, are whole frontal radiographs of a chest."""


@dataclass(frozen=True)
class View:
    """What the view network says of a picture.

    Attributes:
        probabilities: float32 (views,), of each of :data:`VIEWS`; calibrated so that a picture whose chests
            have less than a half together is none.
        distance: from frontal radiographs; beyond 1 it is unlike them, whatever the probabilities are.
    """

    probabilities: FloatArray
    distance: float

    @property
    def chest(self) -> float:
        """The probability of a whole frontal radiograph of a chest, of whatever age."""
        return float(self.probabilities[:CHESTS].sum())

    @property
    def is_chest(self) -> bool:
        """Whether it is taken for one."""
        return self.chest >= 0.5 and self.distance <= 1

    @property
    def name(self) -> str:
        """The most probable view: among the chests where it is one, among all others where it is not."""
        if self.chest >= 0.5:
            return VIEWS[int(self.probabilities[:CHESTS].argmax())]
        return VIEWS[CHESTS + int(self.probabilities[CHESTS:].argmax())]


def view_input(pixels: FloatArray) -> FloatArray:
    """The view network's input: float32 (1, VIEW_SIZE, VIEW_SIZE) in [0, 1], made as the lung finder's is."""
    return squared(pixels, VIEW_SIZE)


def view_of(logits: FloatArray, distance: float) -> View:
    """What the network's answer (views,) and its distance mean."""
    powers = np.exp(logits - logits.max())
    return View(np.asarray(powers / powers.sum(), dtype=np.float32), float(distance))
