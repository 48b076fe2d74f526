"""Lesions of a simulated chest CT by grade, CT-0 … CT-4: how much of the lungs is affected is settled beforehand.

MosMedData (Morozov et al., arXiv 2005.06465) grades a study by the fraction of the lungs that is affected: none, up to
25, 25 to 50, 50 to 75, more than 75 %. All grades look like COVID: ground glass on both sides, more of it solid as it
gets worse. CT-1 sits at the base and the back; from CT-2 on the lungs are affected over their whole height.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.phantoms.ct.anatomy import Chest, Organs
from pulmoscope.phantoms.ct.fields import Grid, bumps, smoothstep
from pulmoscope.phantoms.ct.lesions import Disease, threshold

Grade = Literal["CT-0", "CT-1", "CT-2", "CT-3", "CT-4"]
GRADES: tuple[Grade, ...] = get_args(Grade)

BOUNDS: Mapping[Grade, tuple[float, float]] = MappingProxyType(
    {
        "CT-0": (0.0, 0.0),
        "CT-1": (0.0, 0.25),
        "CT-2": (0.25, 0.50),
        "CT-3": (0.50, 0.75),
        "CT-4": (0.75, 1.0),
    }
)
"""Which fraction of both lungs together a grade stands for: more than the first, at most the second."""

SHARES: Mapping[Grade, tuple[float, float]] = MappingProxyType(
    {
        "CT-1": (0.05, 0.20),
        "CT-2": (0.30, 0.45),
        "CT-3": (0.55, 0.70),
        "CT-4": (0.80, 0.90),
    }
)
"""Which fraction is drawn: well inside the grade's bounds.

Readers' grades are fuzzy at the bounds; what is drawn has a truth, and a truth must not be fuzzy: the masks of every
study, counted, lie in its grade. So phantoms are easier to grade than patients, of whom many lie near a bound.
"""

_SOLID: Mapping[Grade, tuple[float, float]] = MappingProxyType(
    {"CT-1": (0.0, 0.10), "CT-2": (0.05, 0.20), "CT-3": (0.12, 0.32), "CT-4": (0.25, 0.50)}
)
"""Which fraction of the lesions is consolidation."""
_MOST = 0.96  # of one lung: some of it always holds air


def graded(
    grade: Grade, chest: Chest, organs: Organs, grid: Grid, rng: np.random.Generator
) -> Disease | None:
    """Draw a study's lesions so that they take a fraction of the lungs that is well inside its grade; None for CT-0."""
    if grade == "CT-0":
        return None
    lung = np.maximum(organs.pleura, organs.dome_mm[None] - grid.z_mm[:, None, None]) < 0
    low, high = SHARES[grade]
    # small fractions are the more frequent ones within CT-1, as in patients
    fraction = (
        float(np.exp(rng.uniform(np.log(low), np.log(high)))) if grade == "CT-1" else rng.uniform(low, high)
    )
    fractions = _sides(fraction, lung, organs.middle, rng)
    score, rough, kind = _score(fraction, max(fractions.values()), chest, organs, grid, rng)
    opacity, beyond = threshold(score, organs.middle, lung, fractions, 0.30)
    hu = rng.uniform(-640, -500) + rng.uniform(60, 150) * np.clip(beyond, 0, 1.6) + 50 * kind
    hu = np.clip(hu, -700, -390)
    # Solid is what lies deep in a lesion and low in the patient, in patches; air stays in the bronchi that cross it.
    core = beyond + 0.18 * rough + 0.65 * kind + 0.8 * np.asarray(grid.frame()[1] / chest.half_depth)
    part = rng.uniform(*_SOLID[grade])
    ill = lung & (opacity > 0.5)
    if ill.any():
        cut = float(np.quantile(core[ill], 1 - part))
        hu = hu + smoothstep(core, cut - 0.12, cut + 0.25) * (rng.uniform(-60, 35) - hu)
    lines = np.zeros_like(opacity)
    if rng.random() < 0.6:  # crazy paving
        lines = rng.uniform(90, 230) * smoothstep(kind, -0.2, 0.6)
    return Disease(opacity, np.asarray(hu, dtype=np.float32), np.asarray(lines, dtype=np.float32))


def _sides(
    fraction: float, lung: BoolArray, middle: FloatArray, rng: np.random.Generator
) -> dict[int, float]:
    """Part a fraction of both lungs between the right (-1) and the left (1): uneven, the less so the less is spared."""
    right, left = (int(np.count_nonzero(lung & (middle * side > 0))) for side in (-1, 1))
    whole = right + left
    lean = 1 + rng.uniform(-0.4, 0.4) * (1 - fraction)
    # neither lung can be affected beyond _MOST, nor may the other then have to be
    least = max(0.0, (fraction * whole - _MOST * left) / max(1, right))
    first = float(np.clip(fraction * lean, least, _MOST))
    return {-1: first, 1: float(np.clip((fraction * whole - first * right) / max(1, left), 0.0, _MOST))}


def _score(
    fraction: float, most: float, chest: Chest, organs: Organs, grid: Grid, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where lesions come first, and the fine and the coarse unevenness that they have; each (slices, n, n).

    Args:
        fraction: of both lungs. most: of the lung that is worse.
    """
    _, y, z = grid.frame()
    patches, rough, kind = bumps(rng, grid, 34.0), bumps(rng, grid, 11.0), bumps(rng, grid, 45.0)
    depth, up = np.clip(-organs.cage, 0, 60), z / chest.height
    # A little disease prefers the rim, the back and the base; much of it is everywhere.
    rim = rng.uniform(1.2, 2.2) * (1 - 0.5 * fraction)
    back = rng.uniform(0.6, 1.4) * (1 - 0.3 * fraction)
    low = rng.uniform(0.8, 1.6) * max(0.0, 1 - 4 * fraction) + rng.uniform(0.0, 0.3)
    score = (
        rim * np.exp(-depth / rng.uniform(14, 26))
        + back * (y / chest.half_depth)
        - low * up
        + 0.80 * patches
        + 0.35 * rough
    )
    spread = rng.uniform(0.0, 0.35)
    if fraction < SHARES["CT-2"][0]:
        top = 0.32 + 1.1 * most + spread
        score = score - 5 * smoothstep(up, top - 0.12, top + 0.12)
    return np.asarray(score, dtype=np.float32), rough, kind
