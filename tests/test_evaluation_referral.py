"""Whether referral catches wrong answers, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.referral import referral, risk_by_coverage, risk_coverage

CLASSES = ("COVID", "Normal")
ROWS = (
    # label, probability of COVID, decision
    ("COVID", 0.99, "report"),
    ("COVID", 0.95, "report"),
    ("COVID", 0.40, "refer"),  # wrong
    ("Normal", 0.05, "report"),
    ("Normal", 0.30, "refer"),
    ("Normal", 0.90, "report"),  # wrong
    ("Normal", 0.60, "refer"),  # wrong
    ("Pneumonia", 0.20, "report"),  # no class of the model: can't be right
)


def predictions(rows: tuple[tuple[str, float, str], ...] = ROWS) -> Predictions:
    nothing = ("",) * len(rows)
    shares = np.array([share for _, share, _ in rows])
    return Predictions(
        tuple(map(str, range(len(rows)))),
        tuple(label for label, *_ in rows),
        nothing,
        nothing,
        CLASSES,
        np.stack([shares, 1 - shares], axis=1),
        decisions=tuple(decision for *_, decision in rows),
    )


def test_shares_are_those_counted_by_hand() -> None:
    found = referral(predictions(), 200)
    assert found["counts"] == {
        "right_reported": 3,
        "right_referred": 1,
        "wrong_reported": 2,
        "wrong_referred": 2,
    }
    assert found["reported"]["value"] == pytest.approx(5 / 8)
    assert found["accuracy_reported"]["value"] == pytest.approx(3 / 5)
    assert found["wrong_referred"]["value"] == pytest.approx(2 / 4)
    for name in ("reported", "accuracy_reported", "wrong_referred"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_where_nothing_is_wrong_no_share_of_it_is_referred() -> None:
    found = referral(predictions(ROWS[:2]), 0)
    assert found["wrong_referred"]["value"] is None
    assert found["accuracy_reported"]["value"] == 1
    nothing_reported = referral(predictions((ROWS[2],)), 0)
    assert nothing_reported["accuracy_reported"]["value"] is None


def test_a_decision_follows_its_file() -> None:
    chosen = predictions().select([False, False, True, True, False, False, False, False])
    assert chosen.decisions == ("refer", "report")
    with pytest.raises(ValueError, match="2 files and 1 decisions"):
        Predictions(("a", "b"), ("", ""), ("", ""), ("", ""), CLASSES, np.ones((2, 2)), decisions=("refer",))


def test_risk_rises_with_coverage_as_counted_by_hand() -> None:
    coverage, risk = risk_by_coverage(predictions())
    # Surest first: .99 right; .95 twice right; .90 wrong; .80 wrong; .70 right; .60 wrong twice (0.40 and 0.60).
    np.testing.assert_allclose(coverage, np.array([1, 3, 4, 5, 6, 8]) / 8)
    np.testing.assert_allclose(risk, [0, 0, 1 / 4, 2 / 5, 2 / 6, 4 / 8])


def test_at_full_coverage_the_risk_is_the_error() -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice(CLASSES, 200)
    rows = tuple(
        (str(label), float(share), "report") for label, share in zip(labels, rng.random(200), strict=True)
    )
    own = predictions(rows)
    assert risk_by_coverage(own)[1][-1] == pytest.approx(1 - accuracy_score(labels, own.predicted))


def test_the_error_of_the_surest_images_counted_by_hand() -> None:
    found = risk_coverage(predictions(), 100)["overall"]
    assert found["images"] == 8
    assert found["error"]["value"] == pytest.approx(4 / 8)
    # 90 % of 8 images are 7.2: seven with 3 wrong, and a fifth of the last, which is wrong, too.
    assert found["error_at_90"]["value"] == pytest.approx((3 + 0.2) / 7.2)
    assert found["error_at_50"]["value"] == pytest.approx(1 / 4)
    for name in ("error", "error_at_90", "error_at_50"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["points"][0] == [1 / 8, 0]
    assert found["points"][-1] == [1, 4 / 8]


def test_every_hospital_has_a_curve_of_its_own() -> None:
    said = replace(predictions(), hospitals=("here",) * 3 + ("there",) * 5)
    found = risk_coverage(said, 0)["by_hospital"]
    assert {name: row["error"]["value"] for name, row in found.items()} == {
        "here": pytest.approx(1 / 3),
        "there": pytest.approx(3 / 5),
    }
    assert found["there"]["images"] == 5
