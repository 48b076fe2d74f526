from __future__ import annotations

from pathlib import Path

import pytest

from ct_trees import ucsd_covid_ct as tree
from films import film, save
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import ucsd_covid_ct

SOURCE = "UCSD COVID-CT"


def test_labels_with_the_published_splits_and_patients(tmp_path: Path) -> None:
    table = ucsd_covid_ct.read(tree(tmp_path))
    covid, other = "Images-processed/CT_COVID", "Images-processed/CT_NonCOVID"
    assert table.samples == (
        Sample(f"{covid}/2020.02.10.p6-52%0.png", "COVID", "train", "COVID Patient 1", SOURCE),
        Sample(f"{covid}/b.png", "COVID", "test", "COVID Patient 1", SOURCE),
        Sample(f"{covid}/c.png", "COVID", "", "", SOURCE),
        Sample(f"{other}/0.jpg", "non-COVID", "train", "non-COVID Patient 1", SOURCE),
        Sample(f"{other}/1%2.jpg", "non-COVID", "test", "", SOURCE),
        Sample(f"{other}/2.jpg", "non-COVID", "", "", SOURCE),
    )
    assert table.warnings == (
        "no patient ids: 3 of 6 images; a patient may be in two splits without being seen",
        "CT_COVID: 1 of 3 listed pictures are not there",
        "CT_NonCOVID: 1 of 3 listed pictures are not there",
        "no split: 2 of 6 images are in no listing and are left aside",
    )


def test_pictures_alone_are_enough(tmp_path: Path) -> None:
    save(tmp_path / "CT_COVID" / "a.png", film(1, 64))
    save(tmp_path / "CT_NonCOVID" / "b.png", film(2, 64))
    assert [(sample.file, sample.label) for sample in load(tmp_path)] == [
        ("CT_COVID/a.png", "COVID"),
        ("CT_NonCOVID/b.png", "non-COVID"),
    ]


def test_packed_pictures_are_recognised_and_refused(tmp_path: Path) -> None:
    (tmp_path / "Images-processed").mkdir()
    (tmp_path / "Images-processed" / "CT_COVID.zip").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"must be unpacked .*\(found: Images-processed/CT_COVID\.zip\)"):
        load(tmp_path)


def test_a_picture_in_two_listings_is_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "Data-split" / "COVID" / "testCT_COVID.txt").write_text("gone.png\n")
    with pytest.raises(
        DatasetError, match=r"testCT_COVID\.txt: a picture is in one split \(found: gone\.png also in val"
    ):
        load(tmp_path)


def test_a_table_of_patients_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "NonCOVID-CT-MetaInfo.csv").write_text("image name,age\n0.jpg,50\n")
    with pytest.raises(
        DatasetError, match=r"needs a column .* patient id or patient \(found: image name, age\)"
    ):
        load(tmp_path)


def test_without_its_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold Images-processed/CT_COVID and CT_NonCOVID"):
        load(tmp_path, "ucsd-covid-ct")
