"""DeLong's test against figures derived by hand, and against its definition written as loops."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.evaluation.delong import delong


def by_definition(scores: list[list[float]], positive: list[bool]) -> dict[str, Any]:
    """AUROCs, their covariance matrix (equations 4 to 6 of the paper) and z, by loops over pairs of images."""
    ill = [index for index, is_ill in enumerate(positive) if is_ill]
    well = [index for index, is_ill in enumerate(positive) if not is_ill]

    def wins(of: list[float], one: int, other: int) -> float:
        return 1.0 if of[one] > of[other] else 0.5 if of[one] == of[other] else 0.0

    above = [[sum(wins(of, one, other) for other in well) / len(well) for one in ill] for of in scores]
    below = [[sum(wins(of, one, other) for one in ill) / len(ill) for other in well] for of in scores]
    aurocs = [sum(row) / len(row) for row in above]

    def spread(parts: list[list[float]], i: int, j: int) -> float:
        products = [(a - aurocs[i]) * (b - aurocs[j]) for a, b in zip(parts[i], parts[j], strict=True)]
        return sum(products) / (len(products) - 1) / len(products)

    matrix = [[spread(above, i, j) + spread(below, i, j) for j in (0, 1)] for i in (0, 1)]
    return {
        "aurocs": aurocs,
        "matrix": matrix,
        "variance": matrix[0][0] + matrix[1][1] - 2 * matrix[0][1],
    }


def test_a_small_example_by_hand() -> None:
    # Three ill, two well. The first ranks all but one of the six pairs rightly (0.3 below 0.4), the second has one
    # wrong (0.2 below 0.5) and one tie (0.5).
    positive = np.array([True, True, True, False, False])
    first = np.array([0.9, 0.8, 0.3, 0.4, 0.1])
    second = np.array([0.9, 0.5, 0.2, 0.5, 0.1])
    found = delong(first, second, positive)
    assert found is not None
    # Placements of the ill: (1, 1, 1/2) and (1, 3/4, 1/2); of the well: (2/3, 1) and (1/2, 1).
    assert (found.first, found.second) == pytest.approx((5 / 6, 3 / 4))
    # Variances: 1/12 / 3 + 1/18 / 2, and 1/16 / 3 + 1/8 / 2; covariance: 1/16 / 3 + 1/12 / 2.
    assert found.first_variance == pytest.approx(1 / 36 + 1 / 36)
    assert found.second_variance == pytest.approx(1 / 48 + 1 / 16)
    assert found.covariance == pytest.approx(1 / 48 + 1 / 24)
    # Of the difference: 1/18 + 1/12 - 1/8 = 1/72.
    error = (1 / 72) ** 0.5
    assert found.z == pytest.approx(1 / 12 / error)
    assert found.p_value == pytest.approx(2 * NormalDist().cdf(-1 / 12 / error))
    assert (found.low, found.high) == pytest.approx((1 / 12 - 1.96 * error, 1 / 12 + 1.96 * error), abs=1e-5)


FEW = st.integers(0, 6).map(float)
"""Scores with many ties."""


@given(rows=st.lists(st.tuples(FEW, FEW), min_size=4, max_size=30), ill=st.integers(2, 28), data=st.data())
def test_it_is_what_the_definition_gives(rows: list[tuple[float, float]], ill: int, data: Any) -> None:
    ill = min(ill, len(rows) - 2)
    positive = data.draw(st.permutations([True] * ill + [False] * (len(rows) - ill)))
    scores = [list(column) for column in zip(*rows, strict=True)]
    expected = by_definition(scores, positive)
    found = delong(np.array(scores[0]), np.array(scores[1]), np.array(positive))
    assert found is not None
    assert (found.first, found.second) == pytest.approx(expected["aurocs"])
    matrix = [[found.first_variance, found.covariance], [found.covariance, found.second_variance]]
    np.testing.assert_allclose(matrix, expected["matrix"], rtol=1e-9, atol=1e-12)
    if expected["variance"] > 1e-9:
        assert found.z == pytest.approx(found.difference / expected["variance"] ** 0.5)


def test_its_size_is_right_where_both_are_equally_good() -> None:
    # Both scores are the truth with noise of their own: of 400 draws 5 % are called different at p < 0.05, give or
    # take three standard errors of a binomial.
    rng = np.random.default_rng(5)
    positive = np.arange(80) < 40
    called = 0
    for _ in range(400):
        shared = positive + rng.normal(size=80)
        found = delong(shared + rng.normal(size=80), shared + rng.normal(size=80), positive)
        assert found is not None
        assert found.p_value is not None
        called += found.p_value < 0.05
    assert called / 400 == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 400) ** 0.5)


def test_nothing_is_told_where_nothing_varies() -> None:
    positive = np.array([True, True, False, False])
    scores = np.array([0.9, 0.4, 0.6, 0.1])
    alike = delong(scores, scores, positive)
    assert alike is not None
    assert (alike.difference, alike.z, alike.p_value, alike.low) == (0, None, None, None)
    right, wrong = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.1, 0.2, 0.8, 0.9])
    opposed = delong(right, wrong, positive)
    assert opposed is not None
    assert (opposed.difference, opposed.first_variance, opposed.p_value) == (1, 0, None)


@pytest.mark.parametrize("positive", [[True, False, False], [True, True, False], [False] * 3])
def test_one_image_of_a_class_has_no_variance(positive: list[bool]) -> None:
    scores = np.array([0.3, 0.2, 0.1])
    assert delong(scores, scores, np.array(positive)) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3, 2 and 3"):
        delong(np.zeros(3), np.zeros(2), np.zeros(3, dtype=bool))
