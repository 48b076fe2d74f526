"""Figures: derived by hand on small cases, and equal to scikit-learn's on random ones."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pulmoscope.evaluation.metrics import Predictions, evaluate, outside_classes, pairwise


def predictions(
    labels: list[str],
    probabilities: object,
    classes: tuple[str, ...] = ("COVID", "Normal"),
    patients: list[str] | None = None,
    sources: list[str] | None = None,
) -> Predictions:
    count = len(labels)
    return Predictions(
        files=tuple(f"{index}.png" for index in range(count)),
        labels=tuple(labels),
        patients=tuple(patients or [""] * count),
        sources=tuple(sources or [""] * count),
        classes=classes,
        probabilities=np.asarray(probabilities, dtype=np.float64).reshape(count, len(classes)),
    )


def random_predictions(seed: int, count: int, classes: tuple[str, ...], digits: int = 16) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(classes), size=count)
    truth[: len(classes)] = np.arange(len(classes))
    scores = rng.normal(size=(count, len(classes)))
    scores[np.arange(count), truth] += 1
    powers = np.exp(scores)
    shares = np.round(powers / powers.sum(axis=1, keepdims=True), digits)
    return predictions([classes[number] for number in truth], shares, classes)


FOUR = ("COVID", "Normal", "Tuberculosis", "Viral Pneumonia")


def test_two_classes_by_hand() -> None:
    # COVID 0.9, 0.4 against Normal 0.6, 0.1: three of four pairs in order; one of two found in each class.
    found = evaluate(
        predictions(["COVID", "COVID", "Normal", "Normal"], [[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]),
        0,
    )
    values = {name: score.value for name, score in found.scores.items()}
    assert values["accuracy"] == values["balanced_accuracy"] == values["macro_f1"] == 0.5
    assert values["mcc"] == 0
    assert values["macro_auroc"] == 0.75
    # sums of squares 0.02, 0.72, 0.72, 0.02
    assert values["brier"] == pytest.approx(0.37)
    # bins: 0.9 twice, right; 0.6 twice, wrong: 0.5 * 0.1 + 0.5 * 0.6
    assert values["calibration_error"] == pytest.approx(0.35)
    # COVID in falling order: hit (1/1), miss, hit (2/3), miss
    assert found.by_class["COVID"]["average_precision"].value == pytest.approx((1 + 2 / 3) / 2)
    assert found.confusion == ((1, 1), (1, 1))
    assert found.counts == {"COVID": 2, "Normal": 2}


def test_ties_count_half() -> None:
    found = evaluate(predictions(["COVID", "Normal", "Normal"], [[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]), 0)
    assert found.by_class["COVID"]["auroc"].value == 0.75


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(12, 80),
    size=st.integers(2, 4),
    digits=st.sampled_from([1, 16]),
)
def test_equal_to_scikit_learn(seed: int, count: int, size: int, digits: int) -> None:
    given_predictions = random_predictions(seed, count, FOUR[:size], digits)
    found = evaluate(given_predictions, 0)
    truth, called = given_predictions.labels, given_predictions.predicted
    shares = given_predictions.probabilities
    one_hot = np.eye(size)[given_predictions.truth]
    expected = {
        "accuracy": sk.accuracy_score(truth, called),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
        "mcc": sk.matthews_corrcoef(truth, called),
        "macro_f1": sk.f1_score(truth, called, average="macro"),
        "macro_auroc": sk.roc_auc_score(one_hot, shares, average="macro"),
        "brier": ((shares - one_hot) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert found.scores[name].value == pytest.approx(value, abs=1e-12), name
    for number, name in enumerate(given_predictions.classes):
        own = found.by_class[name]
        is_own, is_called = np.array(truth) == name, np.array(called) == name
        assert own["auroc"].value == pytest.approx(sk.roc_auc_score(is_own, shares[:, number]))
        assert own["average_precision"].value == pytest.approx(
            sk.average_precision_score(is_own, shares[:, number])
        )
        assert own["sensitivity"].value == pytest.approx(sk.recall_score(is_own, is_called, zero_division=0))
        assert own["specificity"].value == pytest.approx(
            sk.recall_score(~is_own, ~is_called, zero_division=0)
        )
    assert found.confusion == tuple(
        map(tuple, sk.confusion_matrix(truth, called, labels=FOUR[:size]).tolist())
    )


def test_intervals_equal_those_of_resampling_by_hand() -> None:
    # Weighted formulas on counts must equal plain formulas on repeated rows.
    own = random_predictions(3, 40, ("COVID", "Normal"))
    found = evaluate(own, 200, seed=7)
    times = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=200)
    truth, shares = own.truth, own.probabilities
    aurocs, errors, mccs = [], [], []
    for counts in times:
        rows = np.repeat(np.arange(40), counts)
        aurocs.append(sk.roc_auc_score(truth[rows] == 0, shares[rows, 0]))
        mccs.append(sk.matthews_corrcoef(truth[rows], shares[rows].argmax(axis=1)))
        again = predictions([own.labels[row] for row in rows], shares[rows])
        errors.append(evaluate(again, 0).scores["calibration_error"].value)
    for estimate, drawn in (
        (found.by_class["COVID"]["auroc"], aurocs),
        (found.scores["mcc"], mccs),
        (found.scores["calibration_error"], errors),
    ):
        assert [estimate.low, estimate.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
        assert estimate.usable == 200


def test_resamples_patients_not_images() -> None:
    # Ten images of one patient, all right, ten of another, all wrong: accuracy of a resample is 0, 0.5 or 1.
    labels = ["COVID"] * 20
    shares = [[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10
    by_patient = evaluate(predictions(labels, shares, patients=["a"] * 10 + ["b"] * 10))
    by_image = evaluate(predictions(labels, shares))
    assert (by_patient.units, by_patient.resampled_by) == (2, "patient")
    assert (by_patient.scores["accuracy"].low, by_patient.scores["accuracy"].high) == (0, 1)
    assert (by_image.units, by_image.resampled_by) == (20, "image")
    assert 0.2 < (by_image.scores["accuracy"].low or 0) < (by_image.scores["accuracy"].high or 0) < 0.8
    mixed = evaluate(predictions(labels, shares, patients=["a"] * 10 + [""] * 10))
    assert (mixed.units, mixed.resampled_by) == (11, "patient where known")


def test_what_one_class_can_not_tell_is_null() -> None:
    found = evaluate(predictions(["COVID", "COVID"], [[0.9, 0.1], [0.2, 0.8]]), 50)
    for name in ("balanced_accuracy", "mcc", "macro_f1", "macro_auroc"):
        assert found.scores[name].value is None
        assert found.scores[name].usable == 0
    assert found.scores["accuracy"].value == 0.5
    assert found.by_class["Normal"]["sensitivity"].value is None
    assert found.by_class["COVID"]["specificity"].value is None
    assert found.by_class["COVID"]["average_precision"].value is None
    assert found.pairwise is None
    json.dumps(found.plain(), allow_nan=False)


def test_unusable_resamples_are_counted() -> None:
    # One Normal image of eight is missing from a resample with probability (7/8)**8 = 0.344.
    found = evaluate(predictions(["COVID"] * 7 + ["Normal"], [[0.9, 0.1]] * 7 + [[0.1, 0.9]]), 1000)
    assert 600 < found.scores["macro_auroc"].usable < 710
    assert found.scores["accuracy"].usable == 1000
    assert found.scores["macro_auroc"].low == pytest.approx(0.025)  # a single pair shares no image


def test_always_the_same_answer_has_no_correlation() -> None:
    found = evaluate(predictions(["COVID", "Normal", "Normal"], [[0.1, 0.9]] * 3), 0)
    assert found.scores["mcc"].value == 0


def test_classes_that_the_data_lack_do_not_pull_means_down() -> None:
    found = evaluate(
        predictions(
            ["COVID", "COVID", "Normal", "Normal"],
            [[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]],
            FOUR,
        ),
        0,
    )
    assert found.scores["balanced_accuracy"].value == 0.75
    assert found.scores["macro_f1"].value == pytest.approx((2 / 3 + 1) / 2)
    assert found.by_class["Tuberculosis"]["auroc"].value is None
    assert found.by_class["Tuberculosis"]["specificity"].value == 0.75


def test_pair_is_renormalised() -> None:
    four = predictions(
        ["COVID", "Normal", "Tuberculosis"], [[0.3, 0.1, 0.6, 0], [0.2, 0.6, 0.2, 0], [0, 0, 1, 0]], FOUR
    )
    pair = pairwise(four, "COVID", "Normal")
    assert pair.classes == ("Normal", "COVID")
    assert pair.files == ("0.png", "1.png")
    np.testing.assert_allclose(pair.probabilities, [[0.25, 0.75], [0.75, 0.25]])
    assert evaluate(four, 0).scores["accuracy"].value == pytest.approx(2 / 3)
    both = evaluate(four, 0).pairwise
    assert both is not None
    assert both.images == 2
    assert both.scores["accuracy"].value == 1
    with pytest.raises(ValueError, match="Pneumonia"):
        pairwise(four, "COVID", "Pneumonia")


def test_pair_without_any_probability_is_undecided() -> None:
    four = predictions(["COVID", "Normal"], [[0, 0, 1, 0], [0, 0.5, 0.5, 0]], FOUR)
    np.testing.assert_allclose(pairwise(four, "COVID", "Normal").probabilities, [[0.5, 0.5], [1, 0]])


def test_labels_outside_the_classes_are_told_and_not_counted() -> None:
    own = predictions(
        ["COVID", "Pneumonia", "Pneumonia", "Pneumonia", "Pneumonia"],
        [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]],
        sources=["a", "nih", "nih", "nih", "nih"],
    )
    found = evaluate(own, 0)
    assert found.images == 1
    assert found.scores["accuracy"].value == 1
    (row,) = outside_classes(own, 500)
    assert (row["source"], row["label"], row["images"]) == ("nih", "Pneumonia", 4)
    assert row["called"]["COVID"]["value"] == 0.25
    assert row["called"]["COVID"]["low"] == 0
    assert row["called"]["COVID"]["value"] + row["called"]["Normal"]["value"] == 1
    assert outside_classes(own.select(own.truth >= 0)) == []


def test_nothing_to_evaluate() -> None:
    with pytest.raises(ValueError, match="no image"):
        evaluate(predictions(["Pneumonia"], [[0.5, 0.5]]))


def test_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match="probabilities"):
        Predictions(("a",), ("COVID",), ("",), ("",), ("COVID", "Normal"), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="logits"):
        Predictions(("a",), ("COVID",), ("",), ("",), ("COVID", "Normal"), np.zeros((1, 2)), np.zeros((2, 2)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_images_does_not_matter(seed: int) -> None:
    own = random_predictions(seed, 30, FOUR, digits=1)
    order = np.random.default_rng(seed).permutation(30)
    shuffled = predictions([own.labels[index] for index in order], own.probabilities[order], FOUR)
    first, second = evaluate(own, 0), evaluate(shuffled, 0)
    for name, score in first.scores.items():
        assert score.value is not None
        assert math.isclose(score.value, second.scores[name].value or 0, abs_tol=1e-12)


def test_a_thousand_resamples_take_seconds() -> None:
    own = random_predictions(1, 400, FOUR)
    start = time.process_time()
    evaluate(own, 1000)
    assert time.process_time() - start < 8
