"""Whom a DICOM file shows and when it was made, for linking values to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pulmoscope.core.files import sha256_of
from pulmoscope.core.values import Moment
from pulmoscope.io import Entry
from pulmoscope.io.subject import Subject, subject_of
from radiographs import chest, dicom_file, encoded


def subject(path: Path, **elements: object) -> Subject:
    dicom_file(path / "a.dcm", chest(), **elements)
    return subject_of(Entry("a.dcm", "", path / "a.dcm"))


def test_what_a_header_says(tmp_path: Path) -> None:
    found = subject(tmp_path, PatientAge="062Y", PatientSex="F", StudyDate="20200314", StudyTime="103015.5")
    moment = datetime(2020, 3, 14, 10, 30, 15)
    assert found == Subject(sha256_of(b"SECRET-ID"), Moment(moment, moment), 62, "F")
    assert repr(found) == "Subject()"


@pytest.mark.parametrize(
    ("elements", "start", "is_day"),
    [
        ({"StudyDate": "20200314"}, datetime(2020, 3, 14), True),
        ({"StudyDate": "20200314", "StudyTime": "1030"}, datetime(2020, 3, 14, 10, 30), False),
        (
            {"StudyDate": "20200314", "StudyTime": "1030", "AcquisitionDate": "20200315"},
            datetime(2020, 3, 14, 10, 30),
            False,
        ),
        (
            {"AcquisitionDateTime": "20200316083000.000000", "StudyDate": "20200314", "StudyTime": "1030"},
            datetime(2020, 3, 16, 8, 30),
            False,
        ),
    ],
)
def test_the_time_nearest_to_the_exposure(
    tmp_path: Path, elements: dict[str, str], start: datetime, is_day: bool
) -> None:
    taken = subject(tmp_path, **elements).taken
    assert taken is not None
    assert (taken.start, taken.is_day) == (start, is_day)


def test_the_zone_of_a_header(tmp_path: Path) -> None:
    found = subject(tmp_path, StudyDate="20200314", StudyTime="10", TimezoneOffsetFromUTC="-0330")
    assert found.taken is not None
    assert found.taken.is_day  # an hour without minutes is no time here
    found = subject(tmp_path, StudyDate="20200314", StudyTime="1000", TimezoneOffsetFromUTC="-0330")
    assert found.taken is not None
    assert found.taken.zone == timedelta(hours=-3.5)


def test_other_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(chest(), "PNG"))
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    for name in ("a.png", "b.dcm", "missing"):
        assert subject_of(Entry(name, "", tmp_path / name)) == Subject()
    assert subject(tmp_path, PatientID="", PatientSex="O", PatientAge="x") == Subject()
