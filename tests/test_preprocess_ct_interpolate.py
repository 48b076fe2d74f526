from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.preprocess.ct_interpolate import interpolate_slices

STUDIES = st.lists(st.booleans(), min_size=1, max_size=12)


def runs(labels: list[bool]) -> int:
    return 1 + sum(one != other for one, other in pairwise(labels))


@given(STUDIES, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_given_slices_stay_and_labels_fit(infected: list[bool], factor: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (len(infected), 3, 2), dtype=np.uint8)
    finer, labels = interpolate_slices(images, infected, factor)
    assert finer.dtype == np.uint8
    assert len(finer) == len(labels) == (len(images) - runs(infected)) * factor + runs(infected)
    place = 0
    for index, image in enumerate(images):
        assert (finer[place] == image).all()
        assert labels[place] == infected[index]
        last = index + 1 == len(images)
        place += 1 if last or infected[index] != infected[index + 1] else factor


@given(STUDIES, st.integers(2, 4))
def test_nothing_lies_between_infected_and_not(infected: list[bool], factor: int) -> None:
    images = np.where(infected, 200, 10).astype(np.uint8)[:, None, None] + np.zeros((1, 2, 2), dtype=np.uint8)
    finer, labels = interpolate_slices(images, infected, factor)
    assert (finer == np.where(labels, 200, 10)[:, None, None]).all()


@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_no_new_values_beyond_the_given(count: int, factor: int, seed: int) -> None:
    images = np.random.default_rng(seed).random((count, 2, 2), dtype=np.float32)
    finer, _ = interpolate_slices(images, [True] * count, factor)
    assert finer.dtype == np.float32
    assert images.min() <= finer.min() <= finer.max() <= images.max()


@pytest.mark.parametrize(("count", "degree"), [(2, 1), (3, 2), (4, 3), (9, 3)])
def test_a_polynomial_of_the_splines_degree_is_met_exactly(count: int, degree: int) -> None:
    at = np.linspace(0, 1, count)
    images = (at**degree).astype(np.float32)[:, None, None]
    finer, _ = interpolate_slices(images, [False] * count, 3)
    assert finer[:, 0, 0] == pytest.approx(np.linspace(0, 1, (count - 1) * 3 + 1) ** degree, abs=1e-5)


def test_a_straight_ramp_of_bytes_is_rounded() -> None:
    images = np.array([10, 20, 30, 40], dtype=np.uint8)[:, None, None]
    finer, labels = interpolate_slices(images, [True, True, True, False], 4)
    assert finer.ravel().tolist() == [10, 12, 15, 18, 20, 22, 25, 28, 30, 40]  # halves go to the even number
    assert labels.tolist() == [True] * 9 + [False]


def test_no_slices_give_none() -> None:
    finer, labels = interpolate_slices(np.zeros((0, 4, 5), dtype=np.uint8), [], 2)
    assert finer.shape == (0, 4, 5)
    assert labels.shape == (0,)


@pytest.mark.parametrize(("labels", "factor"), [([True], 2), ([True, False], 0)])
def test_what_does_not_fit_is_refused(labels: list[bool], factor: int) -> None:
    with pytest.raises(ValueError, match=f"2 slices, {len(labels)} labels, factor {factor}"):
        interpolate_slices(np.zeros((2, 4, 5), dtype=np.uint8), labels, factor)
