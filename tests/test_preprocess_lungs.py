from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import Box
from pulmoscope.segment.xray_lungs import FINDER_SIZE, finder_input, finder_map, lung_box, lung_hull


def two_lungs() -> np.ndarray:
    """Of a map of 100 x 100, rows 20 to 79 of columns 15 to 39 and 60 to 84."""
    lungs = np.zeros((100, 100), dtype=np.float32)
    lungs[20:80, 15:40] = lungs[20:80, 60:85] = 1
    return lungs


@pytest.mark.parametrize(
    ("rows", "columns", "margin", "expected"),
    [
        (100, 100, 0.0, Box(20, 15, 60, 70)),
        (200, 300, 0.0, Box(40, 45, 160, 210)),  # 120 high would be too flat: down to the image's end
        (100, 100, 0.1, Box(14, 8, 72, 84)),
        (100, 100, 1.0, Box(0, 0, 100, 100)),
    ],
)
def test_the_box_by_hand(rows: int, columns: int, margin: float, expected: Box) -> None:
    found = lung_box(two_lungs(), rows, columns, margin)
    assert found is not None
    for name in ("top", "left", "height", "width"):  # the outermost hundredth of lung may be left out
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=0.02 * max(rows, columns))


def test_crumbs_far_away_do_not_stretch_the_box() -> None:
    lungs = two_lungs()
    lungs[95:98, 95:98] = 1
    assert lung_box(lungs, 100, 100, 0.0) == lung_box(two_lungs(), 100, 100, 0.0)


def test_implausible_maps_give_no_box() -> None:
    nothing, crumb = np.zeros((100, 100), dtype=np.float32), np.zeros((100, 100), dtype=np.float32)
    crumb[40:60, 40:60] = 1  # 4 % of the image
    wide = np.zeros((100, 100), dtype=np.float32)
    wide[40:60] = 1  # five times as wide as high
    uneven = np.zeros((100, 100), dtype=np.float32)
    uneven[10:90, 5:40], uneven[10:90, 76:80] = 1, 1  # the second is a crumb: one lung alone is too narrow
    uneven[:, 32:] = 0
    for lungs in (nothing, crumb, wide, uneven):
        assert lung_box(lungs, 100, 100, 0.0) is None


@given(st.integers(50, 400), st.integers(50, 400), st.floats(0, 2), st.integers(0, 2**32 - 1))
def test_a_box_lies_within_the_image(rows: int, columns: int, margin: float, seed: int) -> None:
    noise = np.random.default_rng(seed).random((100, 100), dtype=np.float32)
    found = lung_box(np.maximum(two_lungs(), noise * 0.7), rows, columns, margin)
    if found is not None:
        assert 0 <= found.top < found.top + found.height <= rows
        assert 0 <= found.left < found.left + found.width <= columns


@pytest.mark.parametrize(("rows", "columns"), [(300, 300), (200, 400), (500, 250)])
def test_the_finder_sees_the_whole_image_at_its_own_aspect_amid_black(rows: int, columns: int) -> None:
    seen = finder_input(
        np.full((rows, columns), 0.2, dtype=np.float32) + np.linspace(0, 0.5, columns, dtype=np.float32)
    )
    assert seen.shape == (1, FINDER_SIZE, FINDER_SIZE)
    assert seen.min() == 0
    assert seen.max() == 1
    within = finder_map(seen[0], rows, columns)
    longest = max(rows, columns)
    assert within.shape == (round(FINDER_SIZE * rows / longest), round(FINDER_SIZE * columns / longest))
    assert seen.sum() == pytest.approx(within.sum())


@given(st.floats(0.2, 1), st.floats(0, 0.5))
def test_the_finder_does_not_see_exposure(gain: float, offset: float) -> None:
    film = np.random.default_rng(3).random((150, 120), dtype=np.float32)
    exposed = np.asarray(film * np.float32(gain * 0.5) + np.float32(offset))
    np.testing.assert_allclose(finder_input(exposed), finder_input(film), atol=2e-2)


def test_the_hull_by_hand() -> None:
    hull = lung_hull(two_lungs(), 200, 100)
    corners = {(float(x), float(y)) for x, y in hull}
    assert corners == {(15, 40), (85, 40), (85, 160), (15, 160)}


def test_a_hull_whose_base_is_hidden_reaches_further_down() -> None:
    flat = two_lungs()
    flat[50:] = 0  # rows 20 to 49: 30 high, 70 wide
    hull = lung_hull(flat, 100, 100)
    assert hull[:, 1].min() == 20
    assert hull[:, 1].max() == pytest.approx(20 + 0.8 * 70)


def test_a_single_row_of_lung_has_a_hull() -> None:
    hull = lung_hull(np.ones((1, 4), dtype=np.float32), 10, 40)
    assert hull.min(axis=0).tolist() == [0, 0]
    assert hull.max(axis=0).tolist() == [40, 32]
