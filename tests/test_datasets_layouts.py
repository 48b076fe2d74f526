from __future__ import annotations

from pathlib import Path

import pytest

from ct_trees import TREES
from films import film, save, write_manifest
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import load
from pulmoscope.datasets.layouts.detect import LAYOUTS


def test_a_manifest_goes_before_the_folders_around_it(tmp_path: Path) -> None:
    save(tmp_path / "COVID" / "images" / "a.png", film(1))
    write_manifest(tmp_path, [{"file": "COVID/images/a.png", "label": "ill", "split": "test"}])
    assert load(tmp_path).layout == "manifest"
    assert load(tmp_path, "radiography-database").samples[0].label == "COVID"


def test_nothing_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such data set"):
        load(tmp_path / "absent")


def test_an_unknown_folder_lists_the_layouts(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as caught:
        load(tmp_path)
    assert all(name in str(caught.value) for name in LAYOUTS)


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="coco: is no layout"):
        load(tmp_path, "coco")


def test_a_layout_without_any_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "COVID" / "images").mkdir(parents=True)
    with pytest.raises(
        DatasetError, match=r"at least one image \(found: none in layout radiography-database\)"
    ):
        load(tmp_path)


def test_drawn_splits_keep_near_duplicates_together(tmp_path: Path) -> None:
    for number in range(12):
        picture = film(number)
        save(tmp_path / "COVID" / f"{number}.png", picture)
        save(tmp_path / "COVID" / f"{number}-again.jpg", picture * 0.9)
    split_of = {Path(sample.file).stem: sample.split for sample in load(tmp_path)}
    assert set(split_of.values()) == {"train", "val", "test"}
    assert all(split_of[str(number)] == split_of[f"{number}-again"] for number in range(12))


def test_an_unreadable_image_does_not_stop_the_drawing_of_splits(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "COVID" / f"{number}.png", film(number))
    (tmp_path / "COVID" / "broken.png").write_bytes(b"no picture")
    assert len(load(tmp_path)) == 5


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_tree_of_a_ct_data_set_is_of_one_layout_only(tmp_path: Path, name: str) -> None:
    data = TREES[name](tmp_path / "data")
    claimed = [layout for layout, known in LAYOUTS.items() if known.module.recognise(data)]
    # plain class folders are what is left where nothing else fits: they come last
    assert [layout for layout in claimed if layout != "class-folders"] == [name]
    assert load(data).layout == name


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_ct_layout_claims_x_rays(tmp_path: Path, name: str) -> None:
    save(tmp_path / "classes" / "COVID" / "a.png", film(1))
    save(tmp_path / "classes" / "non-COVID" / "b.png", film(2))
    save(tmp_path / "database" / "COVID" / "images" / "COVID-1.png", film(1))
    save(tmp_path / "splits" / "test" / "Normal" / "a.png", film(1))
    assert not any(
        LAYOUTS[name].module.recognise(tmp_path / data) for data in ("classes", "database", "splits")
    )


def test_plain_class_folders_come_last() -> None:
    assert (next(iter(LAYOUTS)), next(reversed(LAYOUTS))) == ("manifest", "class-folders")


def test_a_real_manifest_has_its_documented_counts(shared: Path) -> None:
    table = load(shared / "data" / "xray4")
    counts = {
        (label, split): sum(s.label == label and s.split == split for s in table)
        for label in table.classes
        for split in table.splits
    }
    assert counts[("COVID", "train")] == counts[("Normal", "train")] == 800
    assert counts[("Tuberculosis", "val")] == counts[("Viral Pneumonia", "val")] == 150
    assert len(table) == 4000
