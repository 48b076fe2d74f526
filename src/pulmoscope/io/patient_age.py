"""Whether a DICOM file shows a child: no model was checked on children alone, so that a child's image goes to a person.

Of the patient's dates only whole years leave this module.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.io.dicom_rules import code

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pydicom.dataset import Dataset

CHILD = "child"
"""The flag's code."""
ADULT = 18
"""Years."""
OLDEST = 130
"""Years; a birth date farther back is a placeholder."""
_DAYS_A_YEAR = 365.25
_DAYS = {"D": 1.0, "W": 7.0, "M": _DAYS_A_YEAR / 12}
_STUDY_DATES = (
    "StudyDate",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "ContentDate",
    "SeriesDate",
)


def child_flags(dataset: Dataset) -> tuple[Flag, ...]:
    """A flag that refers the image of a patient under 18; none for adults, and where the file does not say."""
    age_years = age(dataset)
    if age_years is None or age_years[0] >= ADULT:
        return ()
    years, source = age_years
    shown = "1 year" if years == 1 else f"{years} years"
    rule = f"at least {ADULT} years: no model was checked on children alone"
    return (Flag(CHILD, FlagLevel.REFUSE, f"the patient's age is {shown}, by {source}", rule),)


def age(dataset: Dataset) -> tuple[int, str] | None:
    """The patient's age at the study in whole years, and which element says so; None where none does.

    PatientAge is three digits and a unit (PS3.5 6.2, AS). Fewer or more digits are read too, and a bare number is
    taken for years: the RSNA's and NIH's radiographs are written so, and a wrong guess can only refer an image. Where
    PatientAge says nothing, PatientBirthDate is held against the first date of the study that makes sense; also where
    it says 0 years, which devices write for an age that nobody gave them, and which counts where there are no dates.
    """
    written = re.fullmatch(r"(\d{1,4})\s*([DWMY]?)", code(dataset, "PatientAge"))
    if written:
        number, unit = int(written[1]), written[2]
        # A sum of months and weeks in floating point must not lose a birthday: 12 months are a year.
        years = number if unit in ("", "Y") else int(number * _DAYS[unit] / _DAYS_A_YEAR + 1e-9)
        return (number == 0 and unit in ("", "Y") and _by_dates(dataset)) or (years, "PatientAge")
    return _by_dates(dataset)


def _by_dates(dataset: Dataset) -> tuple[int, str] | None:
    """The age by PatientBirthDate and the first date of the study that makes sense."""
    born = _date(code(dataset, "PatientBirthDate"))
    if born is None:
        return None
    for keyword in _STUDY_DATES:
        day = _date(code(dataset, keyword))
        if day is not None:
            years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
            if 0 <= years <= OLDEST:
                return years, f"PatientBirthDate and {keyword}"
    return None


def iso_date(text: str) -> str:
    """A date as ``2020-03-14``; empty where it is none."""
    day = _date(text)
    return "" if day is None else day.isoformat()


def _date(text: str) -> datetime.date | None:
    """A date (PS3.5 6.2, DA and DT; with dots as ACR-NEMA wrote it); None where it is none."""
    match = re.match(r"(\d{4})(\.?)(\d\d)\2(\d\d)", text)
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
