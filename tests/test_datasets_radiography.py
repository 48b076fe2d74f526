from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import Workbook

from films import film, save
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import load
from pulmoscope.datasets.layouts import radiography

RSNA = "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"


def spreadsheet(path: Path, rows: list[list[object]]) -> None:
    book = Workbook()
    for row in [["FILE NAME", "FORMAT", "SIZE", "URL"], *rows]:
        book.active.append(row)
    book.save(path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        save(tmp_path / "COVID" / "images" / f"COVID-{number}.png", film(number, 64))
        save(tmp_path / "Normal" / "images" / f"Normal-{number}.png", film(10 + number, 64))
    save(tmp_path / "Viral Pneumonia" / "images" / "Viral Pneumonia-1.png", film(20, 64))
    save(tmp_path / "Lung_Opacity" / "images" / "Lung_Opacity-1.png", film(30, 64))
    save(tmp_path / "COVID" / "masks" / "COVID-1.png", film(1, 64))
    spreadsheet(
        tmp_path / "COVID.metadata.xlsx",
        [
            ["COVID-1", "PNG", "256*256", "https://sirm.org/category/covid-19/"],
            ["COVID-2", "PNG", "256*256", "https://github.com/armiro/COVID-CXNet"],
        ],
    )
    spreadsheet(
        tmp_path / "Normal.metadata.xlsx", [[f"NORMAL-{n}", "PNG", "256*256", RSNA] for n in (1, 2, 3, 4)]
    )
    return tmp_path


def test_labels_sources_and_masks(database: Path) -> None:
    table = load(database)
    assert table.layout == "radiography-database"
    assert table.classes == ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
    found = {Path(sample.file).stem: (sample.source, sample.mask) for sample in table}
    rsna = "kaggle.com/rsna-pneumonia-detection-challenge"
    assert found == {
        "COVID-1": ("sirm.org", "COVID/masks/COVID-1.png"),
        "COVID-2": ("github.com/armiro/COVID-CXNet", ""),
        "COVID-3": ("", ""),
        "Normal-1": (rsna, ""),
        "Normal-2": (rsna, ""),
        "Normal-3": (rsna, ""),
        "Viral Pneumonia-1": ("", ""),
        "Lung_Opacity-1": ("", ""),
    }


def test_every_gap_between_sheets_and_images_is_told(database: Path) -> None:
    said = "\n".join(load(database).warnings)
    assert "1 of 3 images are not in COVID.metadata.xlsx" in said
    assert "Normal.metadata.xlsx: 1 of 4 rows name an image that is not there" in said
    assert "no sources: Viral Pneumonia.metadata.xlsx is not there" in said
    assert "no patient ids: 8 of 8" in said


def test_a_damaged_spreadsheet_is_refused_in_one_line(database: Path) -> None:
    (database / "COVID.metadata.xlsx").write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match=r"COVID\.metadata\.xlsx: must be an \.xlsx spreadsheet"):
        load(database)


def test_a_spreadsheet_without_its_columns_is_refused(database: Path) -> None:
    book = Workbook()
    book.active.append(["NAME", "URL"])
    book.save(database / "COVID.metadata.xlsx")
    with pytest.raises(DatasetError, match=r"row 1: needs column FILE NAME \(found: NAME, URL\)"):
        load(database)


def test_a_folder_without_class_folders_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold folders like COVID/images"):
        load(tmp_path, "radiography-database")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (RSNA, "kaggle.com/rsna-pneumonia-detection-challenge"),
        ("https://www.kaggle.com/someone/chest-xray-pneumonia", "kaggle.com/someone/chest-xray-pneumonia"),
        ("https://github.com/someone/images/tree/master/png", "github.com/someone/images"),
        ("https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#1590858128006", "bimcv.cipf.es"),
        ("eurorad.org", "eurorad.org"),
        ("", ""),
    ],
)
def test_the_collection_behind_a_url(url: str, expected: str) -> None:
    assert radiography.collection(url) == expected
