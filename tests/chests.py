"""A chest CT of ellipsoids, with the truth about it: for tests of what finds lungs and bodies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray, Point

Mask = npt.NDArray[np.bool_]
SPACING_MM: Point = (5.0, 2.5, 2.5)


@dataclass(frozen=True)
class Chest:
    """HU (slices, rows, columns), feet to head, rows to the back, columns to the patient's left; and what is where."""

    hu: FloatArray
    body: Mask
    right: Mask
    left: Mask
    trachea: Mask
    consolidation: Mask
    stomach_gas: Mask
    table: Mask

    @property
    def lungs(self) -> Mask:
        """Both."""
        return self.right | self.left


def chest(noise: float = 15.0) -> Chest:
    """60 slices of 5 mm, 128 x 128 px of 2.5 mm. The patient's left lung is the smaller one (the heart)."""
    mm = [
        (np.arange(count) - count / 2) * step for count, step in zip((60, 128, 128), SPACING_MM, strict=True)
    ]
    z, y, x = np.meshgrid(*mm, indexing="ij")

    def ellipsoid(centre: Point, half: Point) -> Mask:
        places = zip((z, y, x), centre, half, strict=True)
        return np.asarray(sum(((at - middle) / size) ** 2 for at, middle, size in places) < 1)

    body = (y / 105) ** 2 + (x / 145) ** 2 < 1
    heart = ellipsoid((-40, -30, 25), (60, 45, 50))
    liver = ellipsoid((-130, 0, -60), (75, 95, 75))
    right = ellipsoid((0, 0, -68), (125, 80, 55)) & ~liver & ~heart
    left = ellipsoid((0, 0, 68), (125, 80, 55)) & ~heart
    trachea = ((y - 5) ** 2 + x**2 < 9**2) & (z > 20)
    consolidation = ellipsoid((20, 60, -95), (22, 20, 20)) & right
    stomach_gas = ellipsoid((-138, -30, 50), (12, 20, 30))
    table = (np.abs(y - 125) < 4) & (np.abs(x) < 150)
    hu = np.full(z.shape, -1000, dtype=np.float32)
    hu[table] = 60
    hu[body] = 40
    hu[right | left] = -850
    hu[consolidation] = 30
    hu[trachea | stomach_gas] = -1000
    hu += np.random.default_rng(0).normal(0, noise, hu.shape).astype(np.float32)
    return Chest(hu, body, right, left, trachea, consolidation, stomach_gas, table)


def dice(found: npt.NDArray[np.generic], drawn: npt.NDArray[np.generic]) -> float:
    """Overlap of two masks, 0 … 1."""
    one, other = found.astype(bool), drawn.astype(bool)
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
