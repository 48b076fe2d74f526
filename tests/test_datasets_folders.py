from __future__ import annotations

from pathlib import Path

from films import film, save
from pulmoscope.datasets import load
from pulmoscope.datasets.layouts import folders


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_splits_come_from_the_folders_above_the_classes(tmp_path: Path) -> None:
    for name in ("train/COVID/a.png", "train/Normal/b.JPG", "Validation/COVID/c.dcm", "test/Normal/d.tiff"):
        touch(tmp_path / name)
    table = load(tmp_path)
    assert table.layout == "class-folders"
    assert sorted((sample.file, sample.label, sample.split) for sample in table) == [
        ("Validation/COVID/c.dcm", "COVID", "val"),
        ("test/Normal/d.tiff", "Normal", "test"),
        ("train/COVID/a.png", "COVID", "train"),
        ("train/Normal/b.JPG", "Normal", "train"),
    ]
    assert any("no patient ids" in line for line in table.warnings)


def test_a_class_may_be_called_train_when_not_all_folders_are_splits(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a.png")
    touch(tmp_path / "plane" / "b.png")
    assert {sample.label for sample in folders.read(tmp_path)} == {"train", "plane"}


def test_only_images_count_and_hidden_things_do_not(tmp_path: Path) -> None:
    for name in ("COVID/a.png", "COVID/notes.txt", "COVID/.b.png", ".cache/c.png", "readme.png"):
        touch(tmp_path / name)
    assert [sample.file for sample in folders.read(tmp_path)] == ["COVID/a.png"]


def test_without_splits_they_are_drawn_the_same_every_time(tmp_path: Path) -> None:
    for label, first in (("COVID", 0), ("Normal", 100)):
        for number in range(10):
            save(tmp_path / label / f"{number}.png", film(first + number, 64))
    table = load(tmp_path)
    assert table.splits == ("train", "val", "test")
    assert table.samples == load(tmp_path).samples
    assert any(line.startswith("no splits: drawn here") for line in table.warnings)
    in_train = [sample.label for sample in table if sample.split == "train"]
    assert (in_train.count("COVID"), in_train.count("Normal")) == (7, 7)


def test_val_is_drawn_from_train_where_there_is_only_train_and_test(tmp_path: Path) -> None:
    for label, first in (("COVID", 0), ("Normal", 100)):
        for number in range(10):
            save(tmp_path / "train" / label / f"{number}.png", film(first + number, 64))
        save(tmp_path / "train" / label / "0-again.jpg", film(first, 64) * 0.9)
        save(tmp_path / "test" / label / "0.png", film(first + 50, 64))
    table = load(tmp_path)
    assert table.splits == ("train", "val", "test")
    assert {s.file for s in table if s.split == "test"} == {"test/COVID/0.png", "test/Normal/0.png"}
    split_of = {sample.file: sample.split for sample in table}
    for label in table.classes:
        assert split_of[f"train/{label}/0.png"] == split_of[f"train/{label}/0-again.jpg"]
        assert sum(s.split == "val" and s.label == label for s in table) in (1, 2)
    assert any(
        line.startswith("no val: drawn here from train (85 % train, 15 % val") for line in table.warnings
    )


def test_a_folder_with_only_a_test_split_is_left_as_it_is(tmp_path: Path) -> None:
    for name in ("test/COVID/a.png", "test/Normal/b.png"):
        touch(tmp_path / name)
    assert load(tmp_path).splits == ("test",)
