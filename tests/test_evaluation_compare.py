from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.compare import common_classes, compare, difference, in_common, mcnemar
from pulmoscope.evaluation.delong import delong
from pulmoscope.evaluation.metrics import Predictions, evaluate


def predictions(labels: list[str], probabilities: object, patients: list[str] | None = None) -> Predictions:
    """Of COVID and Normal; without patients every image is on its own."""
    count = len(labels)
    return Predictions(
        files=tuple(f"{index}.png" for index in range(count)),
        labels=tuple(labels),
        patients=tuple(patients or [""] * count),
        sources=("",) * count,
        classes=("COVID", "Normal"),
        probabilities=np.asarray(probabilities, dtype=np.float64).reshape(count, 2),
    )


def of_covid(labels: list[str], shares: list[float], patients: list[str] | None = None) -> Predictions:
    """By the probability of COVID alone."""
    return predictions(labels, [[share, 1 - share] for share in shares], patients)


def test_figures_and_their_differences_by_hand() -> None:
    labels = ["COVID"] * 4 + ["Normal"] * 4
    # The first calls 7 of 8 rightly, the second 5 of 8: it takes two COVID and one Normal for the other.
    first = of_covid(labels, [0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.55])
    second = of_covid(labels, [0.9, 0.8, 0.4, 0.35, 0.1, 0.2, 0.3, 0.6])
    found = compare(first, second, 500)
    accuracy = found.figures["", "accuracy"]
    assert (accuracy.first, accuracy.second) == (7 / 8, 5 / 8)
    assert accuracy.difference.value == pytest.approx(2 / 8)
    # Of 16 pairs the first ranks all rightly; the second has 0.6 above 0.4 and 0.35.
    assert found.figures["", "macro_auroc"].difference.value == pytest.approx(1 - 14 / 16)
    assert found.figures["COVID", "sensitivity"].difference.value == pytest.approx(1 - 2 / 4)
    assert found.figures["Normal", "sensitivity"].difference.value == 0
    # MCC from the tables [[4, 0], [1, 3]] and [[2, 2], [1, 3]].
    assert found.figures["", "mcc"].first == pytest.approx(12 / np.sqrt(4 * 4 * 5 * 3))
    assert found.figures["", "mcc"].second == pytest.approx((2 * 3 - 2 * 1) / np.sqrt(4 * 4 * 3 * 5))
    assert (found.mcnemar.first_only, found.mcnemar.second_only) == (2, 0)
    assert found.mcnemar.p_value == pytest.approx(0.5)  # two of two by chance, on either side
    assert (found.images, found.units) == (8, 8)


def test_figures_are_those_of_an_evaluation() -> None:
    rng = np.random.default_rng(3)
    labels = ["COVID", "Normal"] * 30
    one, other = (of_covid(labels, list(rng.random(60))) for _ in range(2))
    found, alone = compare(one, other, 0), [evaluate(own, 0) for own in (one, other)]
    for name in ("macro_auroc", "accuracy", "balanced_accuracy", "mcc"):
        held = found.figures["", name]
        assert (held.first, held.second) == tuple(own.scores[name].value for own in alone)


def test_the_interval_is_that_of_paired_differences() -> None:
    # Of 400 patients only the first is right about 60, only the second about 20: the standard error of the
    # difference of 0.1 is sqrt(80 - 40**2 / 400) / 400 = 0.0218. Drawn apart it would be wider.
    labels = ["COVID"] * 400
    right, wrong = 0.9, 0.1
    first = [right] * 60 + [wrong] * 20 + [right] * 220 + [wrong] * 100
    second = [wrong] * 60 + [right] * 20 + [right] * 220 + [wrong] * 100
    gap = compare(of_covid(labels, first), of_covid(labels, second), 4000).figures["", "accuracy"].difference
    assert gap.low == pytest.approx(0.1 - 1.96 * 0.0218, abs=0.004)
    assert gap.high == pytest.approx(0.1 + 1.96 * 0.0218, abs=0.004)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (6, 1), (12, 5), (40, 40)])
def test_mcnemars_test_is_the_exact_binomial_one(first: int, second: int) -> None:
    right = np.array([True] * first + [False] * second + [True] * 10)
    others = np.array([False] * first + [True] * second + [True] * 10)
    found = mcnemar(right, others, np.arange(len(right)))
    assert (found.first_only, found.second_only) == (first, second)
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert found.p_value == pytest.approx(expected)


def test_a_patient_counts_once_in_mcnemars_test() -> None:
    # Of patient a the first has two images more right, of b each has one: b tells for neither.
    patients = units(["a", "a", "a", "b", "b"])
    first = np.array([True, True, True, True, False])
    second = np.array([False, False, True, False, True])
    found = mcnemar(first, second, patients)
    assert (found.first_only, found.second_only, found.p_value) == (1, 0, 1.0)


def test_systems_that_never_differ_may_still_differ_in_others() -> None:
    own = of_covid(["COVID"] * 10 + ["Normal"] * 30, [0.9] * 10 + [0.1] * 30)
    found = compare(own, own, 100).figures
    bound = 1 - 0.025 ** (1 / 40)
    gap = found["", "accuracy"].difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((0, -bound, bound))
    assert found["COVID", "sensitivity"].difference.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert found["", "macro_auroc"].difference.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert found["", "mcc"].difference.low is None
    assert compare(own, own, 0).figures["", "accuracy"].difference.low is None  # nobody asked


def test_one_system_always_right_and_the_other_never() -> None:
    labels = ["COVID"] * 10 + ["Normal"] * 30
    right, wrong = of_covid(labels, [0.9] * 10 + [0.1] * 30), of_covid(labels, [0.1] * 10 + [0.9] * 30)
    for one, other, sign in ((right, wrong, 1), (wrong, right, -1)):
        gap = compare(one, other, 100).figures["", "accuracy"].difference
        least = 2 * 0.025 ** (1 / 40) - 1
        assert sorted([gap.low, gap.high], key=abs) == pytest.approx([sign * least, sign])  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["files", "labels", "patients", "classes"])
def test_only_answers_to_the_same_images_are_compared(name: str) -> None:
    own = of_covid(["COVID", "Normal"], [0.9, 0.1])
    other = replace(own, **{name: getattr(own, name)[::-1] if name != "patients" else ("p", "q")})
    with pytest.raises(ValueError, match=name):
        compare(own, other)


def test_a_difference_is_drawn_over_the_same_patients() -> None:
    # The second system is right wherever the first one is, and about patient d besides: 4 of 4 against 3 of 4.
    labels, patients = ["COVID", "COVID", "Normal", "Normal"], ["a", "b", "c", "d"]
    good = predictions(labels, [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]], patients=patients)
    poor = predictions(labels, [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], patients=patients)

    gap = difference(good, poor, "accuracy", bootstrap=500)

    assert gap.value == pytest.approx(0.25)
    # Drawn apart, two accuracies could also differ the other way; drawn together, they differ by d's share alone.
    assert gap.low == 0
    assert gap.high is not None
    assert 0.5 <= gap.high <= 0.75
    same = difference(good, good, "mcc", bootstrap=100)
    # Alike in every resample: nothing can be told.
    assert (same.value, same.low, same.high) == (0, None, None)
    with pytest.raises(ValueError, match="same patients"):
        difference(good, predictions(labels, poor.probabilities, patients=["a", "b", "c", "e"]), "mcc")


def test_labels_that_no_class_has_play_no_part_in_a_difference() -> None:
    labels, patients = ["COVID", "Normal", "CT-4"], ["a", "b", "c"]
    good = predictions(labels, [[1, 0], [0, 1], [1, 0]], patients=patients)
    poor = predictions(labels, [[1, 0], [1, 0], [0, 1]], patients=patients)
    assert difference(good, poor, "accuracy", bootstrap=0).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="a score is one of accuracy"):
        difference(good, poor, "luck")


def test_two_systems_may_judge_different_images_of_a_patient() -> None:
    two = predictions(["COVID", "COVID", "Normal"], [[1, 0], [0, 1], [0, 1]], patients=["a", "a", "b"])
    one = predictions(["COVID", "Normal"], [[1, 0], [0, 1]], patients=["a", "b"])
    assert difference(one, two, "accuracy", bootstrap=0).value == pytest.approx(1 / 3)


def of_classes(classes: tuple[str, ...], rows: list[list[float]], labels: list[str]) -> Predictions:
    bare = predictions(labels, np.zeros((len(labels), 2)))
    return replace(bare, classes=classes, probabilities=np.array(rows))


def test_systems_of_other_classes_share_the_pair() -> None:
    labels = ["COVID", "Normal", "CAP"]
    one = of_classes(("COVID", "CAP", "Normal"), [[0.6, 0.2, 0.2], [0.1, 0.5, 0.4], [0, 1, 0]], labels)
    other = of_classes(("Normal", "COVID"), [[0.3, 0.7], [0.5, 0.5], [0.2, 0.8]], labels)
    shared = in_common(one, other)
    assert [pair.classes for pair in shared] == [("Normal", "COVID")] * 2
    assert [pair.labels for pair in shared] == [("COVID", "Normal")] * 2
    # The third class's part is shared out: 0.6 of 0.8, and 0.1 of 0.5.
    np.testing.assert_allclose(shared[0].probabilities, [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_allclose(shared[1].probabilities, [[0.3, 0.7], [0.5, 0.5]])


def test_systems_of_the_same_classes_share_them_all() -> None:
    labels = ["COVID", "Normal", "CAP"]
    rows = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]
    one = of_classes(("COVID", "Normal", "CAP"), rows, labels)
    other = of_classes(("CAP", "COVID", "Normal"), rows, labels)
    first, second = in_common(one, other)
    assert first is one
    assert second.classes == one.classes
    np.testing.assert_allclose(second.probabilities, np.array(rows)[:, [1, 2, 0]])


def test_without_the_pair_nothing_is_shared() -> None:
    assert common_classes(("CAP", "Normal"), ("Normal", "CAP")) == ("CAP", "Normal")
    with pytest.raises(ValueError, match="CAP"):
        common_classes(("COVID", "CAP"), ("COVID", "Normal"))


def test_delongs_test_stands_beside_every_class_and_patients_with_several_images_are_counted() -> None:
    rng = np.random.default_rng(4)
    labels = ["COVID", "Normal"] * 10
    one, other = (of_covid(labels, list(rng.random(20)), ["a"] * 3 + ["b"] * 2 + [""] * 15) for _ in range(2))
    found = compare(one, other, 0)
    ill = np.array([label == "COVID" for label in labels])
    assert found.delong["COVID"] == delong(one.probabilities[:, 0], other.probabilities[:, 0], ill)
    assert found.delong["Normal"] == delong(one.probabilities[:, 1], other.probabilities[:, 1], ~ill)
    assert (found.units, found.several) == (17, 2)
