"""Augmentation of a framed X-ray: the published recipes' small changes, and our own that hide shortcuts.

Shortcuts are what gives away the hospital instead of the disease: sharpness and resolution of the source, its grey
scale, compression, noise, letters, frames and cables. Where every image may have any of them, none can carry the label.
All functions take and give float32 (rows, columns) in [0, 1]; everything is drawn from the generator given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import cv2
import numpy as np

from pulmoscope.core.limits import Limits
from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.other_film import another_film, mixed_amplitude


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for every image and epoch; the zero of each field leaves the image alone.

    Attributes:
        shift: largest shift, fraction of the side; ``shift_rows`` False moves columns only (system E).
        rotate_deg: largest rotation either way.
        zoom: largest relative change of scale (0.2: 0.8 … 1.2).
        squeeze: largest relative change of height against width.
        flip: probability of a left-right flip.
        film: strength of the changes of exposure, sharpness, resolution, local contrast, noise and compression:
            each change's probability is multiplied by it, 0 … 3.
        mixing: probability that the Fourier amplitude is blended with another training image's (see
            :func:`pulmoscope.preprocess.other_film.mixed_amplitude`).
        clutter: strength of drawn frames, letters, cables and patches, 0 … 1.
        contrast: probability that the contrast harmonisation that follows is of another strength than usual.
        opacities: probability that simulated opacities are painted into the lungs of an image of a normal class (see
            :mod:`pulmoscope.preprocess.opacities`), which is then labelled as what they look like.
    """

    TYPE: ClassVar = "image"
    shift: Annotated[float, Limits(0, 1)] = 0.0
    shift_rows: bool = True
    rotate_deg: Annotated[float, Limits(0, 180)] = 0.0
    zoom: Annotated[float, Limits(0, 0.9)] = 0.0
    squeeze: Annotated[float, Limits(0, 0.9)] = 0.0
    flip: Annotated[float, Limits(0, 1)] = 0.0
    film: Annotated[float, Limits(0, 3)] = 0.0
    mixing: Annotated[float, Limits(0, 1)] = 0.0
    clutter: Annotated[float, Limits(0, 1)] = 0.0
    contrast: Annotated[float, Limits(0, 1)] = 0.0
    opacities: Annotated[float, Limits(0, 1)] = 0.0

    def __call__(
        self,
        image: FloatArray,
        rng: np.random.Generator,
        another: Callable[[], FloatArray] | None = None,
        region: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """One random variant of ``image``, and ``region`` moved along with it.

        Args:
            image: float32 (rows, columns).
            rng: what is drawn comes from it alone.
            another: gives another training image of the same shape; needed for ``mixing``.
            region: a map over the image of any size, e.g. where opacities are; outside it becomes 0.
        """
        image, region = _warped(image, region, self, rng)
        if self.mixing and another is not None and rng.random() < self.mixing:
            image = mixed_amplitude(image, another(), float(rng.uniform(0, 1)))
        if self.film:
            image = another_film(image, self.film, rng)
        if self.clutter:
            image = _cluttered(image, self.clutter, rng)
        return image, region

    def contrast_factor(self, rng: np.random.Generator) -> float:
        """By what to multiply the strength of the contrast harmonisation: 1, or between 0 and 2."""
        return float(rng.uniform(0, 2)) if rng.random() < self.contrast else 1.0


def _warped(
    image: FloatArray, region: FloatArray | None, settings: Augmentation, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray | None]:
    """Shift, rotate, zoom, squeeze and flip in one resampling.

    What comes in from outside is black, or with ``clutter`` any grey: a border's tone says nothing then.
    """
    zoom = 1 + rng.uniform(-settings.zoom, settings.zoom)
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    squeeze = np.sqrt(1 + rng.uniform(-settings.squeeze, settings.squeeze))
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([zoom * squeeze * mirror, zoom / squeeze])
    shift = rng.uniform(-settings.shift, settings.shift, 2) * (1, settings.shift_rows)
    outside = float(rng.random()) if rng.random() < settings.clutter / 2 else 0.0
    warped = _moved(image, linear, shift, outside)
    return warped, None if region is None else _moved(region, linear, shift, 0.0)


def _moved(image: FloatArray, linear: np.ndarray, shift: np.ndarray, outside: float) -> FloatArray:
    """An image turned and scaled around its centre, then shifted by a fraction of its sides."""
    rows, columns = image.shape
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    matrix = np.column_stack([linear, centre + shift * (columns, rows) - linear @ centre])
    moved = cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderValue=outside)
    return np.asarray(moved, dtype=np.float32)


def _cluttered(image: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Frames, letters, cables and patches on top: what surrounds or covers lungs in any hospital."""
    canvas = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)  # OpenCV draws letters on 8 bits only
    side = canvas.shape[0]
    if rng.random() < 0.2 * strength:
        for turn in range(4):
            if rng.random() < 0.5:
                np.rot90(canvas, turn)[: rng.integers(1, max(2, int(side * 0.12)))] = _grey(rng)
    if rng.random() < 0.25 * strength:
        for _ in range(rng.integers(1, 4)):
            text = "".join(rng.choice(list("LRABCDP0123456789->:"), rng.integers(1, 7)))
            corner = (int(rng.integers(0, int(side * 0.9))), int(rng.integers(8, side)))
            font, scale = int(rng.integers(0, 4)), rng.uniform(0.25, 0.8) * side / 160
            cv2.putText(
                canvas, text, corner, font, scale, int(rng.choice([0, 220, 255])), int(rng.integers(1, 3))
            )
    if rng.random() < 0.15 * strength:
        for _ in range(rng.integers(1, 4)):
            start, bend, end = rng.uniform(-0.1, 1.1, (3, 2)) * side
            along = np.linspace(0, 1, 16)[:, None]
            curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
            points = [curve.astype(np.int32)]
            cv2.polylines(
                canvas,
                points,
                isClosed=False,
                color=int(rng.integers(190, 256)),
                thickness=int(rng.integers(1, 3)),
            )
    if rng.random() < 0.35 * strength:
        for _ in range(rng.integers(1, 4)):
            height, width = (rng.uniform(0.05, 0.25, 2) * side).astype(int)
            top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
            canvas[top : top + height, left : left + width] = _grey(rng)
    return canvas.astype(np.float32) / np.float32(255)


def _grey(rng: np.random.Generator) -> int:
    """Black, white, or any grey, 0 … 255."""
    greys = [0, 255, int(rng.integers(0, 256))]
    return int(rng.choice(greys))
