"""Measures of heat maps, against values by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pulmoscope.evaluation.audit import evidence as measure
from pulmoscope.evaluation.bootstrap import Estimate


def test_the_strongest_point_lies_on_a_finding_or_not() -> None:
    heat = np.zeros((6, 8), dtype=np.float32)
    heat[2, 5] = 0.4
    heat[4, 1] = 0.9
    finding = np.zeros((6, 8), dtype=bool)
    finding[4, 0:2] = True
    assert measure.strongest(heat) == (4, 1)
    assert measure.hits(heat, finding)
    assert not measure.hits(heat, ~finding)
    assert not measure.hits(np.zeros_like(heat), np.ones_like(finding))


def test_of_a_plateau_the_middle_is_the_strongest_point() -> None:
    heat = np.zeros((9, 9), dtype=np.float32)
    heat[2:7, 3:6] = 1
    assert measure.strongest(heat) == (4, 4)


def test_overlap_of_the_hottest_tenth() -> None:
    heat = np.arange(100, dtype=np.float32).reshape(10, 10)
    finding = np.zeros((10, 10), dtype=bool)
    finding[9, 5:] = finding[8, 5:] = True
    # The hottest ten pixels are the last row; five of them are marked, and five more are marked elsewhere.
    assert measure.overlap(heat, finding) == pytest.approx(5 / 15)
    # Only three pixels have any heat: what has none marks nothing.
    sparse = np.where(heat >= 97, heat, 0)
    assert measure.overlap(sparse, finding) == pytest.approx(3 / 10)


@given(st.integers(0, 1000))
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat = rng.integers(0, 5, (6, 7)).astype(np.float32)  # ties
    finding = rng.random((6, 7)) < 0.3
    finding[0, 0] = True
    expected = average_precision_score(finding.ravel(), heat.ravel())
    assert measure.average_precision(heat, finding) == pytest.approx(expected)


def test_the_best_point_lies_in_most_findings_whatever_their_size() -> None:
    wide = np.zeros((100, 200), dtype=bool)
    wide[50:100, 0:100] = True  # the lower left quarter
    low = np.zeros((64, 64), dtype=bool)
    low[48:, :] = True  # the lowest quarter
    other = np.zeros((64, 64), dtype=bool)
    other[:8, 56:] = True
    point = measure.best_point([wide, low, other])
    assert [measure.point_hits(point, one) for one in (wide, low, other)] == [True, True, False]
    assert point[0] > 0.75
    assert point[1] < 0.5


def test_the_middle_of_the_widest_part_is_deepest() -> None:
    region = np.zeros((40, 60), dtype=bool)
    region[5:35, 2:12] = True  # ten pixels wide
    region[5:35, 30:51] = True  # twenty-one
    row, column = measure.strongest(measure.depth(region))
    assert 14 <= row <= 25
    assert column == 40


def test_ssim_of_equal_random_and_flat_maps() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 40, 40), dtype=np.float32)
    assert measure.ssim(one, one) == pytest.approx(1)
    assert measure.ssim(one, other) < 0.2
    # Flat maps have no structure: what is left is (2 a b + c) / (a² + b² + c), c = 0.01².
    flat = np.full((20, 20), 0.2, dtype=np.float32)
    assert measure.ssim(flat, 3 * flat) == pytest.approx(
        (2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-4
    )


def test_area_under_evenly_spaced_points() -> None:
    assert measure.area_under(np.array([1.0, 1.0, 1.0])) == pytest.approx(1)
    assert measure.area_under(np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]])) == pytest.approx([0.5, 0.25])


def test_a_mean_leaves_out_what_is_unknown_and_draws_patients() -> None:
    found = measure.mean([0.2, float("nan"), 0.6, 0.6], ["a", "b", "c", "c"], 200, 1)
    assert found.value == pytest.approx(1.4 / 3)
    assert found.low is not None
    assert found.high is not None
    # Of the patients a and c, one, both or the other are drawn.
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.6))
    assert measure.mean([float("nan")], ["a"], 10, 1) == Estimate(None)


@pytest.mark.parametrize(
    ("within", "even", "level"),
    [(0.7, 0.3, "good"), (0.69, 0.3, "doubtful"), (0.3, 0.3, "bad"), (None, 0.3, "none")],
)
def test_level_of_the_share_in_the_lungs(within: float | None, even: float, level: str) -> None:
    assert measure.lungs_level(within, even) == level


@pytest.mark.parametrize(
    ("pointed", "constant", "level"),
    [
        (0.6, 0.5, "good"),
        (0.62, 0.55, "doubtful"),
        (0.59, 0.2, "doubtful"),
        (0.49, 0.5, "bad"),
        (0.9, None, "none"),
    ],
)
def test_level_of_pointing(pointed: float, constant: float | None, level: str) -> None:
    assert measure.pointing_level(pointed, constant) == level


@pytest.mark.parametrize(
    ("likeness", "level"), [(0.3, "good"), (0.4, "good"), (0.45, "doubtful"), (0.51, "bad"), (None, "none")]
)
def test_level_of_maps_of_random_networks(likeness: float | None, level: str) -> None:
    assert measure.randomised_level(likeness, 0.4) == level


@pytest.mark.parametrize(
    ("low", "high", "level"), [(0.01, 0.2, "good"), (-0.01, 0.2, "doubtful"), (-0.2, -0.1, "bad")]
)
def test_level_of_deletion_and_insertion(low: float, high: float, level: str) -> None:
    assert measure.order_level(Estimate((low + high) / 2, low, high, 10)) == level
