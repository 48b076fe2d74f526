from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import Box, FloatArray
from pulmoscope.core.xray_severity import ZONES
from pulmoscope.segment.xray_zones import LungZones, lung_zones, nearness, zone_weights

OTHER_SIDE = dict(zip("ABCDEF", "DEFABC", strict=True))


def two_lungs() -> FloatArray:
    """Of a map of 100 x 100, rows 20 to 79 of columns 15 to 39 and 60 to 84."""
    lungs = np.zeros((100, 100), dtype=np.float32)
    lungs[20:80, 15:40] = lungs[20:80, 60:85] = 1
    return lungs


def zones_of(lungs: FloatArray, rows: int = 100, columns: int = 100) -> LungZones:
    found = lung_zones(lungs, rows, columns)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rows", "columns", "first", "last"),
    [
        (100, 100, Box(20, 15, 20, 25), Box(60, 60, 20, 25)),
        (200, 150, Box(40, 22, 40, 38), Box(120, 90, 40, 38)),  # 22.5 and 127.5 px are even at the half
    ],
)
def test_zones_are_thirds_of_the_lungs_height_right_and_left(
    rows: int, columns: int, first: Box, last: Box
) -> None:
    found = zones_of(two_lungs(), rows, columns)
    assert tuple(found.boxes) == ZONES
    assert (found.boxes["A"], found.boxes["F"]) == (first, last)
    for above, below in ("AB", "BC", "DE", "EF"):
        assert found.boxes[above].top + found.boxes[above].height == found.boxes[below].top
        assert found.boxes[above].left == found.boxes[below].left
    assert found.unseen == ()


def test_parts_are_the_lung_within_each_zone() -> None:
    found = zones_of(two_lungs())
    for name, part in zip(ZONES, found.parts, strict=True):
        expected = np.zeros((100, 100), dtype=bool)
        box = found.boxes[name]
        expected[box.top : box.top + box.height, box.left : box.left + box.width] = True
        np.testing.assert_array_equal(part, expected)
    assert not (found.parts.sum(axis=0) > 1).any()


def test_the_height_of_both_lungs_together_is_parted() -> None:
    lungs = two_lungs()
    lungs[20:50, 60:85] = 0  # only the lower half of the left lung is seen: 30 of 60 rows
    found = zones_of(lungs)
    assert found.boxes["D"] == Box(20, 60, 20, 25)
    assert found.unseen == ("D",)
    assert found.parts[ZONES.index("E")].sum() == 10 * 25


def test_of_a_zone_without_lung_the_whole_rectangle_counts() -> None:
    lungs = two_lungs()
    lungs[60:80, 60:85] = 0
    found = zones_of(lungs)
    assert found.unseen == ("F",)
    assert found.boxes["F"] == Box(60, 60, 20, 25)
    assert found.parts[ZONES.index("F")].sum() == 20 * 25


def test_a_mirrored_map_has_mirrored_zones() -> None:
    lungs = two_lungs()
    lungs[70:80, 15:30] = lungs[20:30, 75:85] = 0
    found, mirrored = zones_of(lungs), zones_of(np.ascontiguousarray(lungs[:, ::-1]))
    for zone, other in OTHER_SIDE.items():
        one, two = found.boxes[zone], mirrored.boxes[other]
        assert (one.top, one.height, one.width) == (two.top, two.height, two.width)
        assert one.left == 100 - two.left - two.width
        np.testing.assert_array_equal(
            found.parts[ZONES.index(zone)], mirrored.parts[ZONES.index(other)][:, ::-1]
        )


def test_a_map_without_lungs_has_no_zones() -> None:
    assert lung_zones(np.zeros((100, 100), dtype=np.float32), 100, 100) is None


def test_weights_by_hand() -> None:
    """Cells of 20 x 20 px: zone A, rows 20 to 39, has 5 columns in the first cell, and 20 in the second."""
    weights = zone_weights(zones_of(two_lungs()), Box(0, 0, 100, 100), (100, 100), (5, 5))
    expected = np.zeros((5, 5))
    expected[1, :2] = 0.2, 0.8
    np.testing.assert_allclose(weights[0], expected, atol=1e-6)
    np.testing.assert_allclose(weights[ZONES.index("D")], expected[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(weights[ZONES.index("C")], np.roll(expected, 2, axis=0), atol=1e-6)


def test_a_zone_beyond_what_the_network_saw_counts_alike_in_all_cells() -> None:
    weights = zone_weights(zones_of(two_lungs()), Box(0, 0, 100, 50), (100, 100), (4, 4))
    np.testing.assert_allclose(weights[ZONES.index("E")], 1 / 16, atol=1e-6)


def test_nearness_by_hand() -> None:
    """1 in the lungs; 5 columns beside them, of 100, 1/e, and 10 columns, e to the minus 4."""
    found = nearness(zones_of(two_lungs()), Box(0, 0, 100, 100), (100, 100), 100)
    np.testing.assert_allclose(found[20:80, 15:40], 1, atol=1e-6)
    np.testing.assert_allclose(found[30:70, [44, 55]], np.exp(-1), atol=0.02)
    np.testing.assert_allclose(found[30:70, 49], np.exp(-4), atol=0.01)
    assert found[:, 99].max() < 1e-3
    half = nearness(zones_of(two_lungs()), Box(0, -100, 100, 100), (100, 100), 10)
    assert not half.any()  # beyond the radiograph


@given(
    st.tuples(st.integers(-30, 90), st.integers(-30, 90), st.integers(5, 160), st.integers(5, 160)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 4),
)
def test_each_zones_weights_sum_to_one(
    box: tuple[int, int, int, int], cells: tuple[int, int], scale: int
) -> None:
    rows = columns = 100 * scale
    top, left, height, width = (scale * value for value in box)
    weights = zone_weights(
        zones_of(two_lungs(), rows, columns), Box(top, left, height, width), (rows, columns), cells
    )
    assert weights.shape == (6, *cells)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1, atol=1e-5)
