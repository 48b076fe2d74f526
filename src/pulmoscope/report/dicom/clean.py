"""What of a source's header DICOM objects take over, mended where it is not valid; the source itself stays as it is.

Objects copy elements of the images that they are about: who the patient is, which study it is, where slices lie. An
age of ``34`` or a spacing of 0 there would be an error in every one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds, validate_value

from pulmoscope.io.patient_age import iso_date

_TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName
"""
_TYPE_3 = """
    IssuerOfPatientID PatientAge PatientSize PatientWeight StudyDescription TimezoneOffsetFromUTC
    Modality SeriesNumber SeriesDate SeriesTime Laterality BodyPartExamined PatientPosition
    Manufacturer ManufacturerModelName SoftwareVersions FrameOfReferenceUID PositionReferenceIndicator
    ImageType InstanceNumber AcquisitionNumber ContentDate ContentTime AcquisitionDate AcquisitionTime
    ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing SliceThickness PatientOrientation
    ViewPosition Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
    PixelRepresentation RescaleSlope RescaleIntercept
    BurnedInAnnotation LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod
"""
NEEDED = _TYPE_2.split()
"""There, though perhaps empty (PS3.3 C.7.1.1, C.7.2.1)."""
_OPTIONAL = _TYPE_3.split()
"""Taken over where there are values that make sense. All else stays behind: no object needs it."""
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Of a multi-frame image, where each frame lies."""
KEYWORDS = (*_UIDS, *NEEDED, *_OPTIONAL, *_GROUPS)
"""All that is looked at."""
_POSITIVE = ("PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SeriesNumber")
_TERMS = {
    "PatientSex": ("M", "F", "O"),
    "Laterality": ("R", "L"),
    "BurnedInAnnotation": ("YES", "NO"),
    "Modality": ("CT", "CR", "DX", "RG", "OT", "SC"),
}
_LONGEST = {"LO": 64, "SH": 16, "PN": 64, "CS": 16, "LT": 10240, "ST": 1024}


def cleaned(dataset: Dataset) -> tuple[Dataset, set[str]]:
    """A copy of a header with what objects need, all of it valid (PS3.5 6.2), and the keywords that were mended."""
    copy, mended = Dataset(), set()
    for keyword in (*_UIDS, *NEEDED, *_OPTIONAL):
        found = _values(dataset, keyword)
        kept = _valid(keyword, found)
        if kept or keyword in NEEDED:
            _set(copy, keyword, kept)
        if kept != found or (keyword in NEEDED and keyword not in dataset):
            mended.add(keyword)
    for keyword in _GROUPS:
        if keyword in dataset:
            copy[keyword] = dataset[keyword]
    return copy, mended


def _values(dataset: Dataset, keyword: str) -> list[str]:
    """An element's values as text; none where it is missing, empty or can't be read."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        several = (
            not isinstance(value, str | bytes) and isinstance(value, Iterable) and keyword[-4:] != "Name"
        )
        texts = [_text(one) for one in (value if several else [value])]
    except Exception:  # what pydicom makes of damaged bytes are errors of any class
        return [""]
    return texts if any(texts) else []


def _text(value: Any) -> str:
    """A value as text, without the blanks that fill it up to an even length."""
    return ("" if value is None else str(value)).strip(" \0")


def _valid(keyword: str, texts: list[str]) -> list[str]:
    """The values as the standard allows them; none where they can't be mended."""
    vr, multiplicity = dictionary_VR(keyword), dictionary_VM(keyword)
    if not texts:
        return []
    if multiplicity == "1":
        texts = texts[:1]
    elif multiplicity.isdecimal() and len(texts) != int(multiplicity):
        return []
    kept = [_mended(keyword, vr, text) for text in texts]
    return [] if any(text is None for text in kept) else [str(text) for text in kept]


@lru_cache(maxsize=1024)
def _mended(keyword: str, vr: str, text: str) -> str | None:
    """One value as its VR wants it; None where there is no telling. The slices of a series mostly say the same."""
    if vr == "AS":
        age = re.fullmatch(r"(\d{1,3})\s*([DWMY]?)", text.upper())
        return None if age is None else f"{int(age[1]):03d}{age[2] or 'Y'}"
    if vr == "DA":
        return iso_date(text).replace("-", "") or None
    if vr == "TM":
        return _time(text)
    if vr in ("DS", "IS", "US"):
        return _number(keyword, vr, text)
    if vr == "UI":
        return _uid(keyword, text)
    text = "".join(letter for letter in text if letter.isprintable() and letter != "\\")
    text = text.upper() if vr == "CS" else text
    text = text[: _LONGEST[vr]].strip()
    if keyword in _TERMS and text not in _TERMS[keyword]:
        return None
    return text if text and _is_valid(vr, text) else None


def _uid(keyword: str, text: str) -> str | None:
    """A UID. Those that objects are filed and referred to by stay as they are, though a part of them begin with a 0."""
    written = re.fullmatch(r"(?=.{3,64}$)\d+(\.\d+)+", text) is not None
    return text if written and (keyword in _UIDS or UID(text).is_valid) else None


def _time(text: str) -> str | None:
    """A time (TM), with colons as ACR-NEMA wrote it."""
    clock = re.fullmatch(r"([01]\d|2[0-3]):?([0-5]\d)?:?([0-5]\d|60)?(\.\d{1,6})?", text)
    if clock is None:
        return None
    whole = bool(clock[2]) and bool(clock[3])
    return f"{clock[1]}{clock[2] or ''}{clock[3] if whole else ''}{(clock[4] or '') if whole else ''}"


def _number(keyword: str, vr: str, text: str) -> str | None:
    """A finite number of the VR's range; what must be above 0 is."""
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or (keyword in _POSITIVE and number <= 0):
        return None
    if vr == "DS":
        return text if _is_valid("DS", text) else format_number_as_ds(number)
    most = 2**16 if vr == "US" else 2**31
    return (
        str(int(number)) if number == int(number) and (0 if vr == "US" else -most) <= number < most else None
    )


def _is_valid(vr: str, text: str) -> bool:
    try:
        validate_value(vr, text, config.RAISE)
    except ValueError:
        return False
    return True


def _set(copy: Dataset, keyword: str, texts: list[str]) -> None:
    vr, tag = dictionary_VR(keyword), tag_for_keyword(keyword)
    assert tag is not None
    values: list[Any] = [int(text) for text in texts] if vr == "US" else list(texts)
    copy.add(DataElement(tag, vr, (values[0] if values else "") if len(values) < 2 else values))
