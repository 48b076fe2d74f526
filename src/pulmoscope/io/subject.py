"""Whom a DICOM file shows, and when it was made: for linking values to it, and written nowhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pulmoscope.core.errors import InputError
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.values import Moment
from pulmoscope.io.dicom_rules import code
from pulmoscope.io.formats import HEAD, format_of
from pulmoscope.io.inputs import Entry
from pulmoscope.io.patient_age import age, iso_date

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pydicom.dataset import Dataset

_KINDS = ("Acquisition", "Content", "Series", "Study")
"""Of dates and times, the nearest to the exposure first."""
_TAGS = (
    "PatientID",
    "PatientAge",
    "PatientBirthDate",
    "PatientSex",
    "AcquisitionDateTime",
    "TimezoneOffsetFromUTC",
    *(f"{kind}{part}" for kind in _KINDS for part in ("Date", "Time")),
)


@dataclass(frozen=True)
class Subject:
    """Whom an image shows, and when it was made, as far as its header says.

    Attributes:
        patient: a checksum of PatientID; empty where there is none.
        taken: when it was made.
        age: whole years then.
        sex: ``M``, ``F`` or empty.
    """

    patient: str = field(default="", repr=False)
    taken: Moment | None = field(default=None, repr=False)
    age: int | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)


def subject_of(entry: Entry) -> Subject:
    """What the header of a file says; nothing of a file that is not DICOM, or that can't be read."""
    try:
        with entry.open() as stream:
            if format_of(stream.read(HEAD)) != "DICOM":
                return Subject()
            stream.seek(0)
            from pulmoscope.io.ct.header import read_dataset

            dataset, _ = read_dataset(stream, entry.name, _TAGS)
    except (InputError, OSError):
        return Subject()
    except Exception:  # damaged bytes raise errors of any class; what reads the image says what is wrong
        return Subject()
    years, sex = age(dataset), code(dataset, "PatientSex")
    return Subject(
        patient_sum(str(dataset.get("PatientID", ""))),
        _taken(dataset),
        None if years is None else years[0],
        sex if sex in ("M", "F") else "",
    )


def _taken(dataset: Dataset) -> Moment | None:
    """The first date that makes sense, with its time; a date alone only where none has a time."""
    stamp = code(dataset, "AcquisitionDateTime")
    days = [(stamp[:8], stamp[8:])]
    days += [(code(dataset, f"{kind}Date"), code(dataset, f"{kind}Time")) for kind in _KINDS]
    found = [moment for day, time in days if (moment := _moment(day, time)) is not None]
    taken = next((moment for moment in found if not moment.is_day), found[0] if found else None)
    if taken is None or taken.is_day:
        return taken
    zone = re.fullmatch(r"([+-])(\d\d)(\d\d)", code(dataset, "TimezoneOffsetFromUTC"))
    ahead = None if zone is None else timedelta(hours=int(zone[2]), minutes=int(zone[3]))
    return Moment(
        taken.start, taken.end, ahead if zone is None or ahead is None or zone[1] == "+" else -ahead
    )


def _moment(day: str, time: str) -> Moment | None:
    """A date (DA) with a time (TM): hours and minutes, what is finer only where it is given (PS3.5 6.2)."""
    clock = re.match(r"(\d\d):?(\d\d)(?::?(\d\d))?", time)
    written = f"T{clock[1]}:{clock[2]}:{clock[3] or '00'}" if clock else ""
    return Moment.of(f"{iso_date(day)}{written}")
