from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.agreement import limits_of_agreement, means

LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
"""Peak expiratory flow, l/min, by two meters (Bland and Altman, Lancet 1986, table; first measurements)."""


def test_the_published_example() -> None:
    """The paper has a bias of -2.1 (-22.0 to 17.8), a standard deviation of 38.8, and limits whose interval reaches
    34.6 to either side; it takes 2 for 1.96 standard deviations."""
    found = limits_of_agreement(np.array(LARGE) - np.array(MINI, dtype=np.float64))
    assert found is not None
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.low.value == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.1)
    assert found.high.value == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.1)
    for limit in (found.low, found.high):
        assert (limit.value - limit.low, limit.high - limit.value) == pytest.approx((34.6, 34.6), abs=0.1)


def test_one_difference_has_no_limits() -> None:
    assert limits_of_agreement(np.array([1.0])) is None


def test_a_mean_is_of_the_rows_in_which_a_column_is_known() -> None:
    columns = {"some": np.array([1.0, np.nan, 3.0]), "none": np.full(3, np.nan)}
    found = means(columns, np.array([0, 1, 2]), 50, 0)
    assert found["some"].value == 2
    assert found["some"].usable < 50  # resamples of the unknown row alone have no mean
    assert found["none"].value is None


def test_rows_of_one_patient_are_drawn_together() -> None:
    """Two patients with the means 0 and 1: every resample has a mean of 0, 1/2 or 1."""
    found = means({"all": np.array([0.0, 0.0, 1.0, 1.0])}, np.array([0, 0, 1, 1]), 200, 0)["all"]
    assert (found.low, found.value, found.high) == (0, 0.5, 1)


def test_nothing_at_all_has_no_mean() -> None:
    assert means({"a": np.empty(0)}, np.empty(0, dtype=np.intp), 10, 0)["a"].value is None
