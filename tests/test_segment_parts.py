"""Connected parts and filters, beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pulmoscope.segment import filters
from pulmoscope.segment.parts import large, numbered


@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 5, 7), (9, 20, 30)])
def test_parts_are_those_of_scipy(density: float, shape: tuple[int, int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < density
    parts, count = numbered(mask)
    expected, expected_count = ndimage.label(mask)
    assert count == expected_count
    pairs = set(zip(parts.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == count + (not mask.all())  # one number for each, whatever the order
    np.testing.assert_array_equal(parts > 0, mask)
    sizes = np.bincount(expected.ravel())
    sizes[0] = 0
    np.testing.assert_array_equal(large(mask, 5), (sizes >= 5)[expected])


def test_parts_that_meet_only_above_are_one() -> None:
    mask = np.zeros((3, 3, 5), dtype=bool)
    mask[0, 1, 1] = mask[0, 1, 3] = mask[1, 1, 1] = mask[1, 1, 3] = True
    mask[2, 1, 1:4] = True
    assert numbered(mask)[1] == 1
    assert numbered(mask[:2])[1] == 2
    np.testing.assert_array_equal(large(mask, 7), mask)
    assert not large(mask, 8).any()


@pytest.mark.parametrize("size", [(1, 15), (5, 1), (3, 5), (9, 9)])
def test_filters_are_those_of_scipy(size: tuple[int, int]) -> None:
    values = np.random.default_rng(2).random((12, 180)).astype(np.float32)
    values[4, 7] = np.inf
    modes = ("nearest", "wrap")
    np.testing.assert_array_equal(
        filters.lowest(values, size), ndimage.minimum_filter(values, size=size, mode=modes)
    )
    np.testing.assert_array_equal(
        filters.highest(values, size), ndimage.maximum_filter(values, size=size, mode=modes)
    )
    there = (values > 0.5).astype(np.float32)
    np.testing.assert_array_equal(
        filters.mean(there, size), ndimage.uniform_filter(there, size=size, mode=modes)
    )


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_what_is_followed_from_seeds(steps: int) -> None:
    rng = np.random.default_rng(3)
    within = rng.random((6, 15, 15)) < 0.5
    seeds = within & (rng.random(within.shape) < 0.02)
    expected = ndimage.binary_dilation(seeds, iterations=steps, mask=within)
    np.testing.assert_array_equal(filters.followed(seeds, within, steps), expected)


def test_the_highest_number_near() -> None:
    numbers = np.random.default_rng(4).integers(0, 2**23, (4, 6, 5)).astype(np.int32)
    np.testing.assert_array_equal(filters.highest_near(numbers), ndimage.maximum_filter(numbers, size=3))
