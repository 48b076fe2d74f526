from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.thresholds import CANDIDATES, FALSE_ALARMS, FEWEST, MISSED, class_thresholds

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
    assert (FALSE_ALARMS, MISSED, FEWEST) == (0.03, 0.08, 20)
    assert (CANDIDATES[0], CANDIDATES[-1]) == (0.35, 0.99)


def test_where_nothing_is_wrong_the_lowest_will_do() -> None:
    assert found(("a", COVID, 0.9, 30), ("a", NORMAL, 0.1, 30)) == {"COVID": 0.35, "Normal": 0.35}


def test_a_threshold_is_the_first_above_too_many_false_alarms() -> None:
    # 3 of 100 may be false alarms. Of 4 at 0.805 one has to go, and all of them do at 0.81.
    four = (("a", NORMAL, 0.805, 4), ("a", NORMAL, 0.1, 96), ("a", COVID, 0.9, 40))
    assert found(*four) == {"COVID": 0.81, "Normal": 0.35}
    three = (("a", NORMAL, 0.805, 3), ("a", NORMAL, 0.1, 97), ("a", COVID, 0.9, 40))
    assert found(*three)["COVID"] == 0.35


def test_a_probability_of_the_threshold_itself_is_reported() -> None:
    probabilities = np.array([[0.8, 0.2]] * 30)
    assert class_thresholds(probabilities, [NORMAL] * 30, ["a"] * 30, CLASSES)["COVID"] == 0.81


def test_more_may_be_missed_than_falsely_alarmed() -> None:
    # 8 of 100 diseased images may be called normal.
    eight = (("a", COVID, 0.295, 8), ("a", COVID, 0.9, 92), ("a", NORMAL, 0.1, 40))
    assert found(*eight)["Normal"] == 0.35
    nine = (("a", COVID, 0.295, 9), ("a", COVID, 0.9, 91), ("a", NORMAL, 0.1, 40))
    assert found(*nine) == {"COVID": 0.35, "Normal": 0.71}  # 1 - 0.295 = 0.705


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
    assert together["COVID"] == 0.35


def test_small_hospitals_count_together() -> None:
    # 1 of 19 in each of three: 3 of 57 together are too many; 1 of 57 is not, although it is 1 of 19 at home.
    small = [(name, NORMAL, share, n) for name in "bcd" for share, n in ((0.905, 1), (0.1, 18))]
    others = (("a", NORMAL, 0.1, 100), ("a", COVID, 0.95, 40))
    assert found(*others, *small)["COVID"] == 0.91
    calm = [(name, NORMAL, 0.1, 19) for name in "cd"]
    assert found(*others, *small[:2], *calm)["COVID"] == 0.35
    # With one image more the hospital counts by itself: 1 of 20 is too many.
    assert found(*others, ("b", NORMAL, 0.905, 1), ("b", NORMAL, 0.1, 19), *calm)["COVID"] == 0.91


def test_where_no_threshold_keeps_the_limit_it_is_the_highest() -> None:
    parts = (("a", NORMAL, 0.995, 10), ("a", NORMAL, 0.1, 30), ("a", COVID, 0.9, 40))
    assert found(*parts) == {"COVID": 0.99, "Normal": 0.35}


def test_only_the_most_probable_class_is_reported_and_diseases_are_taken_for_one_another() -> None:
    classes = ("COVID", "Normal", "Tuberculosis")
    # 10 of 40 tuberculoses are called COVID: false alarms of COVID, but not missed, as no one called them normal.
    probabilities = np.array(
        [[0.6, 0.3, 0.1]] * 10 + [[0.0, 0.1, 0.9]] * 30 + [[0.1, 0.9, 0.0]] * 40 + [[0.9, 0.1, 0.0]] * 40
    )
    labels = [2] * 40 + [1] * 40 + [0] * 40
    assert class_thresholds(probabilities, labels, ["a"] * 120, classes) == {
        "COVID": 0.61,
        "Normal": 0.35,
        "Tuberculosis": 0.35,
    }


def test_one_negative_class_is_not_wrong_about_another() -> None:
    classes = ("COVID", "Normal", "No finding")
    probabilities = np.array([[0.0, 0.9, 0.1]] * 40 + [[0.9, 0.1, 0.0]] * 40)
    labels = [2] * 40 + [0] * 40
    assert class_thresholds(probabilities, labels, ["a"] * 80, classes)["Normal"] == 0.35


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_images_does_not_matter(order: int) -> None:
    rng = np.random.default_rng(7)
    shares = rng.dirichlet((1, 1), 300)
    labels, hospitals = rng.integers(0, 2, 300), [str(n) for n in rng.integers(0, 9, 300)]
    expected = class_thresholds(shares, labels, hospitals, CLASSES)
    assert class_thresholds(shares[::order], labels[::order], hospitals[::order], CLASSES) == expected
