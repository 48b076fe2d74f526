"""Calibration and predictive values: derived by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.audit.calibration import (
    as_test,
    calibration,
    predictive_values,
    reported,
    verdicts,
)
from pulmoscope.evaluation.audit.positive import called_disease, has_disease, positive_classes, probability
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.metrics import Predictions


def answers(
    labels: list[str],
    chances: list[float],
    hospitals: list[str] | None = None,
    classes: tuple[str, str] = ("COVID", "Normal"),
    decisions: list[str] | None = None,
) -> Predictions:
    count = len(labels)
    first = np.array(chances)
    return Predictions(
        files=tuple(f"{number}.png" for number in range(count)),
        labels=tuple(labels),
        patients=("",) * count,
        sources=("",) * count,
        classes=classes,
        probabilities=np.stack([first, 1 - first], axis=1),
        decisions=tuple(decisions or ["report"] * count),
        hospitals=tuple(hospitals or ["here"] * count),
    )


def test_predictive_values_by_hand() -> None:
    # Of 1,000 patients at 10 %: 100 ill, 80 found; 900 not, 90 of them called ill.
    ppv, npv = predictive_values(Estimate(0.8, 0.7, 0.9, 100), Estimate(0.9, 0.85, 0.95, 100), 0.1)
    assert ppv.value == pytest.approx(80 / (80 + 90))
    assert npv.value == pytest.approx(810 / (810 + 20))
    # Both at their lower ends: 70 found and 135 called wrongly; 765 called free rightly, 30 wrongly.
    assert ppv.low == pytest.approx(70 / (70 + 135))
    assert npv.low == pytest.approx(765 / (765 + 30))
    assert ppv.high == pytest.approx(90 / (90 + 45))
    assert npv.high == pytest.approx(855 / (855 + 10))


def test_predictive_values_that_nobody_has() -> None:
    ppv, npv = predictive_values(Estimate(0.0), Estimate(1.0), 0.2)
    assert ppv.value is None
    assert npv.value == pytest.approx(0.8)
    assert predictive_values(Estimate(None), Estimate(0.5), 0.2) == (Estimate(None), Estimate(None))


def test_a_model_as_a_test_by_hand() -> None:
    # 3 of 4 ill ones are found, 4 of 5 others are called free.
    labels = ["COVID"] * 4 + ["Normal"] * 5
    found = as_test(answers(labels, [0.9, 0.8, 0.7, 0.2, 0.1, 0.1, 0.3, 0.4, 0.6]), bootstrap=50)
    assert found.sensitivity.value == pytest.approx(0.75)
    assert found.specificity.value == pytest.approx(0.8)
    assert [prevalence for prevalence, _, _ in found.values] == [0.01, 0.05, 0.10, 0.20, 0.50]
    half = found.values[-1]
    assert half[1].value == pytest.approx(0.75 / (0.75 + 0.2))
    assert half[2].value == pytest.approx(0.8 / (0.8 + 0.25))


def test_a_perfect_test_has_exact_bounds() -> None:
    found = as_test(answers(["COVID"] * 5 + ["Normal"] * 5, [0.9] * 5 + [0.1] * 5), bootstrap=20)
    least = 0.025 ** (1 / 5)  # Clopper and Pearson, 5 of 5
    assert found.sensitivity.low == pytest.approx(least)
    rare = found.values[0][1]
    assert rare.value == 1
    assert rare.low == pytest.approx(0.01 * least / (0.01 * least + 0.99 * (1 - least)))


def test_only_what_is_reported() -> None:
    every = answers(["COVID", "Normal"], [0.4, 0.1], decisions=["refer", "report"])
    assert reported(every).files == ("1.png",)
    assert as_test(reported(every), bootstrap=0).sensitivity.value is None
    assert as_test(reported(answers(["COVID"], [0.4], decisions=["refer"])), bootstrap=0).images == 0


def test_calibration_over_all_and_by_hospital() -> None:
    rng = np.random.default_rng(3)
    chances = rng.uniform(0, 1, 400)
    sick = rng.uniform(0, 1, 400) < chances
    chances[200:] = np.clip(chances[200:] + 0.4, 0, 1)  # the second hospital's are too high
    labels = ["COVID" if one else "Normal" for one in sick]
    rows = calibration(answers(labels, list(chances), ["a"] * 200 + ["b"] * 200), bootstrap=20)
    assert [row.source for row in rows] == ["", "a", "b"]
    for row, part in zip(rows, (slice(None), slice(200), slice(200, None)), strict=True):
        expected = DebiasedError(chances[part], sick[part])(np.ones((1, len(sick[part]))))[0]
        assert row.error.value == pytest.approx(expected)
        assert row.fraction == pytest.approx(sick[part].mean())
        assert row.mean_probability == pytest.approx(chances[part].mean())
    told = {
        verdict.code: verdict.level for verdict in verdicts(rows, as_test(answers(labels, list(chances))))
    }
    assert told["calibration-worst"] == "bad"
    assert told["predictive-values"] == "none"
    mixed = calibration(answers(labels, list(chances), ["a"] * 200 + ["unidentified"] * 200), bootstrap=0)
    assert mixed[-1].error.value == rows[-1].error.value
    named = {
        verdict.code: verdict.says for verdict in verdicts(mixed, as_test(answers(labels, list(chances))))
    }
    assert "unidentified" not in named["calibration-worst"]  # is no hospital


def test_too_few_images_have_no_calibration_error() -> None:
    rows = calibration(answers(["COVID"] * 9 + ["Normal"] * 30, [0.5] * 39), bootstrap=0)
    assert [row.source for row in rows] == [""]
    assert rows[0].error.value is None
    test = as_test(answers(["COVID"], [0.9]), bootstrap=0)
    assert [(one.code, one.level) for one in verdicts(rows, test)] == [("calibration", "none")]


def test_what_counts_as_the_disease() -> None:
    assert positive_classes(("CAP", "COVID", "Normal")) == ("COVID",)
    assert positive_classes(("CT-0", "CT-1", "CT-2")) == ("CT-1", "CT-2")
    graded = Predictions(
        files=("a", "b"),
        labels=("CT-2", "CT-0"),
        patients=("", ""),
        sources=("", ""),
        classes=("CT-0", "CT-1", "CT-2"),
        probabilities=np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]),
    )
    assert has_disease(graded).tolist() == [True, False]
    assert called_disease(graded).tolist() == [True, False]
    np.testing.assert_allclose(probability(graded), [0.8, 0.4])
