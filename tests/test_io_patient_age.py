from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ct_series import write_series
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.io import entries, read_scan, sources, studies
from pulmoscope.io.patient_age import age, child_flags
from pulmoscope.io.xray.dicom import decode
from radiographs import chest, dicom_bytes, dicom_dataset
from refusals import figures


def tags(dataset: Dataset | None = None, **elements: str) -> Dataset:
    """A dataset with these elements, however odd."""
    dataset = Dataset() if dataset is None else dataset
    for keyword, value in elements.items():
        vr = "AS" if keyword == "PatientAge" else "DT" if keyword.endswith("DateTime") else "DA"
        dataset.add(DataElement(keyword, vr, value, validation_mode=IGNORE))
    return dataset


@pytest.mark.parametrize(
    ("written", "years"),
    [
        ("009Y", 9),
        ("017Y", 17),
        ("018Y", 18),
        ("010M", 0),
        ("012M", 1),
        ("216M", 18),  # 18 x 12
        ("215M", 17),
        ("012W", 0),
        ("052W", 0),  # 364 days
        ("053W", 1),  # 371 days
        ("020D", 0),
        ("366D", 1),
        ("62", 62),
        ("7", 7),
        ("9y", 9),
        (" 045Y ", 45),
    ],
)
def test_an_age_is_whole_years(written: str, years: int) -> None:
    assert age(tags(PatientAge=written)) == (years, "PatientAge")


@pytest.mark.parametrize("written", ["", " ", "-1Y", "Y", "12.5", "ABC", "012X", "12345"])
def test_what_is_no_age_says_nothing(written: str) -> None:
    assert age(tags(PatientAge=written)) is None
    dated = tags(PatientAge=written, PatientBirthDate="20100610", StudyDate="20200101")
    assert age(dated) == (9, "PatientBirthDate and StudyDate")


def test_no_tags_say_nothing() -> None:
    assert age(tags()) is None
    assert child_flags(tags()) == ()


@pytest.mark.parametrize(
    ("day", "years"), [("20200609", 9), ("20200610", 10), ("20200611", 10), ("2020.06.10", 10)]
)
def test_a_birthday_counts_on_its_day(day: str, years: int) -> None:
    assert age(tags(PatientBirthDate="20100610", StudyDate=day)) == (years, "PatientBirthDate and StudyDate")


def test_the_first_date_that_makes_sense_counts() -> None:
    born = {"PatientBirthDate": "20100610"}
    later = age(tags(**born, StudyDate="19010101", AcquisitionDate="20210101"))
    assert later == (10, "PatientBirthDate and AcquisitionDate")
    timed = age(tags(**born, StudyDate="", AcquisitionDateTime="20200610101112.5"))
    assert timed == (10, "PatientBirthDate and AcquisitionDateTime")
    assert age(tags(**born, ContentDate="20151231")) == (5, "PatientBirthDate and ContentDate")
    assert age(tags(**born, StudyDate="20201340")) is None  # no month 13
    assert age(tags(PatientBirthDate="18500101", StudyDate="20200101")) is None  # a placeholder


def test_the_age_that_is_written_counts_before_the_dates() -> None:
    both = tags(PatientAge="040Y", PatientBirthDate="20100610", StudyDate="20200101")
    assert age(both) == (40, "PatientAge")


@pytest.mark.parametrize("written", ["000Y", "0", "000"])
def test_an_age_of_0_years_counts_after_the_dates(written: str) -> None:
    dated = tags(PatientAge=written, PatientBirthDate="19600610", StudyDate="20200101")
    assert age(dated) == (59, "PatientBirthDate and StudyDate")
    assert age(tags(PatientAge=written)) == (0, "PatientAge")
    assert age(tags(PatientAge="000D", PatientBirthDate="19600610", StudyDate="20200101")) == (
        0,
        "PatientAge",
    )


def test_a_childs_film_is_referred_and_says_no_date() -> None:
    picture = decode(
        dicom_bytes(dicom_dataset(chest(), PatientBirthDate="20100610", StudyDate="20200101")), "x.dcm"
    )
    (flag,) = picture.remarks
    assert (flag.code, flag.level) == ("child", FlagLevel.REFUSE)
    assert figures(flag.message) == (9, 18)  # years; no date


@pytest.mark.parametrize(("written", "years"), [("010M", 0), ("001Y", 1), ("17", 17)])
def test_the_flag_says_whole_years(written: str, years: int) -> None:
    (flag,) = child_flags(tags(PatientAge=written))
    assert figures(flag.finding) == (years,)


def test_an_adults_film_says_nothing() -> None:
    assert decode(dicom_bytes(tags(dicom_dataset(chest()), PatientAge="018Y")), "x.dcm").remarks == ()
    assert decode(dicom_bytes(tags(dicom_dataset(chest()), PatientAge="62")), "x.dcm").remarks == ()


def test_a_childs_ct_is_referred_once_and_known_by_its_headers(tmp_path: Path) -> None:
    write_series(tmp_path / "child", PatientAge="010M")
    write_series(tmp_path / "adult", PatientAge="040Y")

    def told(remarks: tuple[Flag, ...]) -> list[str]:
        return [flag.finding for flag in remarks if flag.code == "child"]

    (finding,) = told(read_scan(tmp_path / "child").remarks)
    assert figures(finding) == (0,)
    assert told(read_scan(tmp_path / "adult").remarks) == []
    (study,) = studies(entries([tmp_path / "child"]))
    assert told(sources(study).remarks) == [finding]
