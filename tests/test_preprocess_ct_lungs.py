from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from chests import SPACING_MM, Chest, chest, dice
from pulmoscope.core.types import FloatArray, Point
from pulmoscope.segment.ct_lungs import LEFT, RIGHT, LungFinder, LungMask, lung_mask


@cache
def drawn() -> Chest:
    return chest()


@cache
def found() -> LungMask:
    return lung_mask(drawn().hu, SPACING_MM)


def test_right_and_left_lung_are_where_they_were_drawn() -> None:
    assert found().found
    assert dice(found().labels == RIGHT, drawn().right) > 0.97
    assert dice(found().labels == LEFT, drawn().left) > 0.97


def test_volumes_are_those_of_the_voxels() -> None:
    voxel_ml = 5.0 * 2.5 * 2.5 / 1000
    assert found().right_ml == pytest.approx((found().labels == RIGHT).sum() * voxel_ml)
    assert found().left_ml == pytest.approx(drawn().left.sum() * voxel_ml, rel=0.04)


def test_consolidation_at_the_ribs_is_lung() -> None:
    inside = (found().labels == RIGHT)[drawn().consolidation]
    assert drawn().consolidation.sum() * 5.0 * 2.5 * 2.5 / 1000 > 15  # ml: no crumb
    assert inside.mean() > 0.85


def test_airways_and_gas_in_the_stomach_are_no_lung() -> None:
    assert not (found().labels > 0)[drawn().trachea].any()
    assert not (found().labels > 0)[drawn().stomach_gas].any()


def test_a_main_bronchus_is_no_lung() -> None:
    hu = drawn().hu.copy()
    hu[
        34:37, 64:70, 50:64
    ] = -1000  # 15 mm wide, from the trachea on into the right lung, which begins at column 59
    mask = lung_mask(hu, SPACING_MM)
    assert not (mask.labels[34:37, 64:70, 60:64] > 0).any()
    assert dice(mask.labels > 0, drawn().lungs) > 0.96


def with_padding(hu: FloatArray) -> FloatArray:
    rows, columns = np.ogrid[:128, :128]
    outside = (rows - 64) ** 2 + (columns - 64) ** 2 > 63**2
    return np.where(outside, np.float32(-3024), hu)


def narrow(hu: FloatArray) -> FloatArray:
    """The field of view ends in the patient's sides, 12.5 mm inside the skin."""
    return np.ascontiguousarray(hu[:, :, 11:-11])


def test_padding_outside_the_circle_changes_nothing() -> None:
    assert dice(lung_mask(with_padding(drawn().hu), SPACING_MM).labels > 0, found().labels > 0) > 0.999


def test_a_body_that_touches_the_border() -> None:
    mask = lung_mask(narrow(drawn().hu), SPACING_MM)
    assert dice(mask.labels == RIGHT, drawn().right[:, :, 11:-11]) > 0.97


def test_lungs_that_the_field_of_view_cuts() -> None:
    columns = slice(20, -20)  # 15 mm of the lungs' sides are missing
    mask = lung_mask(np.ascontiguousarray(drawn().hu[:, :, columns]), SPACING_MM)
    assert dice(mask.labels > 0, drawn().lungs[:, :, columns]) > 0.9


def test_a_prone_patient_has_the_table_in_front() -> None:
    hu = drawn().hu.copy()
    table = drawn().table & ~drawn().body
    hu[table] = -1000
    hu[table[:, ::-1]] = 60
    assert dice(lung_mask(hu, SPACING_MM).labels, drawn().lungs) > 0.97


@pytest.mark.parametrize(
    ("steps", "spacing_mm"),
    [((1, 2, 2), (5.0, 5.0, 5.0)), ((2, 1, 1), (10.0, 2.5, 2.5)), ((1, 1, 2), (5.0, 2.5, 5.0))],
)
def test_coarser_voxels(steps: tuple[int, int, int], spacing_mm: Point) -> None:
    every = tuple(slice(None, None, step) for step in steps)
    mask = lung_mask(np.ascontiguousarray(drawn().hu[every]), spacing_mm)
    assert dice(mask.labels, drawn().lungs[every]) > 0.95


def test_finer_voxels() -> None:
    hu = np.repeat(np.repeat(np.repeat(drawn().hu[30:40], 5, axis=0), 2, axis=1), 2, axis=2)
    mask = lung_mask(hu, (1.0, 1.25, 1.25))
    truth = np.repeat(np.repeat(np.repeat(drawn().lungs[30:40], 5, axis=0), 2, axis=1), 2, axis=2)
    assert mask.labels.shape == hu.shape
    assert dice(mask.labels, truth) > 0.97


def test_a_single_slice() -> None:
    mask = lung_mask(drawn().hu[35:36], SPACING_MM)
    assert dice(mask.labels == LEFT, drawn().left[35:36]) > 0.95


@pytest.mark.parametrize(
    "hu",
    [
        np.full((4, 64, 64), -1000, dtype=np.float32),
        np.full((4, 64, 64), 40, dtype=np.float32),
        np.full((4, 64, 64), -3024, dtype=np.float32),
        np.full((1, 1, 1), -850, dtype=np.float32),
        np.random.default_rng(1).normal(-500, 600, (3, 40, 50)).astype(np.float32),
    ],
    ids=["air", "water", "padding", "one voxel", "noise"],
)
def test_no_lungs_no_mask(hu: FloatArray) -> None:
    mask = lung_mask(hu, (5.0, 1.5, 1.5))
    assert not mask.found
    assert mask.labels.shape == hu.shape
    assert not mask.labels.any()


def test_a_belly_with_gas_has_no_lungs() -> None:
    hu = drawn().hu[:8]
    assert drawn().stomach_gas[:8].any()
    assert not lung_mask(hu, SPACING_MM).found


def test_another_finder_can_take_its_place() -> None:
    def learned(hu: FloatArray, spacing_mm: Point) -> LungMask:
        return LungMask(np.zeros(hu.shape, dtype=np.uint8), 0.0, 0.0)

    finders: list[LungFinder] = [lung_mask, learned]
    assert [finder(drawn().hu[30:31], SPACING_MM).found for finder in finders] == [True, False]
