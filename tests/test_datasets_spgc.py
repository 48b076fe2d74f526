from __future__ import annotations

from pathlib import Path

import pytest

from ct_trees import series, spreadsheet
from ct_trees import spgc as tree
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load


def test_one_test_sample_a_study_with_labels_from_either_place(tmp_path: Path) -> None:
    table = load(tree(tmp_path))
    assert table.layout == "spgc-covid"
    assert table.samples == (
        Sample("SPGC-COVID_Test1/A", "COVID", "test", "Test1-A", "SPGC-COVID Test1"),
        Sample("SPGC-COVID_Test1/B", "Normal", "test", "Test1-B", "SPGC-COVID Test1"),
        Sample("SPGC-COVID_Test2/A", "CAP", "test", "Test2-A", "SPGC-COVID Test2"),
        Sample("SPGC-COVID_Test2/B", "COVID", "test", "Test2-B", "SPGC-COVID Test2"),
    )
    assert table.warnings == ()


def test_a_single_set_and_a_common_table(tmp_path: Path) -> None:
    tree(tmp_path)
    one = load(tmp_path / "SPGC-COVID_Test1")
    assert [(sample.file, sample.label) for sample in one] == [("A", "COVID"), ("B", "Normal")]
    (tmp_path / "Test2_labels.csv").rename(tmp_path / "labels.csv")
    assert [sample.label for sample in load(tmp_path)] == ["COVID", "Normal", "CAP", "COVID"]


@pytest.mark.parametrize("name", ["Test-3", "test set 3", "SPGC_COVID_TEST3"])
def test_other_spellings_of_a_set_without_labels(tmp_path: Path, name: str) -> None:
    series(tmp_path / name / "P1", 2)
    (tmp_path / name / "notes.csv").write_text("scanner,dose\na,b\n")
    table = load(tmp_path)
    assert table.samples == (Sample(f"{name}/P1", "", "test", "Test3-P1", "SPGC-COVID Test3"),)
    assert table.warnings == ("no label: 1 of 1 studies",)


def test_another_label_is_refused(tmp_path: Path) -> None:
    spreadsheet(tree(tmp_path) / "SPGC-COVID_Test1" / "labels.xlsx", [["ID", "Class"], ["A", "flu"]])
    with pytest.raises(
        DatasetError, match=r"labels\.xlsx, line 2: class must be COVID-19, CAP or Normal \(found: flu\)"
    ):
        load(tmp_path)


def test_two_labels_of_one_patient_are_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "Test2_labels.csv").write_text("patient,label\nA,CAP\na,Normal\n")
    with pytest.raises(DatasetError, match="line 3: a patient has one label"):
        load(tmp_path)


def test_without_any_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold folders like SPGC-COVID_Test1"):
        load(tmp_path, "spgc-covid")
