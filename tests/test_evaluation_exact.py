from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binomtest

from pulmoscope.evaluation.bootstrap import estimates, units
from pulmoscope.evaluation.exact import pair_count, perfect_interval
from pulmoscope.evaluation.hospitals import hospital_figures
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.evaluation.referral import referral


def predictions(shares: list[float], labels: str, patients: list[str] | None = None) -> Predictions:
    """Of two classes, c and n, by the probability of c; without patients every image is on its own."""
    columns = np.array([[share, 1 - share] for share in shares])
    names = {"c": "COVID", "n": "Normal"}
    return Predictions(
        files=tuple(f"{number}.png" for number in range(len(shares))),
        labels=tuple(names[label] for label in labels),
        patients=tuple(patients or [""] * len(shares)),
        sources=("",) * len(shares),
        classes=("COVID", "Normal"),
        probabilities=columns,
        decisions=("report",) * len(shares),
        hospitals=("east",) * len(shares),
    )


@pytest.mark.parametrize("count", [1, 2, 10, 250])
def test_a_perfect_proportion_has_the_interval_of_clopper_and_pearson(count: int) -> None:
    expected = binomtest(count, count).proportion_ci(0.95, "exact")
    found = perfect_interval(1.0, [count])
    assert found == pytest.approx((expected.low, 1.0))
    none = binomtest(0, count).proportion_ci(0.95, "exact")
    assert perfect_interval(0.0, [count]) == pytest.approx((0.0, none.high))


def test_a_perfect_mean_has_the_mean_of_stricter_bounds() -> None:
    bounds = [binomtest(count, count).proportion_ci(0.975, "exact").low for count in (10, 40)]
    assert perfect_interval(1.0, [10, 40]) == pytest.approx((np.mean(bounds), 1.0))


def test_what_is_not_perfect_or_was_not_tried_has_no_exact_interval() -> None:
    assert perfect_interval(0.5, [10]) is None
    assert perfect_interval(1.0, []) is None
    assert perfect_interval(1.0, [0]) is None


def test_pairs_share_no_patient() -> None:
    positive = np.array([True, True, False, False, False])
    alone = units(["", "", "", "", ""])
    assert pair_count(alone, positive, ~positive) == 2
    both = units(["a", "b", "a", "b", "c"])  # three patients make one pair
    assert pair_count(both, positive, ~positive) == 1
    assert pair_count(units(["a"] * 5), positive, ~positive) == 0


def test_perfect_figures_say_how_few_images_they_rest_on() -> None:
    found = evaluate(predictions([0.9] * 4 + [0.2] * 10, "c" * 4 + "n" * 10), 200)
    covid, scores = found.by_class["COVID"], found.scores
    few, many, all_of_them = 0.025 ** (1 / 4), 0.025 ** (1 / 10), 0.025 ** (1 / 14)
    assert asdict(scores["accuracy"]) == pytest.approx(
        {"value": 1, "low": all_of_them, "high": 1, "usable": 200}
    )
    assert (covid["sensitivity"].low, covid["specificity"].low) == pytest.approx((few, many))
    assert covid["auroc"].value == 1
    assert covid["auroc"].low == pytest.approx(few)  # four pairs that share no image
    assert scores["macro_auroc"].low == pytest.approx(few)  # of two classes both AUROCs are one
    assert scores["balanced_accuracy"].low == pytest.approx((0.0125 ** (1 / 4) + 0.0125 ** (1 / 10)) / 2)
    for name in ("mcc", "macro_f1"):  # 1.000, and how far off that may be can't be told
        assert (scores[name].value, scores[name].low, scores[name].high) == (1, None, None)


def test_patients_are_counted_and_not_their_images() -> None:
    patients = ["a", "a", "b", "b", *"cdefghijkl"]
    found = evaluate(predictions([0.9] * 4 + [0.2] * 10, "c" * 4 + "n" * 10, patients), 200)
    assert found.by_class["COVID"]["sensitivity"].low == pytest.approx(0.025 ** (1 / 2))
    assert found.by_class["COVID"]["auroc"].low == pytest.approx(0.025 ** (1 / 2))
    assert found.scores["accuracy"].low == pytest.approx(0.025 ** (1 / 12))


def test_without_resamples_there_is_no_interval() -> None:
    found = evaluate(predictions([0.9, 0.2], "cn"), 0)
    assert (found.scores["accuracy"].value, found.scores["accuracy"].low) == (1, None)


def test_one_patient_tells_nothing_of_others() -> None:
    found = estimates(
        lambda weights: {"mean": weights @ np.array([0.0, 1.0, 1.0]) / 3}, units(["a"] * 3), 50, 0
    )
    assert (found["mean"].value, found["mean"].low) == (pytest.approx(2 / 3), None)


def test_referral_and_hospitals_have_exact_intervals_too() -> None:
    own = predictions([0.9] * 12 + [0.2] * 20, "c" * 12 + "n" * 20)
    told = referral(own, 100)
    assert told["reported"]["low"] == pytest.approx(0.025 ** (1 / 32))
    assert told["wrong_referred"]["value"] is None
    (row,) = hospital_figures(own, {"east": False}, 100)
    assert row.wrongly_called.high == pytest.approx(1 - 0.025 ** (1 / 32))
    assert row.auroc_within.low == pytest.approx(0.025 ** (1 / 12))
    assert row.by_label["Normal"].called["COVID"].high == pytest.approx(1 - 0.025 ** (1 / 20))
