"""What a DICOM file says of its CT slices, read without the pixels; one header per slice, also of a multi-frame file.

Descriptions, ids and UIDs are compared, never shown: they may name a patient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from pulmoscope.core.synthetic import CT_DESCRIPTION
from pulmoscope.core.types import Flag, Point
from pulmoscope.io.ct.image_type import is_derived, projection
from pulmoscope.io.deflated import check_deflated, is_deflated
from pulmoscope.io.dicom_rules import CHEST, ELSEWHERE, code, descriptions, values
from pulmoscope.io.formats import HEAD
from pulmoscope.io.inputs import Entry
from pulmoscope.io.patient_age import child_flags, iso_date
from pulmoscope.io.quiet import quieten_decoders

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = (f"{CT_IMAGE}.1", f"{CT_IMAGE}.2")
"""Enhanced CT Image Storage, and Legacy Converted Enhanced CT Image Storage."""

_SHARP = re.compile(r"LUNG|^[BDU][5-8]\d|^BL\d|^(BR|QR)[5-7]\d|^FC[58]\d|^(L|YC|YD|YE|D|E)$")
_SOFT = re.compile(r"SOFT|STANDARD|^[BDU][1-4]\d|^BF\d|^(BR|QR)[1-4]\d|^FC[01]\d|^(A|B|C|YA|YB)$")
_NEEDED = """
    SOPClassUID Modality ImageType StudyInstanceUID SeriesInstanceUID SeriesNumber PatientID AcquisitionNumber
    InstanceNumber ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness Rows Columns
    BodyPartExamined StudyDescription SeriesDescription ProtocolName ConvolutionKernel ContrastBolusAgent
    ContrastBolusAgentSequence RescaleSlope RescaleIntercept BitsAllocated BitsStored HighBit PixelRepresentation
    SamplesPerPixel PhotometricInterpretation NumberOfFrames ImagesInAcquisition SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence SpecificCharacterSet VolumeBasedCalculationTechnique
    PatientAge PatientBirthDate StudyDate SeriesDate AcquisitionDate AcquisitionDateTime ContentDate SOPInstanceUID
    Manufacturer StationName DeviceSerialNumber
"""
_TAGS = [tag for keyword in _NEEDED.split() if (tag := tag_for_keyword(keyword))]
FARTHEST_MM = 10_000
"""From the origin of the patient's axes: what lies beyond is no position."""
MOST_FRAMES = 5000
THICKEST_MM = 50
LARGEST_SLOPE, LARGEST_INTERCEPT = 1e3, 1e5
"""Of a rescale to HU, regardless of sign."""


@dataclass(frozen=True)
class Storage:
    """How the pixels of a file are stored."""

    syntax: UID
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    frames: int
    offset: int
    """Of the element PixelData in the file, bytes; 0 where the file has to be parsed anew (deflated, big endian)."""


@dataclass(frozen=True)
class SliceHeader:
    """One slice, by its tags.

    Attributes:
        entry, frame: the file, and which of its frames.
        storage: how its pixels are stored; None where the tags that say so are missing or make no sense.
        series, patient: ids; for comparing only.
        position_mm, orientation, spacing_mm: None where missing or impossible.
        slope, intercept: the rescale to HU; None where missing or impossible.
        kernel: ``lung``, ``soft`` or empty where its name says neither.
        kernel_name: as the file has it: free text, not to be shown unless it is a known name.
        thickness_mm: None where missing or impossible.
        study_date: as ``2020-03-14``; empty where the file does not say. Not to be shown unless the user asks for it.
        part: ``chest``, ``elsewhere``, or empty where the file does not say.
        flat: a localizer or scout: a projection, no slice.
        projection: what kind of projection or reformat of other slices it is, in words; empty: none.
        derived: computed from other images' pixels.
        expected: images in the acquisition, 0 where the file does not say.
        child: a flag where the patient is one.
    """

    entry: Entry
    frame: int = 0
    storage: Storage | None = None
    series: str = ""
    patient: str = ""
    series_number: int = 0
    acquisition: int = 0
    instance: int = 0
    position_mm: Point | None = None
    orientation: tuple[float, ...] | None = None
    spacing_mm: tuple[float, float] | None = None
    slope: float | None = None
    intercept: float | None = None
    kernel: str = ""
    kernel_name: str = ""
    thickness_mm: float | None = None
    study_date: str = ""
    part: str = ""
    flat: bool = False
    projection: str = ""
    derived: bool = False
    contrast: bool = False
    synthetic: bool = False
    expected: int = 0
    child: tuple[Flag, ...] = ()

    @property
    def normal(self) -> Point | None:
        """The unit vector at right angles to the slice: its rows' direction cross its columns'."""
        if self.orientation is None:
            return None
        a, b, c, d, e, f = self.orientation
        return b * f - c * e, c * d - a * f, a * e - b * d

    @property
    def height_mm(self) -> float:
        """Where the slice lies along its normal; 0 where that is not known."""
        if self.normal is None or self.position_mm is None:
            return 0.0
        return sum(
            along * coordinate for along, coordinate in zip(self.normal, self.position_mm, strict=True)
        )


def is_ct(dataset: Dataset) -> bool:
    """Whether a file is an image of a CT: localizers too, dose reports and secondary captures not."""
    return code(dataset, "Modality") == "CT" and str(dataset.get("SOPClassUID", "")) in (
        CT_IMAGE,
        *ENHANCED,
        "",
    )


def read_dataset(stream: IO[bytes], name: str, tags: Sequence[str] = ()) -> tuple[Dataset, int]:
    """The tags that matter of a DICOM file, without pixels, and where PixelData begins.

    Args:
        stream: the file, at its beginning.
        name: the file, for messages.
        tags: keywords of those that matter; empty: those that tell what a file is, and how a slice lies.

    Raises:
        UnreadableError: it is deflated, and a decompression bomb.
        Exception: of any class, where the file is damaged.
    """
    head = stream.read(HEAD)
    stream.seek(0)
    if is_deflated(head):
        stream = BytesIO(stream.read())
        check_deflated(stream.getvalue(), name)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    quieten_decoders()
    dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=True, specific_tags=list(tags) or _TAGS)
    return dataset, stream.tell()


def slice_headers(dataset: Dataset, offset: int, entry: Entry) -> list[SliceHeader]:
    """One header per frame. What is missing or makes no sense is None: it is a rule's business, not the reader's."""
    storage = _storage(dataset, offset)
    frames = storage.frames if storage else 1
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    per_frame = values(dataset, "PerFrameFunctionalGroupsSequence")
    headers = []
    for frame in range(frames):
        groups = [
            group
            for group in (per_frame[frame] if frame < len(per_frame) else None, shared, dataset)
            if group is not None
        ]
        headers.append(_header(dataset, groups, storage, entry, frame))
    return headers


def _header(
    dataset: Dataset, groups: Sequence[Dataset], storage: Storage | None, entry: Entry, frame: int
) -> SliceHeader:
    """The header of one frame; ``groups``: where its own elements are looked for, in this order."""
    position = floats(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    spacing = floats(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    slope = floats(groups, "PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = floats(groups, "PixelValueTransformationSequence", "RescaleIntercept", 1)
    thickness = floats(groups, "PixelMeasuresSequence", "SliceThickness", 1)
    kernel_name = _kernel_name(dataset, groups)
    words = [
        *_words(dataset, "ImageType"),
        *_words(dataset, "VolumeBasedCalculationTechnique"),
        *(
            word
            for group in groups
            if (frame_type := first_item(group, "CTImageFrameTypeSequence")) is not None
            for keyword in ("FrameType", "VolumeBasedCalculationTechnique")
            for word in _words(frame_type, keyword)
        ),
    ]
    return SliceHeader(
        entry=entry,
        frame=frame,
        storage=storage,
        series=str(dataset.get("SeriesInstanceUID", "")),
        patient=str(dataset.get("PatientID", "")),
        series_number=_whole(dataset, "SeriesNumber"),
        acquisition=_whole(dataset, "AcquisitionNumber"),
        instance=_whole(dataset, "InstanceNumber") + frame,
        position_mm=_position(position),
        orientation=_orientation(floats(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        spacing_mm=(spacing[0], spacing[1]) if spacing and all(0 < step < 10 for step in spacing) else None,
        slope=slope[0] if slope and 0 < abs(slope[0]) <= LARGEST_SLOPE else None,
        intercept=intercept[0] if intercept and abs(intercept[0]) <= LARGEST_INTERCEPT else None,
        kernel=_kernel(kernel_name),
        kernel_name=kernel_name,
        thickness_mm=thickness[0] if thickness and 0 < thickness[0] <= THICKEST_MM else None,
        study_date=iso_date(code(dataset, "StudyDate")),
        part=_part(dataset),
        flat=bool({"LOCALIZER", "SCOUT", "TOPOGRAM"} & set(words)),
        projection=projection(words),
        derived=is_derived(words),
        contrast=bool(values(dataset, "ContrastBolusAgent") or values(dataset, "ContrastBolusAgentSequence")),
        synthetic=str(dataset.get("SeriesDescription", "")).startswith(CT_DESCRIPTION),
        expected=_whole(dataset, "ImagesInAcquisition"),
        child=child_flags(dataset),
    )


def _storage(dataset: Dataset, offset: int) -> Storage | None:
    """How the pixels are stored, where that is a way in which CT slices can be stored."""
    syntax = UID(str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ImplicitVRLittleEndian)))
    sizes = [_whole(dataset, keyword) for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored")]
    rows, columns, allocated, stored = sizes
    if not (0 < rows <= 4096 and 0 < columns <= 4096 and allocated in (8, 16) and 0 < stored <= allocated):
        return None
    if (
        _whole(dataset, "SamplesPerPixel", 1) != 1
        or code(dataset, "PhotometricInterpretation") != "MONOCHROME2"
    ):
        return None
    frames = max(1, _whole(dataset, "NumberOfFrames", 1))
    if frames > MOST_FRAMES or _whole(dataset, "HighBit", stored - 1) != stored - 1:
        return None
    parsed = syntax in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
    signed = _whole(dataset, "PixelRepresentation") == 1
    return Storage(syntax, rows, columns, allocated, stored, signed, frames, 0 if parsed else offset)


def _position(values: tuple[float, ...] | None) -> Point | None:
    if values is None or max(map(abs, values)) > FARTHEST_MM:
        return None
    return values[0], values[1], values[2]


def _orientation(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Two unit vectors at right angles; None for anything else (PS3.3 C.7.6.2.1.1)."""
    if values is None or max(map(abs, values)) > 1.1:  # nor can its square overflow
        return None
    row, column = np.array(values[:3]), np.array(values[3:])
    straight = abs(float(row @ column)) < 1e-3
    units = all(abs(float(np.linalg.norm(axis)) - 1) < 1e-2 for axis in (row, column))
    return values if straight and units else None


def _part(dataset: Dataset) -> str:
    """What part of the body is shown, by BodyPartExamined, else by the descriptions."""
    texts = [part] if (part := code(dataset, "BodyPartExamined")) else list(descriptions(dataset))
    if any(CHEST.search(text) for text in texts):
        return "chest"
    return "elsewhere" if any(ELSEWHERE.search(text) for text in texts) else ""


def _kernel_name(dataset: Dataset, groups: Sequence[Dataset]) -> str:
    """What the file calls the reconstruction kernel."""
    inner = (first_item(group, "CTReconstructionSequence") for group in groups)
    return next(
        (kernel for part in (dataset, *inner) if part and (kernel := code(part, "ConvolutionKernel"))), ""
    )


def _kernel(name: str) -> str:
    """What a reconstruction kernel is made for, by the vendors' names for them."""
    if _SHARP.search(name):
        return "lung"
    return "soft" if _SOFT.search(name) else ""


def floats(groups: Sequence[Dataset], sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
    """An element's finite numbers, from the first of the groups that has it; None where there is none."""
    for group in groups:
        for holder in (first_item(group, sequence), group):
            if holder is None or keyword not in holder:
                continue
            try:
                floats = tuple(float(value) for value in values(holder, keyword))
            except (TypeError, ValueError, OverflowError):
                return None
            return floats if len(floats) == count and all(map(math.isfinite, floats)) else None
    return None


def first_item(dataset: Dataset | None, sequence: str) -> Any:
    """The first item of a sequence, None without one."""
    return None if dataset is None else next(iter(values(dataset, sequence)), None)


def _words(dataset: Dataset | None, keyword: str) -> list[str]:
    return [] if dataset is None else [str(word).strip().upper() for word in values(dataset, keyword)]


def _whole(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """An element as a whole number; ``default`` where it is missing or none."""
    try:
        return int(next(iter(values(dataset, keyword)), default))
    except (TypeError, ValueError, OverflowError):
        return default
