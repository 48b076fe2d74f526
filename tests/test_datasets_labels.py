from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, SampleTable
from pulmoscope.datasets.labels import learnable, mapped_labels, read_labels, shares_of, targets

CLASSES = ("COVID", "Normal", "Other")
LABELS = {"Typical": "COVID", "Unsure": "COVID 0.4, Normal 0.35, Other 0.25"}


def table(*labels: str, unread: bool = False) -> SampleTable:
    return SampleTable(
        Path(),
        "manifest",
        tuple(Sample(str(n), label, unread=unread) for n, label in enumerate(labels)),
        ("before",),
    )


def test_a_label_table_is_read(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('label,class\nTypical,COVID\nUnsure,"COVID 0.4, Normal 0.6"\n', encoding="utf-8")
    assert read_labels(file) == {"Typical": "COVID", "Unsure": "COVID 0.4, Normal 0.6"}
    file.write_text("label,class\na,x\na,y\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"labels\.csv, line 3: a label is named once \(found: a again\)"):
        read_labels(file)
    file.write_text("label\na\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="needs column class"):
        read_labels(file)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("Viral pneumonia", {"Viral pneumonia": 1}),
        ("A 0.25,Viral pneumonia 0.75", {"A": 0.25, "Viral pneumonia": 0.75}),
        ("A 1, B 0", {"A": 1, "B": 0}),
    ],
)
def test_shares(text: str, shares: dict[str, float]) -> None:
    assert shares_of(text) == shares


@pytest.mark.parametrize(
    "text", ["A 0.5, B 0.4", "A, B", "A 0.5, B", "A 1.5, B -0.5", "A nan, B 1", "A 0.5, A 0.5"]
)
def test_shares_that_do_not_sum_to_1_are_refused(text: str) -> None:
    with pytest.raises(DatasetError, match="sum to 1") as told:
        shares_of(text)
    assert str(told.value).endswith(f"(found: {text})")


def test_a_label_becomes_its_class_and_one_of_several_stays() -> None:
    found = mapped_labels(table("Typical", "Unsure", "Normal", "Flu"), LABELS)
    assert [sample.label for sample in found] == ["COVID", "Unsure", "Normal", "Flu"]
    with pytest.raises(DatasetError, match="sum to 1"):
        mapped_labels(table("Typical"), {"Flu": "COVID 0.1, Normal 0.1"})


def test_what_no_class_can_be_learnt_from_is_left_out_and_counted() -> None:
    found = learnable(mapped_labels(table("Typical", "Flu", "Unsure", "", "Flu"), LABELS), LABELS, CLASSES)
    assert [sample.label for sample in found] == ["COVID", "Unsure"]
    assert found.warnings == ("before", "labels that stand for no class are left out: Flu 2, none 1")
    whole = table("COVID", "Unsure")
    assert learnable(whole, LABELS, CLASSES) is whole


def test_what_is_to_be_learnt_of_every_image() -> None:
    found = targets(table("Normal", "Unsure", "Typical"), LABELS, CLASSES, {"Normal": 0.2})
    np.testing.assert_allclose(found, [[0, 1, 0], [0.4, 0.35, 0.25], [1, 0, 0]], atol=1e-7)


def test_an_unread_label_may_be_something_else() -> None:
    unread = {"Normal": 0.2, "Other": 0.1}
    found = targets(table("COVID", "Normal", "Unsure", unread=True), LABELS, CLASSES, unread)
    # 0.7 of what the label says, and the shares of what it may be instead.
    expected = [[0.7, 0.2, 0.1], [0, 0.9, 0.1], [0.28, 0.245 + 0.2, 0.175 + 0.1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_label_of_a_class_that_the_model_has_not_is_told() -> None:
    with pytest.raises(DatasetError, match="label Unsure: stands for Other, which is no class of the model"):
        targets(table("Unsure"), LABELS, CLASSES[:2], {})
    with pytest.raises(DatasetError, match="label COVID: stands for Other"):
        targets(table("COVID", unread=True), LABELS, CLASSES[:2], {"Other": 0.1})
