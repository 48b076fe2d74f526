"""What can be said of a CT's quality without its diagnosis, once its lungs have been looked for.

What the files themselves say (missing slices, contrast medium, a tilted gantry …) was said when they were read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Bytes, Flag, FlagLevel, Quality, Scan
from pulmoscope.quality.ct.grid import CoarseCt, coarse
from pulmoscope.quality.ct.order import order_flags
from pulmoscope.quality.ct.orientation import orientation_flags
from pulmoscope.quality.ct.scale import scale_flags
from pulmoscope.quality.ct.size import size_flags
from pulmoscope.quality.ct.texture import texture_flags

LEAST_ML = 500
"""Less air and lung than this in the whole scan: it shows no chest, or hardly any of one (adults: 2,000 to 7,000)."""
CUT = 0.2
"""First and last slice show at most this fraction of the lungs' largest cross-section, where the lungs are whole."""
BORDER = 0.01
"""The lungs' outline may touch the picture's border on this fraction of its length: rounding."""
THICK_MM, COARSE_MM = 5.0, 1.5
"""Slices further apart, and pixels larger than this, hide small lesions."""
ONE_SIDED = 6.0
"""One lung is so many times larger than the other: one is missing, collapsed, full, or was not found."""

Labels = Bytes


def check(scan: Scan, lungs: Labels | None) -> Quality:
    """All flags of a CT, those of its reading first.

    Args:
        scan: with ``spacing_mm`` where there are ``lungs``.
        lungs: (slices, rows, columns): 0 none, 1 right, 2 left; None where they could not be looked for.
    """
    flags = list(scan.remarks)
    if lungs is not None and scan.spacing_mm is not None:
        flags += _lung_flags(lungs, scan.spacing_mm)
        flags += _grid_flags(scan.spacing_mm)
        flags += _input_flags(scan, lungs, coarse(scan.pixels, scan.spacing_mm))
    return Quality(tuple(flags))


def lung_fractions(lungs: Labels) -> npt.NDArray[np.float64]:
    """Of each slice's pixels, the fraction that is lung; float64 (slices,)."""
    return np.asarray(_areas(lungs) / (lungs.shape[1] * lungs.shape[2]), dtype=np.float64)


def _areas(lungs: Labels) -> npt.NDArray[np.float64]:
    """How many pixels of each slice are lung (of all at once, NumPy would make a copy)."""
    return np.array([np.count_nonzero(plane) for plane in lungs], dtype=np.float64)


def _lung_flags(lungs: Labels, spacing_mm: tuple[float, float, float]) -> Iterator[Flag]:
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    counts = (sum(int(np.count_nonzero(plane == side)) for plane in lungs) for side in (1, 2))
    right, left = (float(count) * voxel_ml for count in counts)
    if right + left < LEAST_ML:
        finding = f"the scan shows {right + left:.0f} ml of lung"
        yield Flag("no-lungs", FlagLevel.REFUSE, finding, f"at least {LEAST_ML} ml in a chest CT")
        return
    if max(right, left) > ONE_SIDED * min(right, left):
        larger = "right" if right > left else "left"
        finding = f"nearly all lung that is seen is on the {larger}: {right:.0f} ml right, {left:.0f} ml left"
        rule = f"one lung is at most {ONE_SIDED:.0f} times as large as the other"
        yield Flag("one-lung", FlagLevel.WARN, finding, rule)
    areas = _areas(lungs)
    ends = {"base": areas[0], "apex": areas[-1]}
    cut = [
        f"the {name}, whose slice shows {100 * area / areas.max():.0f} % of their largest cross-section"
        for name, area in ends.items()
        if area > CUT * areas.max()
    ]
    if cut:
        finding = f"the scan cuts the lungs at {' and at '.join(cut)}"
        rule = f"at most {100 * CUT:.0f} % in the first and the last slice"
        yield Flag("lungs-cut", FlagLevel.WARN, finding, rule)
    edges = (lungs[:, 0], lungs[:, -1], lungs[:, :, 0], lungs[:, :, -1])
    touching = sum(int(np.count_nonzero(edge)) for edge in edges)
    if touching > BORDER * sum(edge.size for edge in edges):
        finding = "the image's border cuts the lungs"
        yield Flag("truncated-fov", FlagLevel.WARN, finding, "the field of view holds them whole")


def _input_flags(scan: Scan, lungs: Labels, ct: CoarseCt) -> Iterator[Flag]:
    """What the whole of the study says against its values, slices, size and orientation."""
    assert scan.spacing_mm is not None
    if ct.threshold is None:
        return
    yield from scale_flags(ct)
    yield from texture_flags(scan.pixels, scan.spacing_mm, ct)
    yield from order_flags(ct)
    lung = ct.on_grid(lungs)
    yield from size_flags(ct, lung)
    yield from orientation_flags(ct, lung)


def _grid_flags(spacing_mm: tuple[float, float, float]) -> Iterator[Flag]:
    if spacing_mm[0] > THICK_MM:
        finding = f"the slices are {spacing_mm[0]:.3g} mm apart: small lesions between them are not seen"
        yield Flag("thick-slices", FlagLevel.WARN, finding, f"at most {THICK_MM:.0f} mm")
    if max(spacing_mm[1:]) > COARSE_MM:
        finding = f"the pixels are {max(spacing_mm[1:]):.3g} mm wide: small lesions are blurred"
        yield Flag("coarse-pixels", FlagLevel.WARN, finding, f"at most {COARSE_MM} mm")
