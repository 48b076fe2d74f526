from __future__ import annotations

from pathlib import Path

import pytest

from ct_trees import covidx_ct as tree
from films import film, save
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import covidx_ct


def test_one_sample_a_slice_with_its_split_patient_and_source(tmp_path: Path) -> None:
    table = load(tree(tmp_path))
    assert table.layout == "covidx-ct"
    assert table.samples == (
        Sample("2A_images/NCP_1_10_0001.png", "COVID", "train", "NCP_1", "CNCB"),
        Sample("2A_images/NCP_10_11_0002.png", "COVID", "train", "NCP_10", "CNCB"),
        Sample("2A_images/CP_7_3_0003.png", "CAP", "train", "CP_7", "COVIDx-CT"),
        Sample("2A_images/Normal_5_2_0001.png", "Normal", "val", "Normal_5", "COVIDx-CT"),
        Sample("2A_images/COVIDCTMD-P004-IM0007.png", "COVID", "val", "COVIDCTMD-P004", "COVIDx-CT"),
        Sample("2A_images/HUST-Patient8-0004.png", "COVID", "test", "HUST-Patient8", "iCTCF"),
        Sample(
            "2A_images/volume-covid19-A-0011-0034.png", "COVID", "test", "volume-covid19-A-0011", "COVIDx-CT"
        ),
    )
    assert table.warnings == ("1 of 8 listed pictures are not there: left out",)


def test_version_1_has_other_names(tmp_path: Path) -> None:
    save(tmp_path / "images" / "CP_0_3136_0207.png", film(1, 64))
    save(tmp_path / "NCP_2_1_0001.png", film(2, 64))
    (tmp_path / "train_COVIDx-CT.txt").write_text("CP_0_3136_0207.png 1 0 0 5 5\n")
    (tmp_path / "test_COVIDx-CT.txt").write_text("NCP_2_1_0001.png 2 0 0 5 5\n")
    table = covidx_ct.read(tmp_path)
    assert [(sample.file, sample.split, sample.patient) for sample in table] == [
        ("images/CP_0_3136_0207.png", "train", "CP_0"),
        ("NCP_2_1_0001.png", "test", "NCP_2"),
    ]
    assert table.warnings == ("no sources: metadata.csv is not there",)


def test_of_several_versions_the_last_with_confirmed_diagnoses_is_read(tmp_path: Path) -> None:
    tree(tmp_path)
    tree(tmp_path, "3A")
    (tmp_path / "train_COVIDx_CT-3B.txt").write_text("x.png 0 0 0 1 1\n")
    table = covidx_ct.read(tmp_path)
    assert {sample.file.split("/")[0] for sample in table} == {"3A_images"}
    assert "several versions of the listings: 3A is read (also there: 2A, 3B)" in table.warnings


@pytest.mark.parametrize("line", ["a.png 3 0 0 1 1", "a.png 1 0 0 1", "a.png 1 0 0 x 1", "a.png one 0 0 1 1"])
def test_a_line_that_is_not_as_described_is_refused(tmp_path: Path, line: str) -> None:
    tree(tmp_path)
    (tmp_path / "val_COVIDx_CT-2A.txt").write_text(f"Normal_5_2_0001.png 0 0 1 60 50\n{line}\n")
    with pytest.raises(
        DatasetError, match=rf"val_COVIDx_CT-2A\.txt, line 2: must be filename, class .*{line}"
    ):
        covidx_ct.read(tmp_path)


def test_listings_without_any_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train_COVIDx_CT-3A.txt").write_text("a.png 1 0 0 1 1\nb.png 1 0 0 1 1\n")
    with pytest.raises(DatasetError, match="none of the 2 pictures that the listings name is there"):
        load(tmp_path)


def test_metadata_without_its_columns_are_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "metadata.csv").write_text("patient,source\n1,a\n")
    with pytest.raises(DatasetError, match="needs column patient id"):
        load(tmp_path)


def test_without_any_listing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold listings like train_COVIDx_CT-2A"):
        load(tmp_path, "covidx-ct")
