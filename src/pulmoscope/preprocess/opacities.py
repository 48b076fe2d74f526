"""Simulated opacities in normal lungs: disease that carries no hospital with it. Synthetic, and for training only.

Soft fields within the lungs that hide the vessels behind them, as ground glass and consolidation do. What the readers
of COVID-19 call a typical appearance (Simpson et al., RSNA Expert Consensus, Radiology: Cardiothoracic Imaging 2020)
is in both lungs, peripheral, and mostly at the bases; anything in one lung alone is labelled as another pneumonia.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray

LEAST_LUNG = 0.1
"""Fraction of the frame that the lungs must cover to be painted in."""


@dataclass(frozen=True)
class Painted:
    """A radiograph with simulated opacities.

    Attributes:
        image: float32 (rows, columns) in [0, 1].
        region: float32, of the lung map's shape: how opaque each place has become, 0 … 1.
        typical: whether both lungs are affected, as is typical of COVID-19.
    """

    image: FloatArray
    region: FloatArray
    typical: bool


def painted(image: FloatArray, lungs: FloatArray, rng: np.random.Generator) -> Painted | None:
    """Paint opacities into the lungs of a framed radiograph; None where it shows too little lung.

    Args:
        image: float32 (rows, columns) in [0, 1].
        lungs: lung probability over the same frame, float32 of any size.
        rng: what is drawn comes from it alone.
    """
    inside = lungs > 0.5
    if inside.mean() < LEAST_LUNG:
        return None
    columns = lungs.shape[1]
    left_side = np.arange(columns)[None] < columns / 2
    sides = [inside & left_side, inside & ~left_side]
    if min(side.sum() for side in sides) < 10:
        return None
    typical = bool(rng.random() < 0.6)
    chosen = sides if typical else [sides[int(rng.integers(2))]]
    region = np.zeros(lungs.shape, dtype=np.float32)
    for side in chosen:
        fields = _peripheral(side, rng) if typical else _anywhere(side, rng)
        # Within this lung: what spills into the other would be no finding of one lung.
        region = np.maximum(
            region, fields * cv2.GaussianBlur(side.astype(np.float32), (0, 0), 0.02 * columns)
        )
    return Painted(_veiled(image, region, rng), region, typical)


def _peripheral(side: np.ndarray, rng: np.random.Generator) -> FloatArray:
    """Two to five fields near the border of one lung, more often at its base."""
    depth = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3)
    rows = np.linspace(0.2, 1, side.shape[0])[:, None]
    return _fields(side * rows * np.exp(-depth / max(1.0, 0.3 * depth.max())), int(rng.integers(2, 6)), rng)


def _anywhere(side: np.ndarray, rng: np.random.Generator) -> FloatArray:
    """One or two fields anywhere in one lung."""
    return _fields(side.astype(np.float64), int(rng.integers(1, 3)), rng)


def _fields(weights: np.ndarray, count: int, rng: np.random.Generator) -> FloatArray:
    """Soft ellipses whose centres are drawn by weight, mottled."""
    rows, columns = weights.shape
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    centres = rng.choice(weights.size, count, p=weights.ravel() / weights.sum())
    density = np.zeros(weights.shape, dtype=np.float32)
    for centre in centres:
        row, column = divmod(int(centre), columns)
        height, width = rng.uniform(0.05, 0.16, 2) * (rows, columns)
        angle = rng.uniform(0, np.pi)
        x, y = across - column, down - row
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        field = np.exp(-(((u / width) ** 2 + (v / height) ** 2) ** 1.5))
        density = np.maximum(density, field * np.float32(rng.uniform(0.35, 0.95)))
    grain = rng.standard_normal((rows // 4 + 1, columns // 4 + 1)).astype(np.float32)
    mottle = 1 + 0.2 * cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(density * mottle, 0, 1), dtype=np.float32)


def _veiled(image: FloatArray, region: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Brighten and smooth the image where the region is opaque: towards soft tissue, its vessels hidden."""
    rows, columns = image.shape
    cover = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_LINEAR)
    tissue = np.float32(np.percentile(image[::4, ::4], rng.uniform(60, 85)))
    smooth = cv2.GaussianBlur(image, (0, 0), 0.025 * columns)
    veil = smooth + np.float32(rng.uniform(0.5, 0.9)) * np.maximum(tissue - smooth, 0)
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape).astype(np.float32), (0, 0), 0.01 * columns)
    veil = veil + np.float32(rng.uniform(0, 0.02)) * grain / max(float(grain.std()), 1e-6)
    return np.asarray(np.clip(image * (1 - cover) + veil * cover, 0, 1), dtype=np.float32)
