"""Standardised CT slices, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.framing import windowed
from pulmoscope.segment.ct_lungs import LungMask

NO_LUNGS = LungMask(np.zeros((4, 8, 8), np.uint8), 0.0, 0.0)


def _lungs(shape: tuple[int, int, int], *parts: tuple[slice, slice, slice]) -> LungMask:
    labels = np.zeros(shape, np.uint8)
    for part in parts:
        labels[part] = 1
    return LungMask(labels, float(np.count_nonzero(labels)), 0.0)


def test_the_window_runs_from_low_to_high() -> None:
    hu = np.array([-2000, -1000, -490, 20, 3000], np.float32)
    assert windowed(hu, -1000, 20).tolist() == [0, 0, 128, 255, 255]


def test_thin_slices_are_averaged_and_thick_ones_stay() -> None:
    hu = np.broadcast_to(np.array([-1000, -600, -200, 200, -1000], np.float32)[:, None, None], (5, 8, 8))
    own = Standardisation(size=8, region="body", slice_mm=8, hu_low=-1000, hu_high=200)
    lungs = LungMask(np.ones((5, 8, 8), np.uint8), 1.0, 0.0)
    thin = own.apply(hu, (4.0, 1.0, 1.0), lungs)
    # means of two: -800, 0, and the last one alone
    assert thin.images[:, 0, 0].tolist() == [42, 212, 0]
    assert thin.first.tolist() == [0, 2, 4, 5]
    thick = own.apply(hu, (10.0, 1.0, 1.0), lungs)
    assert thick.images[:, 0, 0].tolist() == [0, 85, 170, 255, 0]


def test_the_box_is_square_and_around_the_lungs() -> None:
    lungs = _lungs((4, 100, 120), (slice(0, 4), slice(40, 60), slice(20, 60)))
    box = Standardisation(margin=0.1).box(lungs, (4, 100, 120))
    assert (box.height, box.width) == (48, 48)
    assert (box.top, box.left) == (26, 16)


def test_without_lungs_the_whole_slice_is_shown_and_none_is_judged() -> None:
    own = Standardisation(size=8)
    found = own.apply(np.zeros((4, 8, 8), np.float32), (8.0, 1.0, 1.0), NO_LUNGS)
    assert (found.box.height, found.box.width) == (8, 8)
    assert not found.enough_lung.any()


def test_slices_with_little_lung_are_not_judged() -> None:
    lungs = _lungs(
        (3, 40, 40), (slice(0, 1), slice(0, 4), slice(0, 10)), (slice(1, 2), slice(0, 20), slice(0, 20))
    )
    found = Standardisation(size=8, least_lung=0.1).apply(
        np.zeros((3, 40, 40), np.float32), (8.0, 1, 1), lungs
    )
    assert found.enough_lung.tolist() == [True, True, False]  # 40 of 400, 400, 0
    stricter = Standardisation(size=8, least_lung=0.11)
    assert stricter.apply(np.zeros((3, 40, 40), np.float32), (8.0, 1, 1), lungs).enough_lung.tolist() == [
        False,
        True,
        False,
    ]


@given(row=st.integers(0, 31), column=st.integers(0, 31), index=st.integers(0, 3))
def test_a_pixel_that_holds_any_missing_voxel_is_missing(row: int, column: int, index: int) -> None:
    missing = np.zeros((4, 32, 32), bool)
    missing[index, row, column] = True
    lungs = LungMask(np.ones((4, 32, 32), np.uint8), 1.0, 0.0)
    own = Standardisation(size=8, region="body", slice_mm=8)
    found = own.apply(np.zeros((4, 32, 32), np.float32), (4.0, 1.0, 1.0), lungs, missing)
    expected = np.zeros((2, 8, 8), bool)
    expected[index // 2, row // 4, column // 4] = True
    assert np.array_equal(found.missing, expected)


def test_what_is_not_lung_is_black_and_nobody_misses_it() -> None:
    # Pixels of 2 x 2 voxels of 2 slices. Lung in the first slice are columns 0 to 4, in the second 0 to 1: of the four
    # columns of pixels all, a half, a quarter and nothing are lung, and a quarter is enough.
    lungs = _lungs(
        (2, 8, 8), (slice(0, 1), slice(0, 8), slice(0, 5)), (slice(1, 2), slice(0, 8), slice(0, 2))
    )
    hu, missing = np.full((2, 8, 8), 200, np.float32), np.ones((2, 8, 8), bool)
    own = Standardisation(size=4, region="body", slice_mm=8, hu_low=-1000, hu_high=200)

    found = own.apply(hu, (4.0, 1.0, 1.0), lungs, missing)

    assert found.images.tolist() == [[[255, 255, 255, 0]] * 4]
    assert found.missing.tolist() == [[[True, True, True, False]] * 4]
    kept = Standardisation(size=4, region="body", slice_mm=8, outside="kept", hu_low=-1000, hu_high=200)
    shown = kept.apply(hu, (4.0, 1.0, 1.0), lungs, missing)
    assert (shown.images == 255).all()
    assert shown.missing.all()


def test_the_chest_wall_has_no_part_in_a_pixel_of_lung() -> None:
    # Lung of -760 HU, 51 of 255 of the window; beside it in the same pixels a wall of 200 HU, some of it not observed.
    lungs = _lungs((1, 4, 4), (slice(0, 1), slice(0, 4), slice(0, 1)))
    hu = np.full((1, 4, 4), 200, np.float32)
    hu[:, :, 0] = -760
    missing = np.zeros((1, 4, 4), bool)
    missing[:, 0, 1], missing[:, 3, 0] = True, True

    own = Standardisation(size=2, region="body", slice_mm=8, hu_low=-1000, hu_high=200)
    found = own.apply(hu, (8.0, 1.0, 1.0), lungs, missing)

    assert found.images.tolist() == [[[51, 0], [51, 0]]]
    assert found.missing.tolist() == [[[False, False], [True, False]]]


def test_normalised_slices_have_one_channel() -> None:
    tensor = Standardisation(mean=0.5, std=0.25).tensor(np.full((2, 4, 4), 1.0, np.float32))
    assert tensor.shape == (2, 1, 4, 4)
    assert tensor[0, 0, 0, 0] == pytest.approx(2.0)
