"""Groups, hospitals, repeated training, duplicates: figures and levels by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmoscope.datasets.check.findings import Pair
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.audit import duplicates, groups, hospitals
from pulmoscope.evaluation.metrics import Predictions


def answers(right: list[bool], decisions: str = "report") -> Predictions:
    """Every second image has COVID; a right one's probability is far on its side."""
    count = len(right)
    labels = ["COVID" if number % 2 == 0 else "Normal" for number in range(count)]
    first = np.array(
        [0.9 if (label == "COVID") == ok else 0.1 for label, ok in zip(labels, right, strict=True)]
    )
    return Predictions(
        files=tuple(f"{number}.png" for number in range(count)),
        labels=tuple(labels),
        patients=("",) * count,
        sources=("",) * count,
        classes=("COVID", "Normal"),
        probabilities=np.stack([first, 1 - first], axis=1),
        decisions=(decisions,) * count,
        hospitals=("here",) * count,
    )


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (0, "0–17 years"),
        (17.9, "0–17 years"),
        (18, "18–39 years"),
        (79, "60–79 years"),
        (80, "80 years and older"),
        (101, "80 years and older"),
    ],
)
def test_age_bands(years: float, band: str) -> None:
    assert groups.age_band(years) == band


def test_a_group_that_is_served_worse() -> None:
    right = [True] * 60 + [number % 4 > 1 for number in range(60)]
    names = ["female"] * 60 + ["male"] * 60
    rows = groups.group_figures(answers(right), names, bootstrap=100)
    assert [row.hospital for row in rows] == ["female", "male"]
    assert [row.auroc_within.value for row in rows] == [1.0, 0.5]
    assert groups.verdict("sex", rows).level == "bad"
    alike = groups.group_figures(answers([True] * 120), names, bootstrap=100)
    assert groups.verdict("sex", alike).level == "good"


def test_groups_that_nobody_knows() -> None:
    every = answers([True] * 60)
    assert groups.group_figures(every, [""] * 60, bootstrap=0) == []
    assert groups.verdict("age", []).level == "none"
    some = groups.group_figures(every, ["PA"] * 40 + [""] * 20, bootstrap=0)
    assert [(row.hospital, row.images) for row in some] == [("PA", 40)]
    assert groups.verdict("view", some).level == "none"  # one group alone


def test_two_answers_to_one_question() -> None:
    first, second = answers([True] * 10), answers([False, *[True] * 9])
    found = hospitals.agreement(first, second, bootstrap=20)
    assert found["same_answer"].value == pytest.approx(0.9)
    assert found["difference"].value == pytest.approx(0.08)  # 0.9 to 0.1 in one of ten
    same = hospitals.agreement(first, first, bootstrap=20)["same_answer"]
    assert (same.value, same.low) == (1.0, pytest.approx(0.025 ** (1 / 10)))
    with pytest.raises(ValueError, match="same images"):
        hospitals.agreement(first, answers([True]))


@pytest.mark.parametrize(
    ("value", "level"), [(0.95, "good"), (0.9, "good"), (0.85, "doubtful"), (0.7, "bad")]
)
def test_hospitals_left_out(value: float, level: str) -> None:
    record = {"figures": {"AUROC_within_worst": {"value": value, "hospital": "siim"}}}
    better = {"figures": {"AUROC_within_worst": {"value": 0.99, "hospital": "nih"}}}
    found = hospitals.left_out([better, record, {"figures": {}}])
    assert (found.code, found.level) == ("left-out", level)
    assert "siim" in found.says
    assert hospitals.left_out([{"figures": {}}]).level == "none"


def test_trained_and_asked_again() -> None:
    levels = [hospitals.trained_again(value).level for value in (0.95, 0.9, 0.7, None)]
    assert levels == ["good", "doubtful", "bad", "none"]
    assert [hospitals.asked_again(value).level for value in (1.0, 0.99)] == ["good", "bad"]


def pair(first: str, second: str, labels: tuple[str, str] = ("COVID", "COVID")) -> Pair:
    return Pair(first, second, 3, False, ("test", "train"), labels)


def table(*rows: tuple[str, str, str]) -> SampleTable:
    samples = tuple(Sample(file, "COVID", split, patient) for file, split, patient in rows)
    return SampleTable(Path(), "manifest", samples)


def test_leaks_by_hand() -> None:
    audited = table(("a", "test", "p1"), ("b", "test", "p2"), ("c", "test", ""), ("d", "test", "p1"))
    learnt = (("e", "train", "p2"), ("f", "val", "p3"), ("g", "", "p1"))
    whole = audited.with_samples((*audited, *table(*learnt)))
    pairs = [
        pair("a", "e"),
        pair("f", "a"),
        pair("c", "b", ("COVID", "Normal")),
        pair("d", "g"),
        pair("e", "f"),
    ]
    found = duplicates.shared(audited, whole, pairs)
    # Image a resembles e and f; g is in no split, so that neither d nor patient p1 is leaked.
    assert found.plain() == {
        "images": 4,
        "within": 1,
        "conflicting": 1,
        "leaked": 1,
        "patients": 2,
        "shared": 1,
        "unknown": 1,
    }
    assert {verdict.code: verdict.level for verdict in duplicates.verdicts(found)} == {
        "leak": "bad",
        "repeated": "bad",
    }


def test_nothing_is_known_of_other_splits() -> None:
    audited = table(("a", "test", "p1"), ("b", "test", "p2"))
    for whole in (None, audited):
        found = duplicates.shared(audited, whole, [])
        assert (found.leaked, found.shared, found.within) == (None, None, 0)
        assert [verdict.level for verdict in duplicates.verdicts(found)] == ["none", "good"]
