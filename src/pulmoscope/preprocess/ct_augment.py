"""Augmentation of a CT slice, as system B does it (Garg et al., ICASSP 2021, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.limits import Limits

Pixel = TypeVar("Pixel", np.uint8, np.float32)


@dataclass(frozen=True)
class CtAugmentation:
    """What is drawn anew for every slice and epoch, evenly between the bounds; zero leaves the slice alone.

    Attributes:
        rotate_deg: largest rotation either way (system B: 25).
        shift: largest shift along rows and along columns, fraction of the side (20 of 224 px).
        zoom: largest relative change of scale (0.2: 0.8 … 1.2).
        shear: largest shift of a column per row (0.2).
        brightness: largest relative change of all values (0.2: 0.8 … 1.2).
        flip: probability of a left-right flip (0.5).
    """

    TYPE: ClassVar = "slice"
    rotate_deg: Annotated[float, Limits(0, 180)] = 0.0
    shift: Annotated[float, Limits(0, 1)] = 0.0
    zoom: Annotated[float, Limits(0, 0.9)] = 0.0
    shear: Annotated[float, Limits(0, 1)] = 0.0
    brightness: Annotated[float, Limits(0, 1)] = 0.0
    flip: Annotated[float, Limits(0, 1)] = 0.0

    def __call__(self, image: npt.NDArray[Pixel], rng: np.random.Generator) -> npt.NDArray[Pixel]:
        """One random variant of a slice: uint8, or float32 in [0, 1], (rows, columns); of the same type and range.

        One resampling for all that moves; what comes in from outside is black.
        """
        rows, columns = image.shape
        matrix = self.matrix(rows, columns, rng)
        factor = 1 + rng.uniform(-self.brightness, self.brightness)
        warped = cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
        white = 255 if image.dtype == np.uint8 else 1
        bright = np.clip(warped.astype(np.float32) * np.float32(factor), 0, white)
        if image.dtype == np.uint8:
            bright = np.rint(bright)
        return np.asarray(bright, dtype=image.dtype)

    def matrix(self, rows: int, columns: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Where each point (x, y) of a slice goes: (2, 3), about the slice's centre."""
        angle = np.deg2rad(rng.uniform(-self.rotate_deg, self.rotate_deg))
        shift = rng.uniform(-self.shift, self.shift, 2) * (columns, rows)
        zoom = 1 + rng.uniform(-self.zoom, self.zoom)
        shear = rng.uniform(-self.shear, self.shear)
        mirror = -1.0 if rng.random() < self.flip else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([zoom * mirror, zoom])
        centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
        return np.column_stack([linear, centre + shift - linear @ centre])


SYSTEM_B = CtAugmentation(rotate_deg=25, shift=20 / 224, zoom=0.2, shear=0.2, brightness=0.2, flip=0.5)
"""The published strengths."""
