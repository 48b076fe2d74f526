from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pulmoscope.core.order import medians, percentiles

GREY = st.integers(0, 255).map(lambda value: np.float32(value / 255))  # with ties, as an image has them


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=GREY))
def test_medians_are_numpys_to_the_last_bit(values: np.ndarray) -> None:
    found = medians(values)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.median(values, axis=-1))


@given(
    arrays(np.float32, st.integers(1, 300), elements=GREY),
    st.lists(st.floats(0, 100), min_size=1, max_size=5).map(sorted),
)
def test_percentiles_are_numpys_to_the_last_bit(values: np.ndarray, percents: list[float]) -> None:
    assert np.array_equal(percentiles(values, percents), np.percentile(values, percents))


@pytest.mark.parametrize("step", [1, 2])
def test_percentiles_of_an_image_and_of_a_part_of_it(step: int) -> None:
    image = np.random.default_rng(5).random((96, 80)).astype(np.float32)[::step, ::step]
    assert np.array_equal(percentiles(image, (2, 95, 98)), np.percentile(image, (2, 95, 98)))
