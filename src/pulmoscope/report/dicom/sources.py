"""The DICOM images that a diagnosis was made from: their headers, read once more and mended on copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from pulmoscope.core.errors import InputError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Modality, Scan, SourceFile
from pulmoscope.io.deflated import check_deflated
from pulmoscope.io.formats import HEAD, format_of
from pulmoscope.io.quiet import decoding, quieten_decoders
from pulmoscope.report.dicom.clean import KEYWORDS, cleaned
from pulmoscope.report.dicom.uids import uid

_NAMED_BY = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


class NoSourceError(Exception):
    """There is no DICOM image that objects could refer to; ``str()`` says why, and names nothing of the patient."""


@dataclass(frozen=True)
class Sources:
    """Headers of the images that a scan was read from.

    Attributes:
        images: copies without pixels, valid, each with file meta: of a series one per slice in the scan's order (from
            the feet to the head), of a multi-frame file or an X-ray the only one. All are of one study, one series and
            one frame of reference, and the elements of type 2 are there.
        frames: of a multi-frame file, which frame each slice is, counted from 1; empty for other images.
        mended: keywords of the elements that were not valid, or not there.
    """

    images: tuple[Dataset, ...] = field(repr=False)
    frames: tuple[int, ...] = ()
    mended: tuple[str, ...] = ()

    @property
    def first(self) -> Dataset:
        """The one that says whose images these are, and of which study."""
        return self.images[0]

    @property
    def instances(self) -> tuple[str, ...]:
        """The SOP Instance UIDs used, in the scan's order."""
        return tuple(str(image.SOPInstanceUID) for image in self.images)


def read_sources(scan: Scan) -> Sources:
    """Read the headers of the files that a scan was read from.

    Raises:
        NoSourceError: they are no DICOM files, have changed, are several multi-frame ones, lack the UIDs by which
            objects refer to them, or name different patients.
    """
    quieten_decoders()
    unique = list({file.sha256: file for file in scan.files}.values())
    if 1 < len(unique) < len(scan.files):
        raise NoSourceError("its slices lie in several multi-frame files")
    copies, mended = [], set[str]()
    for file in unique:
        copy, keywords = cleaned(_header(file))
        copies.append(copy)
        mended |= keywords | _completed(copy, scan.modality)
    if len({str(copy.PatientID) for copy in copies if copy.PatientID}) > 1:
        raise NoSourceError("the slices name different patients")
    mended |= _agreed(copies)
    several = len(unique) < len(scan.files)
    frames = tuple(file.frame + 1 for file in scan.files) if several else ()
    return Sources(tuple(copies), frames, tuple(sorted(mended)))


def _header(file: SourceFile) -> Dataset:
    """The elements of a file that objects need, with their text decoded."""
    if file.read is None:
        raise NoSourceError("the scan was not read from a file")
    try:
        data = file.read()
        if sha256_of(data) != file.sha256:
            raise NoSourceError("a file has changed since it was read")
        if format_of(data[:HEAD]) != "DICOM":
            raise NoSourceError("the image is no DICOM file")
        check_deflated(data, file.name)
        with decoding(file.name):
            dataset = pydicom.dcmread(
                BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(KEYWORDS)
            )
            dataset.decode()
            return dataset
    except InputError as error:
        raise NoSourceError(f"a file can't be read: {error.finding}") from None


def _completed(copy: Dataset, modality: Modality) -> set[str]:
    """Add what every image has, and name it.

    Raises:
        NoSourceError: it has no UIDs of its own.
    """
    missing = [keyword for keyword in _NAMED_BY if not copy.get(keyword)]
    if missing:
        raise NoSourceError(f"an image has no valid {missing[0]}, by which objects refer to it")
    ct, added = modality is Modality.CT, {}
    if not copy.get("SOPClassUID"):
        added["SOPClassUID"] = CTImageStorage if ct else SecondaryCaptureImageStorage
    if not copy.get("BodyPartExamined"):
        added["BodyPartExamined"] = "CHEST"
    if not ct and not copy.get("PatientOrientation"):
        added["PatientOrientation"] = ["L", "F"]  # as the reader takes it where the file does not say
    for keyword, value in added.items():
        setattr(copy, keyword, value)
    copy.SpecificCharacterSet = "ISO_IR 192"
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return set(added)


def _agreed(copies: Sequence[Dataset]) -> set[str]:
    """Have all say the same of patient, study and frame of reference: what most of them say.

    Slices of a CT without a frame of reference get one that follows from their series.
    """
    changed = set()
    if "ImagePositionPatient" in copies[0] and not any(copy.get("FrameOfReferenceUID") for copy in copies):
        for copy in copies:
            copy.FrameOfReferenceUID = uid("frame of reference", str(copies[0].SeriesInstanceUID))
        changed.add("FrameOfReferenceUID")
    for keyword in _SHARED:
        values = [copy.get(keyword) for copy in copies]
        if len({str(value) for value in values}) > 1:
            most = Counter(str(value) for value in values if value not in (None, "")).most_common(1)[0][0]
            chosen = next(value for value in values if str(value) == most)
            for copy in copies:
                setattr(copy, keyword, chosen)
            changed.add(keyword)
    return changed


_SHARED = (
    *(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
    ),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("StudyDescription", "SeriesInstanceUID", "FrameOfReferenceUID", "SpecificCharacterSet"),
    *("ImageOrientationPatient", "PixelSpacing"),  # but for the rounding of some writers
)
"""Elements of patient, study, series, frame of reference and image plane, which the images of a series share."""
