"""Augmentation of a framed X-ray: the published recipes' small changes, and our own that hide shortcuts.

Filled in by the recipes; every probability is per image. All take and give float32 (rows, columns) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for every image and epoch; the zero of each field leaves the image alone.

    Attributes:
        shift: largest shift, share of the side; ``shift_rows`` False moves columns only (system E).
        rotate_deg: largest rotation either way.
        zoom: largest relative change of scale (0.2: 0.8 … 1.2).
        flip: probability of a left-right flip.
    """

    shift: float = 0.0
    shift_rows: bool = True
    rotate_deg: float = 0.0
    zoom: float = 0.0
    flip: float = 0.0

    def __call__(self, image: FloatArray, rng: np.random.Generator) -> FloatArray:
        """One random variant of ``image``."""
        return warp(image, self, rng)


def warp(image: FloatArray, settings: Augmentation, rng: np.random.Generator) -> FloatArray:
    """Shift, rotate, zoom and flip in one resampling; what comes in from outside is black."""
    rows, columns = image.shape
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom)
    matrix = cv2.getRotationMatrix2D(
        ((columns - 1) / 2, (rows - 1) / 2), rng.uniform(-settings.rotate_deg, settings.rotate_deg), scale
    )
    matrix[0, 2] += rng.uniform(-settings.shift, settings.shift) * columns
    matrix[1, 2] += rng.uniform(-settings.shift, settings.shift) * rows * settings.shift_rows
    if rng.random() < settings.flip:
        matrix[0] *= -1
        matrix[0, 2] += columns - 1
    return np.asarray(
        cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR), dtype=np.float32
    )
