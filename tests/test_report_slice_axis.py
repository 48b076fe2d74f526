from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnoses import a_ct_diagnosis, a_ct_of_pictures
from pulmoscope.report.slice_axis import Axis, axis_of, spread, ticks


def test_an_axis_in_mm_reaches_half_a_step_beyond_its_slices() -> None:
    axis = axis_of(a_ct_diagnosis().scan)
    assert (axis.step, axis.in_mm) == (5, True)
    assert (axis.low, axis.high) == (-302.5, -182.5)
    assert [axis.fraction(position) for position in (-302.5, -242.5, -182.5)] == [0, 0.5, 1]


def test_without_geometry_the_axis_counts_slices() -> None:
    axis = axis_of(a_ct_of_pictures().scan)
    assert (axis.positions, axis.in_mm) == (tuple(range(24)), False)
    assert (axis.low, axis.high) == (-0.5, 23.5)


def test_missing_slices_do_not_change_the_step() -> None:
    scan = a_ct_diagnosis().scan
    axis = axis_of(replace(scan, pixels=scan.pixels[:4], z_mm=(0.0, 2.0, 4.0, 20.0)))
    assert (axis.step, axis.high) == (2, 21)


def test_a_single_slice_has_an_axis_as_well() -> None:
    scan = a_ct_diagnosis().scan
    one = replace(scan, pixels=scan.pixels[:1], z_mm=(-300.0,))
    assert axis_of(one) == Axis((-300.0,), 5.0, in_mm=True)
    assert axis_of(replace(one, spacing_mm=None)).high == -299.5
    assert axis_of(replace(one, z_mm=None)) == Axis((0.0,), 1.0, in_mm=False)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis((-300.0, -185.0), 5, in_mm=True), (-300, -280, -260, -240, -220, -200)),
        (Axis((0.0, 0.8), 0.2, in_mm=True), (0, 0.2, 0.4, 0.6, 0.8)),
        (Axis((0.0, 1.0, 2.0), 1, in_mm=False), (0, 1, 2)),
    ],
)
def test_ticks_are_round(axis: Axis, expected: tuple[float, ...]) -> None:
    assert ticks(axis) == pytest.approx(expected)


def test_labels_are_pushed_apart() -> None:
    assert spread([10, 12, 50], 10, 0, 100) == [10, 20, 50]
    assert spread([95, 97, 99], 10, 0, 100) == [80, 90, 100]
    assert spread([1, 1, 1], 60, 0, 100) == [0, 50, 100]
    assert spread([], 10, 0, 100) == []


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20).map(sorted), st.floats(0.1, 40))
def test_labels_keep_their_order_their_distance_and_their_room(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0, 100)
    apart = min(gap, 100 / max(1, len(wanted) - 1))
    assert all(-1e-6 <= position <= 100 for position in placed)
    assert all(after - before >= apart - 1e-6 for before, after in pairwise(placed))
