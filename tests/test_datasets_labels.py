"""Labels in the words of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.labels import fitted_labels, mapped_labels, renamed, shares_of
from pulmoscope.datasets.table import Sample, SampleTable


def table(*labels: str) -> SampleTable:
    return SampleTable(Path(), "manifest", tuple(Sample(f"{n}.png", label) for n, label in enumerate(labels)))


def test_mapping_twice_changes_nothing() -> None:
    labels = {"A": "B", "B": "C", "C": "C", "D": "E", "E": "B 0.5, C 0.5"}
    once = mapped_labels(table("A", "B", "C", "D", "E", "F"), labels)
    assert [sample.label for sample in once] == ["C", "C", "C", "E", "E", "F"]
    assert mapped_labels(once, labels) == once
    assert renamed(table("A", "C", "A", "E"), labels) == "A → C: 2, E → (B 0.5, C 0.5): 1"


def test_circles_are_refused() -> None:
    with pytest.raises(DatasetError, match="label A: stands for itself \\(A → B → A\\)"):
        mapped_labels(table("A"), {"A": "B", "B": "A"})


@pytest.mark.parametrize("text", ["COVID 0.4", "COVID 0.4, Normal 0.5", "COVID, Normal"])
def test_shares_that_do_not_sum_to_one_are_refused(text: str) -> None:
    with pytest.raises(DatasetError, match="sum to 1"):
        shares_of(text)


def test_a_class_may_end_in_a_number() -> None:
    assert shares_of("stage 2") == {"stage 2": 1}


def test_shares_of_classes_that_are_not_there_go_to_the_others() -> None:
    labels = {"X": "Y", "either": "A 0.5, B 0.25, C 0.25", "one": "A 0.5, C 0.5"}
    assert fitted_labels(labels, ["A", "B"]) == {"X": "Y", "either": "A 0.666666667, B 0.333333333"}
