"""Whether a chest of such a size can be: distances of voxels that are wrong make bodies of no patient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Flag, FlagLevel
from pulmoscope.quality.ct.grid import CoarseCt

WIDTH_MM, DEPTH_MM = (180.0, 620.0), (110.0, 480.0)
"""The longer and the shorter side of a chest; lower limits hold where the image's border does not cut it."""
HEIGHT_MM = (100.0, 420.0)
"""Of lungs that the scan holds whole. Those of four real series and 60 simulated ones are 176 to 312 mm high."""
HEIGHT_TO_WIDTH = (0.45, 1.8)
"""Of lungs that the scan holds whole; 0.72 to 1.2 in the same series."""
MOST_ML = 9500.0
"""The largest lungs of healthy adults hold some 8 to 9 litres when they are full."""
WHOLE, UNCUT = 0.3, 0.02
"""In the first and in the last slice of whole lungs, at most this fraction of their largest cross-section is seen; of
the image's border, at most this fraction is body where it cuts nothing."""


def size_flags(ct: CoarseCt, lung: BoolArray) -> Iterator[Flag]:
    """What is impossible of a body's size, as one flag.

    Args:
        lung: bool (slices, rows, columns), on the coarse grid.
    """
    found = [*_body(ct), *_lungs(ct, lung)]
    if found:
        rule = "the files' distances between pixels or slices are wrong, or this is no adult's chest"
        yield Flag("impossible-size", FlagLevel.REFUSE, f"{' and '.join(found)}", rule)


def _body(ct: CoarseCt) -> Iterator[str]:
    slices = [plane for plane in ct.body if plane.any()]
    if not slices:
        return
    extents = np.median(
        [(_extent(plane.any(axis=1)), _extent(plane.any(axis=0))) for plane in slices], axis=0
    )
    depth, width = sorted(extents * ct.voxel_mm[1:])
    whole = ct.cut <= UNCUT
    for name, value, (least, most) in (("wide", width, WIDTH_MM), ("deep", depth, DEPTH_MM)):
        if value > most or (whole and value < least):
            yield f"the chest is {value:.0f} mm {name} ({least:.0f} to {most:.0f})"


def _lungs(ct: CoarseCt, lung: BoolArray) -> Iterator[str]:
    areas = np.count_nonzero(lung, axis=(1, 2))
    if not areas.any():
        return
    litres, most = float(areas.sum()) * float(np.prod(ct.voxel_mm)) / 1e6, MOST_ML / 1000
    if litres > most:
        yield f"the lungs hold {litres:.1f} litres (at most {most:.1f})"
    height = _extent(areas > 0) * ct.voxel_mm[0]
    if height > HEIGHT_MM[1]:
        yield f"the lungs are {height:.0f} mm high (at most {HEIGHT_MM[1]:.0f})"
    sides = (lung[:, 0], lung[:, -1], lung[:, :, 0], lung[:, :, -1])
    if max(areas[0], areas[-1]) > WHOLE * areas.max() or any(side.any() for side in sides):
        return
    if height < HEIGHT_MM[0]:
        yield f"the lungs are {height:.0f} mm high (at least {HEIGHT_MM[0]:.0f})"
    width = _extent(np.asarray(lung.any(axis=(0, 1)))) * ct.voxel_mm[2]
    low, high = HEIGHT_TO_WIDTH
    if not low <= height / width <= high:
        yield f"the lungs are {height / width:.1f} times as high as wide ({low} to {high})"


def _extent(any_there: npt.NDArray[np.bool_]) -> int:
    """From the first to the last place where there is anything."""
    inside = np.flatnonzero(any_there)
    return int(inside[-1]) - int(inside[0]) + 1
