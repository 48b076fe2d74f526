from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ct_trees import covid_ct_md as tree
from ct_trees import series
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import covid_ct_md


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "data")


def test_one_sample_a_study_with_labels_turned_to_count_from_the_feet(root: Path) -> None:
    table = covid_ct_md.read(root)
    # P001: second and fourth of 5 from the head are 3 and 1 from the feet; cap001: the first of 4 is 3
    assert table.samples == (
        Sample("COVID-19 subjects/P001", "COVID", "", "P001", "COVID-CT-MD", infected="1,3"),
        Sample("COVID-19 subjects/P002", "COVID", "", "P002", "COVID-CT-MD"),
        Sample("Cap subjects/cap001", "CAP", "", "cap001", "COVID-CT-MD", infected="3"),
        Sample("Normal subjects/normal001", "Normal", "", "normal001", "COVID-CT-MD", infected="none"),
    )
    assert table.warnings == ("no slice labels: 1 of 4 studies",)


def test_splits_are_drawn_by_patient(root: Path) -> None:
    table = load(root)
    assert {sample.split for sample in table} <= {"train", "val", "test"}
    assert any("one patient's studies stay together" in line for line in table.warnings)


def test_updated_labels_go_before_the_first_ones(root: Path) -> None:
    np.save(root / "Slice-level-labels-updated-1.npy", np.eye(3, 8))
    assert covid_ct_md.read(root).samples[0].infected == "4"


def test_an_array_without_the_rows_that_the_index_skips(root: Path) -> None:
    labels = np.load(root / "Slice-level-labels.npy")
    np.save(root / "Slice-level-labels.npy", labels[[0, 2]])
    assert [sample.infected for sample in covid_ct_md.read(root)] == ["1,3", "", "3", "none"]


def test_other_spellings_and_a_clone_of_the_repository(tmp_path: Path) -> None:
    series(tmp_path / "Sample data" / "Covid_19_Cases" / "P007", 2)
    series(tmp_path / "Sample data" / "NORMAL" / "normal009", 2)
    table = covid_ct_md.read(tmp_path)
    assert [(sample.file, sample.label) for sample in table] == [
        ("Sample data/Covid_19_Cases/P007", "COVID"),
        ("Sample data/NORMAL/normal009", "Normal"),
    ]
    assert table.warnings == ("no slice labels: Index.csv or Slice-level-labels.npy is not there",)


def test_labels_of_more_slices_than_there_are_are_refused(root: Path) -> None:
    labels = np.load(root / "Slice-level-labels.npy")
    labels[0, 5] = 1
    np.save(root / "Slice-level-labels.npy", labels)
    with pytest.raises(
        DatasetError, match=r"P001: its labels must fit its slices \(found: 5 slices; 8 slices .* 6\)"
    ):
        covid_ct_md.read(root)


def test_more_slices_than_labels_are_refused(root: Path) -> None:
    np.save(root / "Slice-level-labels.npy", np.zeros((3, 4)))
    with pytest.raises(
        DatasetError, match=r"P001: its labels must fit its slices \(found: 5 slices; 4 slices"
    ):
        covid_ct_md.read(root)


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.zeros((2, 8, 5)), r"must be an array \(patients, slices\) \(found: \(2, 8, 5\)\)"),
        (np.zeros((1, 8)), r"must have a row for every label index up to 2 \(found: 1 rows\)"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(root: Path, array: np.ndarray, rule: str) -> None:
    np.save(root / "Slice-level-labels.npy", array)
    with pytest.raises(DatasetError, match=rule):
        covid_ct_md.read(root)


def test_what_is_no_array_or_no_index_is_refused(root: Path) -> None:
    (root / "Slice-level-labels.npy").write_bytes(b"no array")
    with pytest.raises(DatasetError, match=r"Slice-level-labels\.npy: must be a NumPy array"):
        covid_ct_md.read(root)
    (root / "Index.csv").write_text("Label Index,Folder/ID\nx,P001\n")
    with pytest.raises(DatasetError, match=r"line 2: label index must be a whole number \(found: x\)"):
        covid_ct_md.read(root)


def test_without_any_patient(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold folders like COVID-19 subjects/P001"):
        load(tmp_path, "covid-ct-md")


def test_a_real_study_has_the_slices_that_were_counted_by_position(shared: Path, tmp_path: Path) -> None:
    real = shared / "data" / "ct_series"
    with (real / "slice_labels.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["patient"] == "P001"]
    labels = np.zeros((1, 200))
    for row in rows:
        labels[0, int(row["dataset_label_index"])] = int(row["infected"])
    np.save(tmp_path / "Slice-level-labels.npy", labels)
    (tmp_path / "Index.csv").write_text("Label Index,Folder/ID\n0,P001\n")
    (tmp_path / "Covid-19 subjects").mkdir()
    (tmp_path / "Covid-19 subjects" / "P001").symlink_to(real / "COVID" / "P001", target_is_directory=True)
    infected = {int(row["slice_index"]) for row in rows if row["infected"] == "1"}
    found = covid_ct_md.read(tmp_path).samples[0].infected
    runs = [[int(number) for number in run.split("-")] for run in found.split(",")]
    assert {number for run in runs for number in range(run[0], run[-1] + 1)} == infected
    assert len(infected) == 80
