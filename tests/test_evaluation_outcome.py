"""Figures of predicted outcomes, beside scikit-learn's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef, roc_auc_score

from pulmoscope.evaluation.outcome import auroc_difference, calibration_groups, outcome_figures
from pulmoscope.report.outcome import OUTCOME_FIGURES

RANDOM = np.random.default_rng(3)
PROBABILITIES = RANDOM.random(300).round(2)
HAPPENED = RANDOM.random(300) < PROBABILITIES


def test_figures_are_those_of_scikit_learn() -> None:
    found = outcome_figures(PROBABILITIES, HAPPENED, 0.4, bootstrap=200)
    assert list(found) == list(OUTCOME_FIGURES)
    called = PROBABILITIES >= 0.4
    expected = {
        "auroc": roc_auc_score(HAPPENED, PROBABILITIES),
        "average_precision": average_precision_score(HAPPENED, PROBABILITIES),
        "brier": brier_score_loss(HAPPENED, PROBABILITIES),
        "mcc": matthews_corrcoef(HAPPENED, called),
        "sensitivity": called[HAPPENED].mean(),
        "specificity": (~called[~HAPPENED]).mean(),
        "predicted_minus_observed": PROBABILITIES.mean() - HAPPENED.mean(),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    for estimate in found.values():
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high or estimate is found["calibration_error"]


def test_calibration_error_grows_with_what_is_wrong() -> None:
    right = outcome_figures(PROBABILITIES, HAPPENED, 0.5, bootstrap=0)["calibration_error"].value
    wrong = outcome_figures(PROBABILITIES**3, HAPPENED, 0.5, bootstrap=0)["calibration_error"].value
    assert right is not None
    assert wrong is not None
    assert right < 0.06 < 0.15 < wrong


def test_a_difference_of_paired_aurocs() -> None:
    noise = RANDOM.random(300)
    found = auroc_difference(PROBABILITIES, noise, HAPPENED, bootstrap=300)
    assert found.value == pytest.approx(
        roc_auc_score(HAPPENED, PROBABILITIES) - roc_auc_score(HAPPENED, noise)
    )
    assert found.low is not None
    assert found.low > 0
    same = auroc_difference(noise, noise, HAPPENED, bootstrap=50)
    assert same.value == 0


def test_groups_have_equal_sizes_and_rise() -> None:
    groups = calibration_groups(PROBABILITIES, HAPPENED, 10)
    assert [group["patients"] for group in groups] == [30] * 10
    assert sorted(group["predicted"] for group in groups) == [group["predicted"] for group in groups]
    assert np.mean([group["observed"] for group in groups]) == pytest.approx(HAPPENED.mean())
