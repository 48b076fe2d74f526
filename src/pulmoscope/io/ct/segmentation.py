"""DICOM Segmentations as masks of a CT: which segments, and on which slices they lie (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sr.coding import Code

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import BoolArray, Bytes, Geometry, Point, Scan
from pulmoscope.io.ct.header import first_item, floats, read_dataset
from pulmoscope.io.ct.orient import OFF, corners, orient
from pulmoscope.io.deflated import check_deflated
from pulmoscope.io.dicom_rules import code, is_own, values
from pulmoscope.io.quiet import decoding, quieten_decoders

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation Storage."""
_SOURCE_TAGS = (
    *("SOPInstanceUID", "FrameOfReferenceUID"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
)


class Shown(Enum):
    """What a mask is to show; the value: Segmented Property Types that a segment of it may have.

    Lungs may have a laterality, and may be lobes (CID 6170); codes of SNOMED's older scheme count, too.
    """

    LUNGS = (
        *(Code("39607008", "SCT", "Lung"), Code("3341006", "SCT", "Right lung")),
        *(Code("44029006", "SCT", "Left lung"), Code("45653009", "SCT", "Upper lobe of lung")),
        *(
            Code("72481006", "SCT", "Middle lobe of right lung"),
            Code("90572001", "SCT", "Lower lobe of lung"),
        ),
    )
    LESIONS = (
        *(Code("112120", "DCM", "Ground glass opacity"), Code("95436008", "SCT", "Lung consolidation")),
        Code("52988006", "SCT", "Lesion"),
    )


def read_segmentation(name: str, data: bytes, scan: Scan, shown: Shown, chosen: str = "") -> BoolArray:
    """Read the segments that are meant, joined, in the voxels of a scan.

    A frame lies where it says, or, where it does not, where its source image does. A slice without a frame is empty.
    Of fractions, more than half counts.

    Args:
        name: the file, for messages.
        data: its content.
        shown: what the segments show, by their codes.
        chosen: numbers or labels of segments, separated by commas, in place of the codes.

    Returns:
        Bool (slices, rows, columns), as the scan's pixels.

    Raises:
        UnreadableError: it is damaged, or has no pixels.
        UnsuitableError: it is no Segmentation or one of our own, has no such segment, or does not lie on the scan.
    """
    with decoding(name):
        check_deflated(data, name)
        quieten_decoders()
        found = pydicom.dcmread(BytesIO(data), force=True)
        _check_kind(name, found)
        numbers = _numbers(name, found, shown, chosen)
        slices = _Slices.of(name, scan)
        slices.check_frame_of_reference(found)
        mask = np.zeros(scan.pixels.shape, dtype=bool)
        for frame, own in enumerate(values(found, "PerFrameFunctionalGroupsSequence")):
            groups = (own, first_item(found, "SharedFunctionalGroupsSequence"))
            segment = floats(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
            if segment is None or segment[0] in numbers:  # the frame of a label map is of all segments
                index, plane = slices.placed(frame, groups, _plane(found, frame, numbers))
                mask[index] |= plane
    return mask


def _check_kind(name: str, found: Dataset) -> None:
    """Refuse other objects, our own, and one without pixels."""
    if str(found.get("SOPClassUID", "")) not in _CLASSES:
        finding = "a DICOM object that is no Segmentation"
        raise UnsuitableError(
            name, "unsupported-object", finding, "of masks in DICOM, Segmentations are read"
        )
    if is_own(found):
        finding = "a Segmentation that Pulmoscope wrote"
        raise UnsuitableError(name, "own-result", finding, "a result is not held to itself")
    if "PixelData" not in found:
        raise UnreadableError(name, "no-pixels", "a Segmentation without pixels")


def _numbers(name: str, found: Dataset, shown: Shown, chosen: str) -> set[int]:
    """The numbers of the segments that are meant."""
    segments = values(found, "SegmentSequence")
    wanted = [word.strip().casefold() for word in chosen.split(",") if word.strip()]
    numbers = set()
    for segment in segments:
        number = int(segment.SegmentNumber)
        names = {str(number), str(segment.get("SegmentLabel", "")).strip().casefold()}
        if names.intersection(wanted) if wanted else _type(segment) in shown.value:
            numbers.add(number)
    if not numbers:
        kind = (
            "has the number or label in the table" if wanted else f"is coded as one of {shown.name.lower()}"
        )
        finding = f"none of its {len(segments)} segments {kind}"
        raise UnsuitableError(name, "mask-segments", finding, "the table may choose some: FILE#2, FILE#LABEL")
    return numbers


def _type(segment: Dataset) -> Code | None:
    """What a segment shows."""
    coded = first_item(segment, "SegmentedPropertyTypeCodeSequence")
    if coded is None:
        return None
    return Code(str(coded.get("CodeValue", "")), str(coded.get("CodingSchemeDesignator", "")), "")


def _plane(found: Dataset, frame: int, numbers: set[int]) -> BoolArray:
    """What a frame marks, (rows, columns) as stored."""
    rows, columns = int(found.Rows), int(found.Columns)
    if found.BitsAllocated == 1 and not found.file_meta.TransferSyntaxUID.is_encapsulated:
        # Eight pixels a byte, and a frame may begin within one: pydicom then misses the last pixels of some frames.
        begin, count = frame * rows * columns, rows * columns
        packed = np.frombuffer(found.PixelData, np.uint8)[begin // 8 : -(-(begin + count) // 8)]
        bits = np.unpackbits(packed, bitorder="little")[begin % 8 :][:count]
        return np.asarray(bits.reshape(rows, columns) > 0)
    stored: Bytes = pixel_array(found, index=frame, raw=True)
    kind = code(found, "SegmentationType")
    if kind == "LABELMAP":
        return np.isin(stored, list(numbers))
    return np.asarray(stored > (found.MaximumFractionalValue / 2 if kind == "FRACTIONAL" else 0))


@dataclass(frozen=True)
class _Slices:
    """The slices of a scan, as frames are put on them.

    Attributes:
        name: the Segmentation, for messages.
        images: a header for each slice of a DICOM series; of a volume none.
        by_uid: SOP Instance UID of a file with one slice → the slice.
        size: rows, columns.
        grid: where the voxels of the first slice lie, and the steps to the next.
        origins: (slices, 3), the first voxel of each in mm: slices may be missing between two.
    """

    name: str
    images: tuple[Dataset, ...]
    by_uid: Mapping[str, int]
    size: tuple[int, int]
    grid: Geometry
    origins: np.typing.NDArray[np.float64]

    @classmethod
    def of(cls, name: str, scan: Scan) -> _Slices:
        """Of a scan; of DICOM, the headers of its files are read once more."""
        if scan.geometry is None:
            raise UnsuitableError(name, "mask-elsewhere", "a Segmentation, while the scan has no place")
        images: dict[str, Dataset] = {}
        for file in scan.files if scan.facts is not None else ():
            if file.sha256 not in images and file.read is not None:
                images[file.sha256] = read_dataset(BytesIO(file.read()), file.name, _SOURCE_TAGS)[0]
        step = np.array(scan.geometry.slice_step_mm)
        heights = np.array(scan.z_mm if scan.z_mm else np.arange(len(scan.pixels)) * step[2])
        origins = scan.geometry.origin_mm + np.outer((heights - heights[0]) / step[2], step)
        rows, columns = scan.pixels.shape[1:]
        headers = tuple(images[file.sha256] for file in scan.files if file.sha256 in images)
        uids = [code(image, "SOPInstanceUID") for image in headers]
        by_uid = {uid: index for index, uid in enumerate(uids) if len(images) == len(scan.files)}
        return cls(name, headers, by_uid, (rows, columns), scan.geometry, origins)

    def check_frame_of_reference(self, found: Dataset) -> None:
        """Refuse a Segmentation whose positions are counted from another point than the scan's."""
        scan = {code(image, "FrameOfReferenceUID") for image in self.images} - {""}
        if scan and code(found, "FrameOfReferenceUID") not in ("", *scan):
            finding = "its FrameOfReferenceUID is not the scan's"
            raise UnsuitableError(self.name, "mask-elsewhere", finding)

    def placed(self, frame: int, groups: Sequence[Dataset], plane: BoolArray) -> tuple[int, BoolArray]:
        """The number of the slice on which a frame lies, and its pixels turned as that slice is."""
        index = self._source(groups)
        where = self._where(frame, groups if index is None else (*groups, self.images[index]))
        turned, place, _ = orient(plane[None].astype(np.int16), where)
        if turned.shape != (1, *self.size):
            shown, wanted = (" x ".join(map(str, size)) for size in (plane.shape, self.size))
            raise UnsuitableError(
                self.name, "mask-size", f"frames of {shown} pixels", f"as the slices: {wanted}"
            )
        if index is None:
            index = int(np.linalg.norm(self.origins - place.origin_mm, axis=1).argmin())
        self._check_place(frame, place, index)
        return index, turned[0] > 0

    def _check_place(self, frame: int, place: Geometry, index: int) -> None:
        """Refuse a frame whose corners are not those of a slice."""
        steps = (self.grid.slice_step_mm, self.grid.row_step_mm, self.grid.column_step_mm)
        grid = Geometry(_point(self.origins[index]), *steps)
        beside = corners(place, (1, *self.size)) - corners(grid, (1, *self.size))
        most = OFF * min(self.grid.spacing_mm)
        along = beside @ self.grid.normal
        if (off := float(np.linalg.norm(beside - np.outer(along, self.grid.normal), axis=1).max())) > most:
            finding = f"frame {frame + 1} lies up to {off:.3g} mm beside the scan's slices"
            raise UnsuitableError(self.name, "mask-elsewhere", finding, f"at most {most:.3g} mm")
        if (off := float(np.abs(along).max())) > most:
            finding = f"frame {frame + 1} lies {off:.3g} mm from the slice that it names, or the nearest"
            raise UnsuitableError(self.name, "mask-slices", finding, f"at most {most:.3g} mm")

    def _source(self, groups: Sequence[Dataset]) -> int | None:
        """The slice that a frame names as its only source; None: it names none, several, or none of the scan."""
        derived = next(filter(None, (first_item(group, "DerivationImageSequence") for group in groups)), None)
        sources = [] if derived is None else values(derived, "SourceImageSequence")
        if len(sources) != 1:
            return None
        named = code(sources[0], "ReferencedSOPInstanceUID")
        return self.by_uid.get(named)

    def _where(self, frame: int, groups: Sequence[Dataset]) -> Geometry:
        """Where a frame lies."""
        position = floats(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
        axes = floats(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
        spacing = floats(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
        if position is None or axes is None or spacing is None:
            finding = f"nothing says where frame {frame + 1} lies in the patient"
            raise UnsuitableError(self.name, "mask-elsewhere", finding)
        column, row = np.reshape(axes, (2, 3)) * np.array(spacing)[::-1, None]
        if not np.linalg.norm(np.cross(column, row)) > 0:
            finding = f"the orientation or spacing of frame {frame + 1} makes no sense"
            raise UnsuitableError(self.name, "mask-elsewhere", finding)
        return Geometry(_point(np.array(position)), self.grid.slice_step_mm, _point(row), _point(column))


def _point(mm: np.typing.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in mm)
    return x, y, z
