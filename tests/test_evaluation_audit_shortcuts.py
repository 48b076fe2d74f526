"""Probes, permutation tests and verdicts about shortcuts, against scikit-learn, SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test
from sklearn.metrics import roc_auc_score

from pulmoscope.evaluation.audit.probe import (
    auroc,
    auroc_by_chance,
    cross_validated,
    donors,
    follows,
    mean_by_chance,
)
from pulmoscope.evaluation.audit.shortcuts import Assessed, Told, Used, asked, label_score, moved, verdicts
from pulmoscope.evaluation.bootstrap import units


def drawn(seed: int, images: int = 40, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.arange(images) % 2 == 0
    return np.round(rng.normal(size=images) + apart * positive, 1), positive


def test_auroc_and_how_often_chance_reaches_it() -> None:
    scores, positive = drawn(0, apart=0.8)
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)

    def statistic(labels: np.ndarray) -> float:
        return float(roc_auc_score(labels, scores))

    expected = permutation_test(
        (positive,), statistic, permutation_type="pairings", alternative="greater", n_resamples=2000, rng=1
    )
    assert auroc_by_chance(scores, positive, 1) == pytest.approx(expected.pvalue, abs=0.01)
    assert auroc_by_chance(*drawn(3, apart=5.0), 1) == 1 / 5000


def test_how_often_signs_reach_a_mean() -> None:
    shifts = np.array([0.4, 0.1, 0.3, -0.1, 0.2, 0.5])
    # All 64 signs by hand: the p of the exact test.
    signs = np.array(np.meshgrid(*[(-1, 1)] * 6)).reshape(6, -1).T
    exact = (signs @ shifts >= shifts.sum() - 1e-12).mean()
    assert mean_by_chance(shifts, 0) == pytest.approx(exact, abs=0.01)


def test_a_probe_is_asked_about_patients_that_it_has_not_learnt_from() -> None:
    """What is told by the patient alone is not told: every patient has features and label of his own."""
    rng = np.random.default_rng(0)
    of_patient = rng.normal(size=(20, 30))
    features = np.repeat(of_patient, 6, axis=0).astype(np.float32)
    positive = np.repeat(np.arange(20) % 2 == 0, 6)
    patients = [f"p{number}" for number in np.repeat(np.arange(20), 6)]
    by_patient = cross_validated(features, positive, patients)
    by_image = cross_validated(features, positive, [""] * 120)
    assert by_patient is not None
    assert by_image is not None
    assert auroc(by_image, positive) > 0.95
    assert auroc(by_patient, positive) < 0.75
    assert cross_validated(features[:24], positive[:24], patients[:24]) is None  # four patients


def test_images_exchange_with_others_of_the_label_that_is_asked_for_and_of_other_patients() -> None:
    positive = np.array([True, True, True, False, False, False])
    groups = units(["a", "a", "b", "c", "d", "d"])
    for other in (True, False):
        chosen = donors(positive, groups, other, 0)
        assert (positive[chosen] == (~positive if other else positive)).all()
        assert (groups[chosen] != groups).all()


def test_scores_of_a_label() -> None:
    logits = np.array([[1.0, 3.0, 2.0]])
    probability = np.exp(3) / np.exp(logits).sum()
    assert label_score(logits, 1)[0] == pytest.approx(np.log(probability / (1 - probability)))
    assert label_score(np.array([[0.7]]), 1)[0] == 0.7
    assert label_score(np.array([[0.7]]), 0)[0] == -0.7


def test_how_far_answers_move_by_hand() -> None:
    positive = np.array([True, True, False, False])
    before = np.array([3.0, 1.0, -1.0, -3.0])  # means 2 and -2: 4 apart
    other = np.array([1.0, 1.0, 1.0, -3.0])
    same = np.array([3.0, 2.0, -1.0, -2.0])
    np.testing.assert_allclose(moved(before, other, same, positive), [0.5, 0.25, 0.5, -0.25])
    assert moved(-before, other, same, positive) is None


def test_a_model_follows_a_probe_within_labels_only() -> None:
    positive = np.array([True] * 3 + [False] * 3)
    assert follows(np.array([4.0, 5, 6, 1, 2, 3]), np.array([7.0, 8, 9, 0, 1, 2]), positive) == 1
    assert follows(np.array([4.0, 5, 6, 1, 2, 3]), np.array([9.0, 8, 7, 2, 1, 0]), positive) == -1
    assert follows(np.array([4.0, 5, 6, 1, 2, 3]), np.array([1.0, 1, 1, 0, 0, 0]), positive) is None


def test_labels_that_are_asked_about() -> None:
    assert asked(["a"] * 10 + ["b"] * 10) == ["a"]
    assert asked(["a"] * 10 + ["b"] * 9) == []
    assert asked(["a"] * 10 + ["b"] * 10 + ["c"] * 3) == ["a", "b"]


TELLS = Told("COVID", 80, 40, 0.9, 0.0002)
GUESSES = Told("COVID", 80, 40, 0.6, 0.2)
READ, UNREAD = Used(80, 0.5, 0.0002, 0.01), Used(80, 0.5, 0.0002, 0.4)


def one(code: str, told: Told | None, used: Used | None = None, follows: float | None = None) -> Assessed:
    return Assessed(code, f"the {code}", told, {}, follows, used)


@pytest.mark.parametrize(
    ("assessed", "expected"),
    [
        ([one("letters", TELLS, READ), one("size", GUESSES)], {"letters": "bad"}),
        ([one("letters", TELLS, Used(80, 0.1, 0.0002, 0.01))], {"letters": "doubtful"}),
        # other regions move answers nearly as far; or chance does
        ([one("letters", TELLS, UNREAD)], {"shortcuts": "good", "data-letters": "doubtful"}),
        ([one("letters", TELLS, Used(80, 0.5, 0.2, 0.0))], {"shortcuts": "good", "data-letters": "doubtful"}),
        ([one("letters", GUESSES, READ)], {"shortcuts": "good"}),
        ([one("letters", None)], {"shortcuts": "none"}),
        ([one("compression", TELLS, follows=0.5)], {"compression": "doubtful"}),
        ([one("compression", TELLS, follows=0.1)], {"shortcuts": "good", "data-compression": "doubtful"}),
        # a wide border fills all corners, and is the one that is named
        (
            [one("border", TELLS, READ), *(one(f"corner-{at}", TELLS, READ) for at in "abcd")],
            {"border": "bad"},
        ),
    ],
)
def test_a_shortcut_tells_the_label_and_is_read(assessed: list[Assessed], expected: dict[str, str]) -> None:
    assert {verdict.code: verdict.level for verdict in verdicts(assessed)} == expected
