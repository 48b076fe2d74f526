"""Headers of sources: what is mended on copies, whom objects can't be made of, and 300 damaged ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra `results`")

from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from ct_series import drawn_hu, enhanced, file_bytes, slice_datasets, write_slices
from dicom_reports import (
    complaints,
    ct_diagnosis,
    ct_scan,
    needs_dciodvfy,
    report,
    unknown,
    xray_diagnosis,
    xray_scan,
)
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Modality, Scan, SourceFile
from pulmoscope.io import read_scan
from pulmoscope.pipeline.objects.write import make_objects
from pulmoscope.report.dicom.clean import cleaned
from pulmoscope.report.dicom.sources import NoSourceError, read_sources
from radiographs import chest, dicom_bytes, dicom_dataset
from refusals import refused

TYPE_2 = {
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
}
"""Which the drawn images lack (PS3.3 C.7.1.1, C.7.2.1)."""


def mended(**elements: Any) -> tuple[Dataset, set[str]]:
    """A copy of a header with these elements, which may be of any kind, and what of them was mended."""
    dataset = Dataset()
    for keyword, value in elements.items():
        vr = dictionary_VR(keyword)
        element = DataElement(keyword, vr, "", validation_mode=config.IGNORE)
        element._value = value
        dataset.add(element)
    copy, names = cleaned(dataset)
    return copy, names & set(elements)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientAge", "34", "034Y"),
        ("PatientAge", "071Y", "071Y"),
        ("PatientAge", "6m", "006M"),
        ("PatientAge", "old", None),
        ("PatientSex", "male", ""),
        ("PatientSex", "f", "F"),
        ("PatientBirthDate", "1980.05.07", "19800507"),
        ("PatientBirthDate", "00000000", ""),
        ("StudyDate", "20201332", ""),
        ("StudyTime", "10:11:12", "101112"),
        ("StudyTime", "251112", ""),
        ("PatientID", "A" * 70, "A" * 64),
        ("StudyID", "a study with a name", "a study with a n"),
        ("PixelSpacing", [0.0, 0.0], None),
        ("PixelSpacing", [0.5], None),
        ("SliceThickness", "thin", None),
        ("SeriesNumber", 0, None),
        ("BodyPartExamined", "chest", "CHEST"),
        ("PatientName", "Secret^Name\x07", "Secret^Name"),
    ],
)
def test_values_that_are_not_valid_are_mended(keyword: str, value: Any, expected: str | None) -> None:
    copy, names = mended(**{keyword: value})
    found = None if keyword not in copy else str(copy[keyword].value)
    assert found == expected
    assert names == (set() if found == str(value) else {keyword})


def test_what_no_object_needs_stays_behind() -> None:
    copy, _ = cleaned(dicom_dataset(chest(), PatientComments="Secret", OtherPatientIDs="SECRET"))
    assert "PatientComments" not in copy
    assert "OtherPatientIDs" not in copy
    assert "PixelData" not in copy


def test_missing_elements_are_empty_and_named(tmp_path: Path) -> None:
    sources = read_sources(xray_scan(tmp_path))
    assert set(sources.mended) >= TYPE_2
    assert {"PatientName", "PatientID"}.isdisjoint(sources.mended)
    assert all(sources.first[keyword].value in ("", None) for keyword in TYPE_2)
    assert sources.first.PatientOrientation == ["L", "F"]


def test_a_japanese_name_is_kept(tmp_path: Path) -> None:
    scan = xray_scan(
        tmp_path, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎"
    )
    assert str(report(xray_diagnosis(scan)).PatientName) == "Yamada^Tarou=山田^太郎"


def test_slices_come_in_the_scan_s_order_and_say_the_same_of_the_patient(tmp_path: Path) -> None:
    slices = slice_datasets(drawn_hu(16))
    slices[3].PatientAge = "34"
    slices[5].StudyDate = "20200101"
    write_slices(tmp_path, slices)
    sources = read_sources(read_scan(tmp_path))
    heights = [float(image.ImagePositionPatient[2]) for image in sources.images]
    assert heights == sorted(heights)
    for keyword in ("PatientAge", "StudyDate"):
        assert len({str(image.get(keyword)) for image in sources.images}) == 1
        assert keyword in sources.mended


def test_slices_of_two_patients_have_no_objects(tmp_path: Path) -> None:
    slices = slice_datasets(drawn_hu(16))
    slices[3].PatientID = ""
    write_slices(tmp_path / "one", slices)
    assert len({image.PatientID for image in read_sources(read_scan(tmp_path / "one")).images}) == 1
    slices[3].PatientID = "SECRET-2"
    write_slices(tmp_path / "two", slices)
    with refused(UnsuitableError, "several-patients"):
        read_scan(tmp_path / "two")
    # A scan that was put together in another way names both.
    scan, stranger = read_scan(tmp_path / "one"), file_bytes(slices[3])
    files = [*scan.files[:-1], SourceFile("x", sha256_of(stranger), read=lambda: stranger)]
    objects = make_objects(ct_diagnosis(replace(scan, files=tuple(files))))
    assert objects.files == {}
    assert "different patients" in objects.missing[0]
    assert "SECRET" not in objects.missing[0]


def test_slices_without_a_frame_of_reference_share_one(tmp_path: Path) -> None:
    sources = read_sources(ct_scan(tmp_path, FrameOfReferenceUID=None))
    assert len({image.FrameOfReferenceUID for image in sources.images}) == 1
    assert "FrameOfReferenceUID" in sources.mended


def test_frames_of_one_file_are_counted_from_one(tmp_path: Path) -> None:
    order = [3, 1, 0, 2, *range(4, 16)]
    (tmp_path / "ct.dcm").write_bytes(file_bytes(enhanced(drawn_hu(16), order)))
    scan = read_scan(tmp_path / "ct.dcm")
    sources = read_sources(scan)
    assert len(sources.images) == 1
    assert sources.frames == (3, 2, 4, 1, *range(5, 17))  # of the slice at each height
    assert make_objects(ct_diagnosis(scan)).missing == ()


def test_a_file_without_meta_information(tmp_path: Path) -> None:
    for index, dataset in enumerate(slice_datasets(drawn_hu(16))):
        stream = BytesIO()
        del dataset.file_meta
        dataset.save_as(stream, implicit_vr=True, little_endian=True)
        (tmp_path / f"{index}.dcm").write_bytes(stream.getvalue())
    scan = read_scan(tmp_path)
    assert all(image.file_meta.TransferSyntaxUID for image in read_sources(scan).images)
    assert make_objects(ct_diagnosis(scan)).missing == ()


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_without_uids_there_is_nothing_to_refer_to(keyword: str, tmp_path: Path) -> None:
    path = tmp_path / "chest.dcm"
    dataset = dicom_dataset(chest(), StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
    data = dicom_bytes(dataset)
    plain = dcmread(BytesIO(data))
    del plain[keyword]
    stream = BytesIO()
    plain.save_as(stream)
    path.write_bytes(stream.getvalue())
    objects = make_objects(xray_diagnosis(read_scan(path)))
    assert objects.files == {}
    assert len(objects.missing) == 1
    assert keyword in objects.missing[0]


def test_other_images_and_changed_files_are_no_sources(tmp_path: Path) -> None:
    scan = xray_scan(tmp_path)
    (tmp_path / "chest.dcm").write_bytes(dicom_bytes(dicom_dataset(chest(seed=1))))
    with pytest.raises(NoSourceError, match="changed"):
        read_sources(scan)
    (tmp_path / "chest.dcm").unlink()
    with pytest.raises(NoSourceError, match="no such file"):
        read_sources(scan)
    with pytest.raises(NoSourceError, match="not read from a file"):
        read_sources(replace(scan, files=(SourceFile("chest", "0"),)))


def test_a_picture_has_no_objects(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "chest.png"), chest())
    objects = make_objects(xray_diagnosis(read_scan(tmp_path / "chest.png")))
    assert (objects.files, len(objects.missing)) == ({}, 1)


WORDS = [
    "",
    " ",
    "Secret^Name",
    "\\",
    "A\\B\\C",
    "-1",
    "1e99",
    "nan",
    "999999999999",
    "0",
    "\x00\x01",
    "x" * 90,
    "34 ",
]
SPOILT = """
    PatientName PatientID PatientBirthDate PatientSex PatientAge PatientSize PatientWeight StudyDate StudyTime StudyID
    AccessionNumber ReferringPhysicianName StudyDescription SeriesNumber SeriesDate SeriesTime Laterality
    PatientPosition Manufacturer ManufacturerModelName SoftwareVersions FrameOfReferenceUID PositionReferenceIndicator
    ImageType InstanceNumber AcquisitionNumber ContentDate ContentTime AcquisitionDate AcquisitionTime
    ImagerPixelSpacing SliceThickness TimezoneOffsetFromUTC IssuerOfPatientID
"""


def spoilt(rng: np.random.Generator) -> bytes:
    """A radiograph five of whose elements hold anything, as free text: another VR than the standard's."""
    dataset = dicom_dataset(chest(64), StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    for keyword in rng.choice(SPOILT.split(), 5, replace=False):
        word = WORDS[rng.integers(len(WORDS))]
        dataset[str(keyword)] = DataElement(str(keyword), "LT", word, validation_mode=config.IGNORE)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def are_valid(dataset: Dataset) -> bool:
    """Whether the texts of a header are as their VRs want them; raises where one is not."""
    for element in dataset:
        if element.VR not in ("SQ", "US"):
            for value in element.value if element.VM > 1 else [element.value]:
                validate_value(
                    element.VR, str(value) if element.VR in ("DS", "IS", "DA", "TM") else value, config.RAISE
                )
    return True


@pytest.fixture
def anything_can_be_written() -> Iterator[None]:
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    yield
    config.settings.writing_validation_mode = before


@needs_dciodvfy
@pytest.mark.usefixtures("anything_can_be_written")
def test_300_spoilt_sources_give_valid_objects_or_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(22)
    pixels = np.zeros((1, 64, 64), dtype=np.float32)
    refused, checked = [], 0
    for number in range(300):
        data = spoilt(rng)
        file = SourceFile("chest", sha256_of(data), read=partial(bytes, data))
        scan = Scan("chest", Modality.XRAY, pixels, (file,))
        try:
            assert are_valid(read_sources(scan).first)
        except NoSourceError as error:
            refused.append(str(error))
            continue
        if number % 20 == 0:
            objects = make_objects(xray_diagnosis(scan, xray_severity=None))
            assert objects.missing == ()
            errors, warnings = complaints(objects.files["report.dcm"], tmp_path)
            assert (errors, unknown(warnings)) == ([], [])
            checked += 1
    assert not any("\n" in line for line in refused)
    assert checked + len(refused) >= 10
    assert capfd.readouterr() == ("", "")
