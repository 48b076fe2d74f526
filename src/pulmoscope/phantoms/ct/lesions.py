"""What disease does to the lungs of a simulated chest on CT: where, how much, how dense; and what everybody may have.

COVID: ground glass at the periphery, at the back and the base, on both sides, patchy, with lines in it or dense cores.
CAP: one lobe's segment, bounded by a fissure, dense, with air left in its bronchi and a little ground glass around.
A lobe by its name: that lobe from fissure to ribs, dense throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.phantoms.ct.anatomy import Chest, Organs
from pulmoscope.phantoms.ct.fields import Grid, bumps, smoothstep

CtLabel = Literal["Normal", "COVID", "CAP"]
LABELS: tuple[CtLabel, ...] = get_args(CtLabel)
SIDES = (-1, 1)  # right, left
LOBES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "right-upper lobe": (-1, "upper"),
        "right-lower lobe": (-1, "lower"),
        "left-upper lobe": (1, "upper"),
        "left-lower lobe": (1, "lower"),
    }
)
"""Lobes that can be drawn airless: the side, and which of its lobes."""
_NOWHERE = -1e3


@dataclass(frozen=True)
class Disease:
    """Lesions on the coarse grid; float32 (slices, n, n).

    Attributes:
        opacity: 0 in healthy lung, 1 well inside a lesion; a lesion's border runs where it is 0.5.
        hu: the density that a lesion tends to.
        lines: how strongly fine lines show in it (crazy paving), HU.
        bound: distance to the surface that a lesion doesn't cross, negative on its side; None where there is none.
    """

    opacity: FloatArray
    hu: FloatArray
    lines: FloatArray
    bound: FloatArray | None = None


def disease(
    label: CtLabel, chest: Chest, organs: Organs, grid: Grid, rng: np.random.Generator
) -> Disease | None:
    """Draw a study's lesions; None for ``Normal``. Fractions of a lung are random over a wide range."""
    if label == "Normal":
        return None
    lung = np.maximum(organs.pleura, organs.dome_mm[None] - grid.z_mm[:, None, None]) < 0
    if label == "COVID":
        burden = float(np.exp(rng.uniform(np.log(0.03), np.log(0.55))))
        lean = rng.uniform(0.6, 1.4)
        fractions = {-1: min(0.65, burden * lean), 1: min(0.65, burden * (2 - lean))}
        return _covid(chest, organs, grid, lung, fractions, rng)
    return _cap(chest, organs, grid, lung, rng)


def _covid(
    chest: Chest,
    organs: Organs,
    grid: Grid,
    lung: BoolArray,
    fractions: dict[int, float],
    rng: np.random.Generator,
) -> Disease:
    _, y, z = grid.frame()
    patches, rough, kind = bumps(rng, grid, 34.0), bumps(rng, grid, 11.0), bumps(rng, grid, 45.0)
    rim, back, low = rng.uniform(1.2, 2.2), rng.uniform(0.6, 1.4), rng.uniform(0.4, 1.6)
    depth = np.clip(-organs.cage, 0, 60)
    score = (
        rim * np.exp(-depth / rng.uniform(14, 26))
        + back * (y / chest.half_depth)
        - low * (z / chest.height)
        + 0.80 * patches
        + 0.35 * rough
    )
    # In some it stays low, in some it reaches the top; a widespread one can't stay low.
    top = rng.uniform(0.35 + 0.8 * max(fractions.values()), 1.25)
    score = score - 5 * smoothstep(z / chest.height, top - 0.12, top + 0.12)
    opacity, beyond = threshold(score, organs.middle, lung, fractions, 0.30)
    dense, step = rng.uniform(-640, -480), rng.uniform(80, 200)
    hu = dense + step * np.clip(beyond, 0, 1.6) + 55 * kind
    hu = np.clip(hu, -700, -390)
    if rng.random() < 0.6:  # dense cores
        core = smoothstep(beyond + 0.35 * rough, rng.uniform(0.7, 1.3), 1.7)
        hu = hu + core * (rng.uniform(-120, 30) - hu)
    lines = np.zeros_like(opacity)
    if rng.random() < 0.55:  # crazy paving
        lines = rng.uniform(90, 230) * smoothstep(kind, -0.2, 0.6)
    return Disease(opacity, np.asarray(hu, dtype=np.float32), np.asarray(lines, dtype=np.float32))


def _cap(chest: Chest, organs: Organs, grid: Grid, lung: BoolArray, rng: np.random.Generator) -> Disease:
    side = SIDES[int(rng.random() < 0.45)]
    bound = _lobe(organs, side, rng)
    x, y, z = grid.frame()
    hilum = chest.hilum(side)
    candidates = np.argwhere(lung & (organs.middle * side > 0) & (bound < -8) & (organs.cage > -12))
    if len(candidates):
        slice_, row, column = candidates[rng.integers(len(candidates))]
        aim = np.array([x[slice_, row, column], y[0, row, column], z[slice_, 0, 0]], dtype=np.float64)
    else:
        aim = hilum + np.array([side * 60, 20, -40])
    axis = (aim - hilum) / np.linalg.norm(aim - hilum)
    dx, dy, dz = x - hilum[0], y - hilum[1], z - hilum[2]
    reach = np.sqrt(dx * dx + dy * dy + dz * dz) + 1
    wedge = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / reach
    rough, patches = bumps(rng, grid, 13.0), bumps(rng, grid, 40.0)
    score = 2.2 * wedge - 0.5 * np.exp(-reach / 25) + 0.12 * rough + 0.22 * patches
    score = np.where(bound < 0.5 * grid.pixel_mm * grid.size / grid.coarse, score, _NOWHERE)
    room = float((lung & (bound < 0) & (organs.middle * side > 0)).sum()) / max(
        1, int((lung & (organs.middle * side > 0)).sum())
    )
    fraction = min(float(np.exp(rng.uniform(np.log(0.05), np.log(0.50)))), 0.9 * room)
    opacity, beyond = threshold(score, organs.middle, lung, {side: fraction}, 0.16)
    dense = rng.uniform(5, 55)
    glass = rng.uniform(-620, -470)
    solid = smoothstep(beyond + 0.10 * rough, 0.05, rng.uniform(0.18, 0.42))
    # the thinner the rim of ground glass, the harder the wedge's border
    hu = glass + solid * (dense - glass)
    if rng.random() < 0.3:  # a small patch on the other side
        other = 1.2 * np.exp(-np.clip(-organs.cage, 0, 60) / 20) + patches - z / chest.height
        more, over = threshold(other, organs.middle, lung, {-side: rng.uniform(0.005, 0.04)}, 0.25)
        opacity = np.maximum(opacity, more)
        hu = np.where(organs.middle * side > 0, hu, glass + smoothstep(over, 0.2, 0.7) * (dense - glass))
        bound = np.where(organs.middle * side > 0, bound, _NOWHERE)
    return Disease(
        opacity,
        np.asarray(hu, dtype=np.float32),
        np.zeros_like(opacity),
        np.asarray(bound, dtype=np.float32),
    )


def lobar(lobe: str, organs: Organs, grid: Grid, rng: np.random.Generator) -> Disease:
    """Draw a whole lobe that holds no air but in its bronchi, from fissure to ribs: lobar pneumonia at its height."""
    side, kind = LOBES[lobe]
    opacity = (organs.middle * side > 0).astype(np.float32)
    bound = np.where(opacity > 0, _bound(organs, side, kind), np.float32(-_NOWHERE))
    hu = np.float32(rng.uniform(15, 45)) + 8 * bumps(rng, grid, 12.0)
    return Disease(opacity, np.asarray(hu, dtype=np.float32), np.zeros_like(opacity), bound)


def _lobe(organs: Organs, side: int, rng: np.random.Generator) -> FloatArray:
    """Distance to the border of a random lobe of one lung, negative inside."""
    kinds = ("lower", "upper", "middle") if side < 0 else ("lower", "upper")
    return _bound(
        organs, side, kinds[int(rng.choice(len(kinds), p=(0.5, 0.3, 0.2) if side < 0 else (0.6, 0.4)))]
    )


def _bound(organs: Organs, side: int, kind: str) -> FloatArray:
    """Distance to the border of a lobe, negative inside."""
    if kind == "lower":
        return organs.oblique
    if side > 0:
        return -organs.oblique
    level = organs.level if kind == "middle" else -organs.level
    return np.maximum(-organs.oblique, level)


def threshold(
    score: FloatArray, middle: FloatArray, lung: BoolArray, fractions: dict[int, float], ramp: float
) -> tuple[FloatArray, FloatArray]:
    """Cut a score so that it takes the asked-for fraction of each lung.

    Returns:
        the opacity, and how far the score lies beyond the cut.
    """
    beyond = np.full(score.shape, _NOWHERE, dtype=np.float32)
    for side, fraction in fractions.items():
        half = middle * side > 0
        values = score[lung & half]
        if len(values):
            cut = np.quantile(values, 1 - fraction)
            beyond = np.where(half, score - np.float32(cut), beyond)
    return np.asarray(np.clip(beyond / ramp + 0.5, 0, 1), dtype=np.float32), np.asarray(
        beyond, dtype=np.float32
    )


@dataclass(frozen=True)
class Everyday:
    """What occurs in everybody, ill or well.

    Attributes:
        lung_hu: density of the lung without vessels and lesions, on the coarse grid; (slices, n, n).
        nodules: small round ones: place and radius, mm; float64 (n, 4).
        scar: a line's two ends in mm, or None; float64 (2, 3).
        motion_mm: how far the heart's border moved while it was scanned; 0 for not.
    """

    lung_hu: FloatArray
    nodules: np.ndarray
    scar: np.ndarray | None
    motion_mm: float


def everyday(chest: Chest, organs: Organs, grid: Grid, rng: np.random.Generator) -> Everyday:
    """Draw the lung itself: denser where it hangs, airless bands at the back, scars, caps, nodules."""
    _, y, z = grid.frame()
    up, depth = z / chest.height, np.clip(-organs.cage, 0, 60)
    hu = (
        chest.lung_hu
        + chest.gravity_hu * (y / chest.half_depth) * 0.5
        + 9 * bumps(rng, grid, 30.0)
        + 6 * bumps(rng, grid, 9.0)
    )
    uneven = bumps(rng, grid, 26.0)
    strength, other, reach = rng.uniform(60, 330), rng.uniform(0.3, 1.0), rng.uniform(2.5, 6.0)
    if rng.random() < 0.65:  # dependent band
        back = smoothstep(y / chest.half_depth, 0.35, 0.8) * smoothstep(up, 0.75, 0.35)
        sides = np.where(organs.middle < 0, 1.0, other)
        hu = hu + strength * sides * back * np.exp(-depth / reach) * (0.7 + 0.3 * uneven)
    if rng.random() < 0.3:  # apical caps
        hu = hu + rng.uniform(100, 350) * smoothstep(up, 0.86, 0.97) * np.exp(-depth / 3.5)
    if rng.random() < 0.2:  # emphysema
        hu = hu - rng.uniform(30, 80) * smoothstep(uneven, 0.3, 1.0) * smoothstep(up, 0.3, 0.7)
    few = int(rng.choice(4, p=(0.6, 0.2, 0.12, 0.08)))
    angle, height = rng.uniform(0.15, 0.85, few) * np.pi, rng.uniform(0.15, 0.9, few) * chest.height
    spots = chest.cage_points(rng.choice(SIDES, few) * angle, height, -12.0) * np.array([1, 0.9, 1])
    nodules = np.concatenate([spots, rng.uniform(1.4, 3.4, (few, 1))], axis=1)
    scar = None
    if rng.random() < 0.3:
        side = rng.choice(SIDES)
        middle = chest.cage_points(
            side * rng.uniform(0.2, 0.8, 1) * np.pi, rng.uniform(0.2, 0.6, 1) * chest.height, -10.0
        )[0]
        scar = np.stack([middle, middle + rng.normal(0, 14, 3) * [1, 1, 0.5]])
    motion = float(rng.uniform(1.5, 4.0)) if rng.random() < 0.3 else 0.0
    return Everyday(np.asarray(hu, dtype=np.float32), nodules, scar, motion)
