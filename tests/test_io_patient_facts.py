"""What DICOM headers say of patient and projection, for figures by group."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from pulmoscope.io.patient_facts import PatientFacts, patient_facts


def write(path: Path, **elements: str) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName = "Nobody^No"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PatientAge": "062Y", "PatientSex": "F", "ViewPosition": "AP"}, PatientFacts(62, "female", "AP")),
        ({"PatientAge": "018M", "PatientSex": "O"}, PatientFacts(1, "other", "")),
        ({"PatientBirthDate": "19500102", "StudyDate": "20200101"}, PatientFacts(69, "", "")),
        ({"PatientSex": "X", "ViewPosition": "SMITH"}, PatientFacts()),
        ({}, PatientFacts()),
    ],
)
def test_headers(tmp_path: Path, elements: dict[str, str], expected: PatientFacts) -> None:
    write(tmp_path / "a.dcm", **elements)
    assert patient_facts(tmp_path / "a.dcm") == expected
    assert patient_facts(tmp_path) == expected  # a study is a folder


def test_what_is_no_dicom_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert patient_facts(tmp_path / "a.png") == PatientFacts()
    assert patient_facts(tmp_path / "none.dcm") == PatientFacts()
    (tmp_path / "empty").mkdir()
    assert patient_facts(tmp_path / "empty") == PatientFacts()
