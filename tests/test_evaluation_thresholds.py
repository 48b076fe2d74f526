from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.thresholds import (
    CANDIDATES,
    CONFUSED,
    FALSE_ALARMS,
    FEWEST,
    MISSED,
    class_thresholds,
)

CLASSES = ("COVID", "Normal")
COVID, NORMAL = 0, 1


def rows(*parts: tuple[str, int, float, int]) -> tuple[np.ndarray, list[int], list[str]]:
    """Images by (hospital, label, probability of COVID, how many): probabilities, labels, hospitals."""
    covid = np.concatenate([np.full(count, share) for _, _, share, count in parts])
    labels = [label for _, label, _, count in parts for _ in range(count)]
    hospitals = [name for name, _, _, count in parts for _ in range(count)]
    return np.column_stack([covid, 1 - covid]), labels, hospitals


def found(*parts: tuple[str, int, float, int]) -> dict[str, float]:
    return class_thresholds(*rows(*parts), CLASSES)


def test_the_limits_are_those_of_the_cases_below() -> None:
    assert (FALSE_ALARMS, CONFUSED, MISSED, FEWEST) == (0.05, 0.25, 0.09, 20)
    assert (CANDIDATES[0], CANDIDATES[-1]) == (0.7, 0.99)


def test_where_nothing_is_wrong_the_lowest_will_do() -> None:
    assert found(("a", COVID, 0.9, 30), ("a", NORMAL, 0.1, 30)) == {"COVID": 0.7, "Normal": 0.7}


def test_a_threshold_is_the_first_above_too_many_false_alarms() -> None:
    # 5 of 100 may be false alarms. Of 6 at 0.805 one has to go, and all of them do at 0.81.
    six = (("a", NORMAL, 0.805, 6), ("a", NORMAL, 0.1, 94), ("a", COVID, 0.9, 40))
    assert found(*six) == {"COVID": 0.81, "Normal": 0.7}
    five = (("a", NORMAL, 0.805, 5), ("a", NORMAL, 0.1, 95), ("a", COVID, 0.9, 40))
    assert found(*five)["COVID"] == 0.7


def test_a_probability_of_the_threshold_itself_is_reported() -> None:
    probabilities = np.array([[0.8, 0.2]] * 30)
    assert class_thresholds(probabilities, [NORMAL] * 30, ["a"] * 30, CLASSES)["COVID"] == 0.81


def test_more_may_be_missed_than_falsely_alarmed() -> None:
    # 9 of 100 diseased images may be called normal.
    nine = (("a", COVID, 0.245, 9), ("a", COVID, 0.9, 91), ("a", NORMAL, 0.1, 40))
    assert found(*nine)["Normal"] == 0.7
    ten = (("a", COVID, 0.245, 10), ("a", COVID, 0.9, 90), ("a", NORMAL, 0.1, 40))
    assert found(*ten) == {"COVID": 0.7, "Normal": 0.76}  # 1 - 0.245 = 0.755


def test_the_hospital_that_is_worst_off_decides() -> None:
    # 10 of b's 40 are false alarms; of both hospitals together it is 10 of 1040, which would do.
    parts = (
        ("a", NORMAL, 0.1, 1000),
        ("b", NORMAL, 0.905, 10),
        ("b", NORMAL, 0.1, 30),
        ("a", COVID, 0.95, 40),
    )
    assert found(*parts)["COVID"] == 0.91
    probabilities, labels, _ = rows(*parts)
    together = class_thresholds(probabilities, labels, ["a"] * len(labels), CLASSES)
    assert together["COVID"] == 0.7


def test_a_small_hospital_has_its_say_among_all_together() -> None:
    # 2 of 19 are too many at home, where they are too few to count alone; among 119 they are not.
    small = (("b", NORMAL, 0.905, 2), ("b", NORMAL, 0.1, 17))
    assert found(("a", NORMAL, 0.1, 100), ("a", COVID, 0.95, 40), *small)["COVID"] == 0.7
    # Three such hospitals and no other: 6 of 57 are.
    several = [(name, NORMAL, share, n) for name in "bcd" for share, n in ((0.905, 2), (0.1, 17))]
    assert found(("a", COVID, 0.95, 40), *several)["COVID"] == 0.91
    # With one image more the hospital counts by itself: 2 of 20 are too many.
    enough = (("b", NORMAL, 0.905, 2), ("b", NORMAL, 0.1, 18))
    assert found(("a", NORMAL, 0.1, 100), ("a", COVID, 0.95, 40), *enough)["COVID"] == 0.91


def test_images_of_an_unknown_hospital_have_no_say() -> None:
    parts = (("unidentified", NORMAL, 0.905, 40), ("a", NORMAL, 0.1, 40), ("a", COVID, 0.95, 40))
    assert found(*parts)["COVID"] == 0.7


def test_where_no_threshold_keeps_the_limit_it_is_the_highest() -> None:
    parts = (("a", NORMAL, 0.995, 10), ("a", NORMAL, 0.1, 30), ("a", COVID, 0.9, 40))
    assert found(*parts) == {"COVID": 0.99, "Normal": 0.7}


def test_only_the_most_probable_class_is_reported_and_diseases_are_taken_for_one_another() -> None:
    classes = ("COVID", "Normal", "Tuberculosis")
    # 11 of 40 tuberculoses are called COVID: too many of another disease, but not missed, as no one called them normal.
    probabilities = np.array(
        [[0.8, 0.1, 0.1]] * 11 + [[0.0, 0.1, 0.9]] * 29 + [[0.1, 0.9, 0.0]] * 40 + [[0.9, 0.1, 0.0]] * 40
    )
    labels = [2] * 40 + [1] * 40 + [0] * 40
    assert class_thresholds(probabilities, labels, ["a"] * 120, classes) == {
        "COVID": 0.81,
        "Normal": 0.7,
        "Tuberculosis": 0.7,
    }


def test_one_negative_class_is_not_wrong_about_another() -> None:
    classes = ("COVID", "Normal", "No finding")
    probabilities = np.array([[0.0, 0.9, 0.1]] * 40 + [[0.9, 0.1, 0.0]] * 40)
    labels = [2] * 40 + [0] * 40
    assert class_thresholds(probabilities, labels, ["a"] * 80, classes)["Normal"] == 0.7


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_images_does_not_matter(order: int) -> None:
    rng = np.random.default_rng(7)
    shares = rng.dirichlet((1, 1), 300)
    labels, hospitals = rng.integers(0, 2, 300), [str(n) for n in rng.integers(0, 9, 300)]
    expected = class_thresholds(shares, labels, hospitals, CLASSES)
    assert class_thresholds(shares[::order], labels[::order], hospitals[::order], CLASSES) == expected
