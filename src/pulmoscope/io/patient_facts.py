"""What a DICOM file's header says of the patient and the projection, for figures by group; nothing that identifies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pulmoscope.io.dicom_rules import check_view, code
from pulmoscope.io.patient_age import age
from pulmoscope.io.quiet import quieten_decoders

_TAGS = (
    "PatientAge",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "ContentDate",
    "SeriesDate",
    "ViewPosition",
)
_SEX = {"F": "female", "M": "male", "O": "other"}


class PatientFacts(NamedTuple):
    """Age in years, sex and view as :class:`~pulmoscope.datasets.table.Sample` has them."""

    age: float | None = None
    sex: str = ""
    view: str = ""


def patient_facts(path: Path) -> PatientFacts:
    """What the header of a DICOM file, or of the first of a folder's, says; nothing of any other file."""
    file = min(path.iterdir(), default=path) if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return PatientFacts()
    except OSError:
        return PatientFacts()
    import pydicom

    quieten_decoders()
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
    except Exception:  # damaged bytes raise errors of any class; what reads the image says what is wrong
        return PatientFacts()
    years = age(dataset)
    return PatientFacts(
        None if years is None else float(years[0]),
        _SEX.get(code(dataset, "PatientSex"), ""),
        check_view(dataset)[0] or "",
    )
