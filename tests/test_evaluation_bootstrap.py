from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.bootstrap import estimates, units


def test_units_are_patients_where_known() -> None:
    assert units(["a", "", "b", "a", ""]).tolist() == [0, 1, 2, 0, 3]
    # An image's number is no patient's id.
    assert units(["1", ""]).tolist() == [0, 1]


def test_interval_of_a_mean_is_the_one_that_statistics_expects() -> None:
    # The bootstrap's spread of a mean of n values is their standard deviation over sqrt(n).
    values = np.random.default_rng(0).normal(size=400)
    found = estimates(lambda weights: {"mean": weights @ values / 400}, units([""] * 400), 4000, 1)["mean"]
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)
    assert found.usable == 4000


def test_patients_are_drawn_whole() -> None:
    drawn = []

    def remember(weights: np.ndarray) -> dict[str, np.ndarray]:
        drawn.append(weights)
        return {"sum": weights.sum(axis=1)}

    estimates(remember, units(["a", "b", "a", "c"]), 50, 0)
    everything = np.concatenate(drawn)
    assert everything.shape == (51, 4)
    np.testing.assert_array_equal(everything[0], 1)
    np.testing.assert_array_equal(everything[:, 0], everything[:, 2])
    np.testing.assert_array_equal(everything[:, [0, 1, 3]].sum(axis=1), 3)


def test_many_images_are_drawn_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": weights @ np.arange(30) / 30}

    whole = estimates(mean, units([""] * 30), 100, 3)
    monkeypatch.setattr("pulmoscope.evaluation.bootstrap._CELLS", 70)
    assert estimates(mean, units([""] * 30), 100, 3) == whole
