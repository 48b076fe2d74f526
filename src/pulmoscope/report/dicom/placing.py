"""From a scan back to the images that it was read from: arrays on each image's own rows and columns.

A scan is turned as all scans are (:class:`pulmoscope.core.types.Scan`), the images lie as they were stored. A CT is
only turned, so every voxel comes back exactly; a radiograph may have been resampled to square pixels, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import PlanePositionSequence
from highdicom.sr import GraphicTypeValues, ImageRegion, SourceImageForRegion
from pydicom.dataset import Dataset

from pulmoscope.core.types import FloatArray, Geometry
from pulmoscope.io.dicom_rules import turns
from pulmoscope.report.dicom.sources import NoSourceError, Sources

Values = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Planes:
    """The image planes that a CT was read from.

    Attributes:
        sources: their headers.
        geometry: where the scan's voxels lie.

    Raises:
        NoSourceError: the headers do not say where the planes lie.
    """

    sources: Sources
    geometry: Geometry

    def __post_init__(self) -> None:
        try:
            self._orientation(), [self._position(index) for index in range(self.count)]
        except (AttributeError, IndexError, TypeError, ValueError):
            raise NoSourceError("the headers do not say where each slice lies") from None

    def stored(self, planes: Values) -> Values:
        """Some of the scan's slices as the planes of the same order are stored: (planes, rows, columns), a view."""
        scan = self.geometry
        rows_and_columns = np.array(self._orientation(), dtype=np.float64).reshape(2, 3)[::-1]
        # The cosines between the images' rows and columns, and the scan's.
        cosines = rows_and_columns @ np.array([scan.row_step_mm, scan.column_step_mm]).T
        if abs(cosines[0, 1]) > abs(cosines[0, 0]):
            planes, cosines = planes.transpose(0, 2, 1), cosines[:, ::-1]
        down, across = (-1 if cosines[axis, axis] < 0 else 1 for axis in (0, 1))
        return planes[:, ::down, ::across]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.sources.frames or self.sources.images)

    def of(self, chosen: Sequence[int]) -> dict[str, Any]:
        """What highdicom asks for of where some planes lie."""
        if not self.sources.frames:
            return {"source_images": [self.sources.images[index] for index in chosen]}
        positions = [PlanePositionSequence("PATIENT", self._position(index)) for index in chosen]
        return {"source_images": self.sources.images, "plane_positions": positions}

    def _position(self, index: int) -> list[float]:
        image = self.sources.first
        if self.sources.frames:
            groups = image.PerFrameFunctionalGroupsSequence[self.sources.frames[index] - 1]
            image = groups.PlanePositionSequence[0]
        else:
            image = self.sources.images[index]
        return [float(value) for value in image.ImagePositionPatient]

    def _orientation(self) -> list[float]:
        image = self.sources.first
        if self.sources.frames:
            image = image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        return [float(value) for value in image.ImageOrientationPatient]


def on_radiograph(image: npt.NDArray[np.generic], source: Dataset) -> FloatArray:
    """An image of the scan on the rows and columns of the radiograph that it was read from, float32.

    Args:
        image: (rows, columns) over the whole scan, of any size.
        source: the radiograph; read with its PatientOrientation, which turned it.
    """
    transpose, flip_rows, flip_columns = turns(source) or (False, False, False)
    turned = image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1].astype(np.float32, copy=False)
    if transpose:
        turned = turned.T
    size = int(source.Columns), int(source.Rows)
    if turned.shape != size[::-1]:
        turned = cv2.resize(np.ascontiguousarray(turned), size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(turned, dtype=np.float32)


def region_on_radiograph(
    box: tuple[int, int, int, int], size: tuple[int, ...], source: Dataset
) -> ImageRegion | None:
    """The outline of a box on the radiograph that a scan was read from; None where it lies outside the image.

    Args:
        box: top, left, height, width in px of the scan; may reach beyond it.
        size: rows and columns of the scan.
        source: see :func:`on_radiograph`.
    """
    top, left, height, width = box
    # Edges as fractions of the scan: (top, bottom) and (left, right).
    edges = np.array([[top, top + height], [left, left + width]]) / np.array(size)[:, None]
    transpose, flip_rows, flip_columns = turns(source) or (False, False, False)
    for axis, flip in enumerate((flip_rows, flip_columns)):
        if flip:
            edges[axis] = 1 - edges[axis, ::-1]
    if transpose:
        edges = edges[::-1]
    # The corner of the first pixel is (0, 0), its centre (0.5, 0.5) (PS3.3 C.18.6.1.2).
    (first, last), (start, end) = np.clip(edges, 0, 1) * [[int(source.Rows)], [int(source.Columns)]]
    if first >= last or start >= end:
        return None
    corners = [(start, first), (end, first), (end, last), (start, last), (start, first)]
    image = SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)
    return ImageRegion(GraphicTypeValues.POLYLINE, np.array(corners), image)
