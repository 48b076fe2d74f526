from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from chests import Mask, dice
from pulmoscope.core.types import FloatArray
from pulmoscope.phantoms.ct.draw import CtPhantom, draw
from pulmoscope.segment.ct_lung_dense import with_dense
from pulmoscope.segment.ct_lung_parts import without_domes
from pulmoscope.segment.ct_lungs import RIGHT, lung_mask
from pulmoscope.segment.ct_severity import measure


@cache
def healthy() -> CtPhantom:
    return draw("Normal", 1, slices=40, size=192)


def consolidated() -> tuple[FloatArray, Mask]:
    """A drawn healthy person whose right lung is airless at the back, with ground glass around; and where it is so."""
    drawn = healthy()
    hu = drawn.hu.astype(np.float32)
    right = drawn.lungs == RIGHT
    slices, rows = np.flatnonzero(right.any(axis=(1, 2))), np.flatnonzero(right.any(axis=(0, 2)))
    low, high = slices[len(slices) // 3], slices[3 * len(slices) // 4]
    behind = int(rows[0] + 0.75 * len(rows))
    glass, core = right.copy(), right.copy()
    for mask, front in ((glass, behind - 12), (core, behind)):
        mask[:low], mask[high:], mask[:, :front] = False, False, False
    hu[glass] = -450
    hu[core] = 15
    return hu, core


def test_a_lung_that_is_airless_at_the_back_reaches_the_ribs() -> None:
    hu, core = consolidated()
    labels = lung_mask(hu, healthy().spacing_mm).labels
    assert core.sum() * np.prod(healthy().spacing_mm) / 1000 > 100  # ml
    assert (labels == RIGHT)[core].mean() > 0.7
    assert dice(labels > 0, healthy().lungs) > 0.95


def test_nothing_is_added_where_lungs_end_healthy() -> None:
    drawn = healthy()
    assert dice(lung_mask(drawn.hu.astype(np.float32), drawn.spacing_mm).labels, drawn.lungs) > 0.98
    air = np.zeros((6, 30, 30), dtype=bool)
    assert not with_dense(
        air, np.full(air.shape, -1000, np.float32), ~air, (4.0, 2.0, 2.0), is_left=True
    ).any()


@pytest.mark.parametrize("seed", [0, 3])
def test_a_drawn_patients_disease_is_within_the_lungs(seed: int) -> None:
    drawn = draw("COVID", (50, seed), slices=40, size=192)
    labels = lung_mask(drawn.hu.astype(np.float32), drawn.spacing_mm).labels
    assert (labels > 0)[drawn.lesions].mean() > 0.8
    assert dice(labels > 0, drawn.lungs > 0) > 0.9


def test_a_tip_of_the_diaphragm_is_no_lung() -> None:
    aerated = np.ones((6, 60, 60), dtype=bool)
    liver = np.zeros_like(aerated)
    for index, half in ((0, 15), (1, 12), (2, 9), (3, 6)):
        liver[index, 30 - half : 30 + half, 30 - half : 30 + half] = True
    nodule = np.zeros_like(aerated)
    nodule[4, 5:15, 5:15] = True  # dense, but nothing below it
    lung = np.ones_like(aerated)
    lung[0] &= ~liver[0]  # above, the search has filled the liver's tips
    found = without_domes(lung, aerated & ~liver & ~nodule, (4.0, 2.0, 2.0))
    assert not found[liver].any()
    assert found[~liver].all()


@pytest.mark.parametrize(
    ("lobe", "least"), [("right-upper lobe", 0.75), ("left-upper lobe", 0.75), ("right-lower lobe", 0.35)]
)
def test_a_lobe_without_air_is_lung_and_ill(lobe: str, least: float) -> None:
    drawn = draw(lobe, (31, 1), slices=50, size=192)
    hu = drawn.hu.astype(np.float32)
    labels = lung_mask(hu, drawn.spacing_mm).labels
    assert (labels > 0)[drawn.lesions].mean() > least
    assert (labels > 0)[drawn.lungs == 0].sum() < 0.05 * (drawn.lungs > 0).sum()
    measured = measure(hu, labels, drawn.spacing_mm)
    assert measured is not None
    assert measured[0].percent_affected > 0.5 * drawn.affected
