from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.io.xray.grey import robust_range, stretch, window

finite = st.floats(-1e6, 1e6)


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def test_linear_window_by_the_standards_formula() -> None:
    # C.11.2.1.2: centre 0, width 100: x <= -50 is 0, x > 49 is 1, else (x + 0.5) / 99 + 0.5.
    found = window(values(-1000, -50, -49, 0, 49, 50), 0, 100)
    expected = [0, 0, (-48.5) / 99 + 0.5, 0.5 / 99 + 0.5, 1, 1]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found.dtype == np.float32


def test_linear_window_of_the_full_12_bit_range_is_the_identity() -> None:
    # The standard's own example: centre 2048, width 4096 leaves 0 ... 4095 as they are.
    x = np.arange(4096, dtype=np.float64)
    np.testing.assert_allclose(window(x, 2048, 4096), x / 4095, atol=1e-6)


def test_linear_window_of_width_one_is_a_threshold() -> None:
    np.testing.assert_array_equal(window(values(9, 9.5, 10), 10, 1), [0, 0, 1])


def test_linear_exact_and_sigmoid_windows() -> None:
    np.testing.assert_allclose(
        window(values(-60, -50, 0, 25, 50), 0, 100, "LINEAR_EXACT"), [0, 0, 0.5, 0.75, 1]
    )
    # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)).
    expected = [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2))]
    np.testing.assert_allclose(window(values(-50, 0, 50), 0, 100, "SIGMOID"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("width", "function"), [(0, "LINEAR"), (0.5, "LINEAR"), (-1, "SIGMOID"), (np.nan, "LINEAR"), (9, "CUBIC")]
)
def test_impossible_windows_are_refused(width: float, function: str) -> None:
    with pytest.raises(ValueError, match="no such window"):
        window(values(1), 0, width, function)


@given(
    st.lists(finite, min_size=2, max_size=20),
    finite,
    st.floats(1, 1e6),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windowing_is_monotone_and_stays_in_range(
    numbers: list[float], centre: float, width: float, function: str
) -> None:
    found = window(values(*sorted(numbers)), centre, width, function)
    assert np.all(np.diff(found) >= 0)
    assert found.min() >= 0
    assert found.max() <= 1


@given(st.lists(finite, min_size=2, max_size=20), finite, finite)
def test_stretching_is_monotone_and_stays_in_range(numbers: list[float], low: float, high: float) -> None:
    found = stretch(values(*sorted(numbers)), low, high)
    assert np.all(np.diff(found) >= 0)
    assert 0 <= found.min() <= found.max() <= 1


def test_robust_range_ignores_the_outermost_half_percent() -> None:
    # 1000 pixels: 4 at 0, 992 spread over 10 ... 20, 4 at 999. 0.4 % at each end is ignored.
    grey = values(0, 10, 15, 20, 999)
    assert robust_range(grey, np.array([4, 300, 392, 300, 4])) == (10, 20)
    # The values may fall along the table, as with a negative rescale slope.
    assert robust_range(-grey, np.array([4, 300, 392, 300, 4])) == (-20, -10)
