"""What disease looks like on a simulated radiograph, in broad strokes: where, how large, how dense."""

from __future__ import annotations

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.phantoms.xray.anatomy import Canvas


def lesions(canvas: Canvas, lungs: FloatArray, finding: str, rng: np.random.Generator) -> FloatArray:
    """Density of the drawn disease; float32 (size, size) in [0, 1], 0 outside the lungs.

    Args:
        lungs: float32 (size, size), 1 inside the lung fields.
        finding: ``Normal`` gives nothing.
    """
    draw = {"COVID": _ground_glass, "Viral Pneumonia": _perihilar_haze, "Tuberculosis": _upper_lobe}.get(
        finding
    )
    if draw is None:
        return np.zeros_like(lungs)
    return np.asarray(np.clip(draw(canvas, lungs, rng), 0, 1) * canvas.blur(lungs, 0.004), dtype=np.float32)


def _ground_glass(canvas: Canvas, lungs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Patches on both sides, along the outer border of the lower zones."""
    side = 64  # places are drawn on a coarse grid
    inside = np.asarray(cv2.resize(lungs, (side, side), interpolation=cv2.INTER_AREA) > 0.5, dtype=np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / side
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    outward = np.abs(columns - 0.5)
    weight = inside * np.exp(-((depth / 0.05) ** 2)) * np.exp(-(((rows - 0.60) / 0.16) ** 2)) * outward**2
    total = np.zeros_like(lungs)
    for half in (columns < 0.5, columns >= 0.5):
        chance = (weight * half).ravel()
        for position in rng.choice(chance.size, rng.integers(4, 7), p=chance / chance.sum()):
            centre = (columns.flat[position], rows.flat[position])
            total += rng.uniform(0.5, 0.9) * _patch(canvas, centre, rng.uniform(0.045, 0.085), rng)
    return total


def _perihilar_haze(canvas: Canvas, lungs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Haze around both hila, with lines in it."""
    total = np.zeros_like(lungs)
    for x, y in ((0.385, 0.47), (0.625, 0.46)):
        centre = (x + rng.normal(0, 0.01), y + rng.normal(0, 0.02))
        total += rng.uniform(0.5, 0.75) * _patch(canvas, centre, rng.uniform(0.10, 0.14), rng)
        angles = rng.uniform(-np.pi, np.pi, 60)
        starts = (
            np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.02, 0.10, (60, 1)) + centre
        )
        ends = starts + np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.03, 0.07, (60, 1))
        lines = canvas.lines([np.stack(pair) for pair in zip(starts, ends, strict=True)], [0.004] * 60)
        total += 0.35 * canvas.blur(lines, 0.002)
    return total


def _upper_lobe(canvas: Canvas, lungs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Patches in one or both upper zones, and in most a cavity with a wall."""
    total = np.zeros_like(lungs)
    first = int(rng.integers(2))
    sides = (first, 1 - first) if rng.random() < 0.4 else (first,)
    for side in sides:
        x, y = (0.29, 0.71)[side] + rng.normal(0, 0.02), rng.uniform(0.22, 0.29)
        for _ in range(int(rng.integers(4, 8))):
            near = (x + rng.normal(0, 0.045), y + rng.normal(0, 0.04))
            total += rng.uniform(0.4, 0.8) * _patch(canvas, near, rng.uniform(0.02, 0.05), rng)
        if side == first and rng.random() < 0.7:
            total = _hollow(canvas, total, (x, y), rng.uniform(0.03, 0.045))
    return total


def _hollow(canvas: Canvas, field: FloatArray, centre: tuple[float, float], radius: float) -> FloatArray:
    """Cut a round cavity into the disease and draw its wall."""
    angle = np.linspace(0, 2 * np.pi, 40)
    circle = np.asarray(centre) + radius * np.stack([np.cos(angle), 0.85 * np.sin(angle)], axis=1)
    hole = canvas.blur(canvas.area(circle), 0.004)
    wall = canvas.blur(canvas.lines([circle], [0.011]), 0.003)
    return np.asarray(np.minimum(field, 1) * (1 - 0.9 * hole) + 0.8 * wall, dtype=np.float32)


def _patch(
    canvas: Canvas, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> FloatArray:
    """A soft, uneven spot: a round hill whose rim is torn by smooth noise."""
    # drawn coarsely and enlarged: there is no fine detail in it
    side = min(canvas.size, 96)
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / np.float32(side)
    distance = np.hypot(columns - centre[0], (rows - centre[1]) * 0.85) / np.float32(radius)
    torn = cv2.resize(
        rng.standard_normal((14, 14), dtype=np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    steep = np.clip(4.5 * (distance + 0.28 * torn - 0.95), -30, 30)
    coarse = np.asarray(1 / (1 + np.exp(steep)), dtype=np.float32)
    return np.asarray(
        cv2.resize(coarse, (canvas.size, canvas.size), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )
