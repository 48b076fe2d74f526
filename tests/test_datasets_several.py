from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import drawn
from films import write_manifest
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, SampleTable, load, manifest
from pulmoscope.datasets.several import joined, load_all, without_leaks


def folder(root: Path, name: str, *rows: tuple[str, str, str], source: str = "here") -> Path:
    """A data set with rows of (file, split, patient); no image is there."""
    columns = ("file", "split", "patient")
    write_manifest(
        root / name,
        [{**dict(zip(columns, row, strict=True)), "label": "COVID", "source": source} for row in rows],
    )
    return root / name


def where(table: SampleTable) -> dict[str, str]:
    return {sample.file: sample.split for sample in table}


def test_one_data_set_is_read_as_ever_but_for_its_hospitals(tmp_path: Path) -> None:
    one = folder(tmp_path, "one", ("a.png", "test", "p"), ("b.png", "test", "q"))
    found = load_all([one])
    assert (found.root, found.layout, where(found)) == (one, "manifest", {"a.png": "test", "b.png": "test"})
    assert {sample.hospital for sample in found} == {"here"}


def test_files_are_named_from_the_folder_in_common(tmp_path: Path) -> None:
    deep = folder(tmp_path / "deep", "one", ("x/a.png", "train", "p"), ("b.png", "val", "q"))
    far = folder(tmp_path, "two", (str(tmp_path / "far.png"), "train", "r"), ("c.png", "val", "s"))
    found = load_all([deep, far])
    assert found.root == tmp_path
    assert where(found) == {
        "deep/one/x/a.png": "train",
        "deep/one/b.png": "val",
        str(tmp_path / "far.png"): "train",
        "two/c.png": "val",
    }
    assert [found.path(s) for s in found][::3] == [deep / "x" / "a.png", far / "c.png"]


def test_masks_move_along_and_warnings_name_their_data_set(tmp_path: Path) -> None:
    one = SampleTable(tmp_path / "one", "manifest", (Sample("a", "x", mask="m"),), ("no patient ids",))
    two = SampleTable(tmp_path / "two", "manifest", (Sample("a", "x"),))
    found = joined([one, two])
    assert [(s.file, s.mask) for s in found] == [("one/a", "one/m"), ("two/a", "")]
    assert found.warnings == ("one: no patient ids",)


def test_a_data_set_is_given_once(tmp_path: Path) -> None:
    one = folder(tmp_path, "one", ("a.png", "train", "p"))
    with pytest.raises(DatasetError, match=r"^--data: a data set is given once"):
        load_all([one, tmp_path / "." / "one"])
    with pytest.raises(DatasetError, match=r"one/a\.png: a file is in one data set \(found: 1 in several\)"):
        load_all([one, one / "manifest.csv"])


def test_a_file_of_two_data_sets_is_found_by_whatever_name(tmp_path: Path) -> None:
    one = folder(tmp_path, "one", ("a.png", "train", "p"))
    whole = folder(tmp_path, "whole", (str(one / "a.png"), "train", "p"), ("b.png", "val", "q"))
    around = folder(tmp_path, "around", ("../one/a.png", "train", "p"), ("c.png", "val", "q"))
    for other in (whole, around):
        with pytest.raises(DatasetError, match=r"one/a\.png: a file is in one data set"):
            load_all([one, other])


def test_a_patient_of_several_splits_stays_in_the_strictest() -> None:
    samples = (
        Sample("1", "x", "train", "p"),
        Sample("2", "x", "test", "p"),
        Sample("3", "x", "val", "q"),
        Sample("4", "x", "train", "q"),
        Sample("5", "x", "train", "q"),
        Sample("6", "x", "train", ""),
        Sample("7", "x", "test", ""),
        Sample("8", "x", "", "p"),
        Sample("9", "x", "train", "r"),
    )
    found = without_leaks(SampleTable(Path(), "several", samples, ("before",)))
    assert [s.split for s in found] == ["", "test", "val", "", "", "train", "test", "", "train"]
    assert found.warnings == (
        "before",
        "2 patients have images in several splits: 3 images are left aside",
    )
    assert [s.file for s in found] == [s.file for s in samples]


def test_without_a_leak_nothing_changes() -> None:
    table = SampleTable(Path(), "several", (Sample("1", "x", "train", "p"), Sample("2", "x", "train", "p")))
    assert without_leaks(table) is table


def test_what_was_all_in_one_split_is_shared_out_by_patient(tmp_path: Path) -> None:
    films = drawn.table(tmp_path / "out", train=0, val=0, test=20, classes=("COVID", "Normal"), patients=10)
    manifest.write_table(tmp_path / "out" / "manifest.csv", films)
    other = folder(tmp_path, "other", ("a.png", "train", "p"), ("b.png", "val", "q"))
    trained = folder(tmp_path, "trained", ("a.png", "train", "r"), ("b.png", "train", "s"))
    found = load_all([tmp_path / "out", other, trained])
    again = load_all([other, tmp_path / "out", trained])
    assert where(found) == where(again)
    counts = Counter(s.split for s in found if s.file.startswith("out/"))
    # 15 % of a class's 20 films are 3: two patients of two films each come nearest.
    assert counts == {"train": 24, "val": 8, "test": 8}
    places = {(s.patient, s.split) for s in found}
    assert max(Counter(patient for patient, _ in places).values()) == 1
    assert {s.split for s in found if s.file.startswith("trained/")} == {"train"}  # made to learn from
    told = [warning for warning in found.warnings if warning.startswith("out: ")]
    assert len(told) == 1
    assert told[0].startswith("out: all in test: shared out here (70 % train, 15 % val, 15 % test;")
    assert {s.split for s in load(tmp_path / "out")} == {"test"}
