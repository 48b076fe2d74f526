"""Data sets read together: whose patient is whose, and what is there twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import drawn
from pulmoscope.datasets.hospitals import without
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.bootstrap import units


def data_set(root: Path, name: str, rows: str) -> Path:
    """A data set with these rows ``file,label,split,patient,source``; files that are not there yet are made."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    for row in rows.split():
        file = folder / row.split(",")[0]
        if not file.exists():
            file.write_bytes(f"{name} {file.name}".encode())
    (folder / "manifest.csv").write_text(f"file,label,split,patient,source\n{rows}\n", encoding="utf-8")
    return folder


def splits(table: SampleTable) -> dict[str, str]:
    return {sample.file: sample.split for sample in table}


def test_an_id_means_a_patient_within_a_hospital(tmp_path: Path) -> None:
    one = data_set(
        tmp_path, "one", "a.png,COVID,train,7,north\nb.png,Normal,test,8,north\nc.png,Normal,val,9,"
    )
    two = data_set(
        tmp_path, "two", "a.png,COVID,test,7,south\nb.png,Normal,train,8,north\nc.png,Normal,test,9,"
    )
    found = load_all([one, two])
    assert [sample.patient for sample in found] == ["north: 7", "8", "one: 9", "south: 7", "8", "two: 9"]
    assert len(set(units([sample.patient for sample in found]))) == 5
    assert splits(found)["one/a.png"] == "train"
    assert splits(found)["two/b.png"] == ""
    assert "1 patients have images in several splits" in found.warnings[-1]


@pytest.mark.parametrize("swapped", [False, True])
def test_exact_copies_are_kept_once_and_leave_with_their_hospital(swapped: bool, tmp_path: Path) -> None:
    one = data_set(tmp_path, "one", "a.png,COVID,train,1,\nb.png,Normal,val,2,")
    (tmp_path / "two").mkdir()
    shutil.copy(one / "a.png", tmp_path / "two" / "copy.png")
    two = data_set(
        tmp_path, "two", "copy.png,COVID,test,x,south\nd.png,COVID,train,x,south\ne.png,Normal,val,,south"
    )
    found = load_all([two, one] if swapped else [one, two])
    kept = "two/copy.png" if swapped else "one/a.png"
    assert splits(found) == {kept: "test", "one/b.png": "val", "two/d.png": "", "two/e.png": "val"}
    assert next(sample.hospital for sample in found if sample.file == kept) == "south"
    assert found.warnings[-1] == "exact copies in several data sets: 1 are left out, the first is kept"
    assert [sample.file for sample in without(found, ["south"])] == ["one/b.png"]


def test_a_data_set_that_is_shared_out_says_what_that_means(tmp_path: Path) -> None:
    rows = {}
    classes = ("COVID", "Normal")
    for name, split in (("mine", "train"), ("external", "test")):
        films = drawn.table(tmp_path / name, train=8, val=0, classes=classes)
        classes = classes[::-1]  # other films, not copies
        rows[name] = "\n".join(f"{own.file},{own.label},{split},{name}{own.file},{name}" for own in films)
        data_set(tmp_path, name, rows[name])
    (tmp_path / "mine" / "manifest.csv").write_text(
        f"file,label,split,patient,source\n{rows['mine']}\n".replace(",train,", ",val,", 1), encoding="utf-8"
    )
    found = load_all([tmp_path / "mine", tmp_path / "external"])
    told = [warning for warning in found.warnings if warning.startswith("external: ")]
    assert len(told) == 1
    assert told[0].startswith("external: all images were in split test: shared out by patient")
    assert told[0].endswith("evaluate with RUN/images.csv")
