"""Lungs of which a scan shows but a part: what is told by their height."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import BoolArray
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.segment.ct_lung_parts import dents
from pulmoscope.segment.ct_lungs import LEFT, RIGHT, lung_mask

RAISED_MM, SEEN = 60.0, 0.6


def test_liver_below_a_raised_dome_is_no_lung_where_the_scan_ends_above_the_base() -> None:
    drawn = draw("Normal", (9, 1), slices=50, size=128)
    middle, steps = drawn.hu.shape[2] // 2, round(RAISED_MM / drawn.spacing_mm[0])
    right = np.flatnonzero((drawn.lungs == RIGHT).any(axis=(0, 1)))
    assert right[0] < middle < np.flatnonzero((drawn.lungs == LEFT).any(axis=(0, 1)))[-1]
    hu, lungs = drawn.hu.astype(np.float32), drawn.lungs.copy()
    for values in (hu, lungs):  # the right half of the body lies higher
        values[steps:, :, :middle] = values[:-steps, :, :middle].copy()
        values[:steps, :, :middle] = values[steps, :, :middle]
    slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    seen = slice(None, int(slices[0] + SEEN * len(slices)))
    found = lung_mask(hu[seen], drawn.spacing_mm).labels
    assert np.count_nonzero(found[lungs[seen] == 0]) < 0.05 * np.count_nonzero(lungs[seen])


def a_dented_lung(slices: int) -> BoolArray:
    """Bool (30, 100, 100): a lung in the lowest slices, the same in each, with a dent towards the ribs."""
    row, column = np.mgrid[:100, :100]
    lung = np.zeros((30, 100, 100), dtype=bool)
    lung[:slices] = ((row - 50) / 40) ** 2 + ((column - 30) / 22) ** 2 < 1
    lung[:slices, 43:56, :20] = False
    return lung


def test_a_lung_that_is_lower_than_its_tapering_end_is_not_led_to_the_ribs() -> None:
    added = {}
    for slices in (3, 12):
        lung = a_dented_lung(slices)
        hu = np.where(lung, np.float32(-850), np.float32(40))
        row, column = np.mgrid[:100, :100]
        outer, inner = (((row - 50) / (40 + mm)) ** 2 + ((column - 30) / (22 + mm)) ** 2 < 1 for mm in (6, 3))
        hu[:, outer & ~inner] = 400
        filled = dents(lung, hu, (4.0, 2.0, 2.0), is_left=False) & ~lung
        added[slices] = np.count_nonzero(filled, axis=(1, 2))
    np.testing.assert_array_equal(added[3][:3], added[12][9:12])
    assert added[12][0] > added[12][11]  # lower down the ribs say where the lung ends
