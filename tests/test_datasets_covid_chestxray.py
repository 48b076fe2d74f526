from __future__ import annotations

from pathlib import Path

import pytest

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import covid_chestxray

HEADER = "patientid,offset,finding,view,modality,folder,filename,url\n"
ROWS = (
    "1,0,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.png,https://www.eurorad.org/case/1\n"
    "2,0,No Finding,AP Supine,X-ray,images,b.png,\n"
    "3,0,Pneumonia/Bacterial/Streptococcus,AP Erect,X-ray,images,c.png,https://radiopaedia.org/x\n"
    "4,0,Pneumonia/Viral/COVID-19,L,X-ray,images,lateral.png,\n"
    "5,0,Pneumonia/Viral/COVID-19,Axial,CT,volumes,d.nii.gz,\n"
    "6,0,todo,AP,X-ray,images,e.png,\n"
)


def test_frontal_x_rays_with_a_finding_are_read(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(HEADER + ROWS, encoding="utf-8")
    table = covid_chestxray.read(tmp_path)
    assert table.samples == (
        Sample("images/a.png", "COVID", "", "1", "eurorad.org", view="PA"),
        Sample("images/b.png", "Normal", "", "2", "covid-chestxray-dataset", view="AP SUPINE"),
        Sample("images/c.png", "Streptococcus", "", "3", "radiopaedia.org", view="AP ERECT"),
    )
    assert table.warnings == (
        "2 of 6 rows are no frontal X-ray: left out",
        "1 frontal X-rays have no finding: left out",
    )


def test_the_layout_is_recognised_and_split_by_patient_without_any_image_there(tmp_path: Path) -> None:
    rows = "".join(f"{n // 2},0,COVID-19,PA,X-ray,images,{n}.png,\n" for n in range(20))
    (tmp_path / "metadata.csv").write_text(HEADER + rows, encoding="utf-8")
    table = load(tmp_path)
    assert table.layout == "covid-chestxray-dataset"
    splits_of = {
        patient: {s.split for s in table if s.patient == patient} for patient in {s.patient for s in table}
    }
    assert len(splits_of) == 10
    assert all(len(splits) == 1 for splits in splits_of.values())


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("Pneumonia/Viral/COVID-19", "COVID"),
        ("COVID-19, ARDS", "COVID"),
        ("ARDS, COVID-19", "COVID"),
        ("No Finding", "Normal"),
        ("Pneumonia", "Pneumonia"),
        ("Tuberculosis", "Tuberculosis"),
        ("Pneumonia/Viral/SARS", "SARS"),
        ("Unknown", ""),
        ("", ""),
    ],
)
def test_the_label_of_a_finding(finding: str, label: str) -> None:
    assert covid_chestxray.label_of(finding) == label


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("patientid,finding\n1,COVID-19\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="needs column view, modality, folder, filename"):
        load(tmp_path)


def test_asked_for_by_name_where_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must hold metadata\.csv"):
        load(tmp_path, "covid-chestxray-dataset")
