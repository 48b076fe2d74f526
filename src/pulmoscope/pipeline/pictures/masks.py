"""A CT's lung and lesion masks as NIfTI, where the scan's own voxels lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Diagnosis, Geometry, Point
from pulmoscope.report.severity import LESIONS_FILE, LUNGS_FILE

_HEADER = struct.Struct("<i36x8h14x2h2x8f3fhbB128x2h24x12f16x4s4x")
"""A NIfTI-1 header in one file (nifti1.h): its length, dim, datatype, bitpix, pixdim, vox_offset, scl_slope, scl_inter,
slice_end, slice_code, xyzt_units, qform_code, sform_code, the affine, and the magic; all else is 0, texts too."""
_UINT8, _MM, _SCANNER = 2, 2, 1
"""NIfTI's codes of the voxels' type, of its unit of distance, and of coordinates that are the scanner's."""
_GZIP = 31
"""The sign for a gzip file that zlib wants."""
_TO_RIGHT_AND_FRONT = np.array([[-1], [-1], [1]])
"""NIfTI's axes run to the right and to the front, DICOM's to the left and to the back."""


def mask_files(diagnosis: Diagnosis) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the masks: lungs (1 right, 2 left) and lesions (1 ground glass, 2 consolidation).

    Nothing of a diagnosis whose severity was not measured. The headers say nothing but sizes and places.
    """
    masks, scan = diagnosis.masks, diagnosis.scan
    if masks is None or scan.spacing_mm is None:
        return
    spacing_mm = scan.spacing_mm
    with ThreadPoolExecutor(2) as threads:
        contents = threads.map(
            lambda mask: nifti(mask, spacing_mm, scan.geometry), (masks.lungs, masks.lesions)
        )
        yield from zip((LUNGS_FILE, LESIONS_FILE), contents, strict=True)


def nifti(mask: npt.NDArray[np.uint8], spacing_mm: Point, geometry: Geometry | None) -> bytes:
    """A mask, uint8 (slices, rows, columns), as the content of a ``.nii.gz``.

    Args:
        spacing_mm: (slice, row, column).
        geometry: None where it is unknown: the file then has distances alone, its first voxel at 0.
    """
    slice_mm, row_mm, column_mm = spacing_mm
    geometry = geometry or Geometry((0, 0, 0), (0, 0, slice_mm), (0, row_mm, 0), (column_mm, 0, 0))
    # The true step of the slices, which in a tilted gantry is not at right angles to them: only the affine can say so.
    steps = (geometry.column_step_mm, geometry.row_step_mm, geometry.slice_step_mm, geometry.origin_mm)
    affine = np.stack(steps, axis=1) * _TO_RIGHT_AND_FRONT + 0.0
    slices, rows, columns = mask.shape
    header = _HEADER.pack(
        *(_HEADER.size - 4, 3, columns, rows, slices, 1, 1, 1, 1, _UINT8, 8),
        *(1, column_mm, row_mm, slice_mm, 0, 0, 0, 0, _HEADER.size, 1, 0, 0, 0, _MM),
        *(0, _SCANNER, *affine.ravel(), b"n+1"),
    )
    packer = zlib.compressobj(wbits=_GZIP, strategy=zlib.Z_RLE)
    parts = [packer.compress(header), *(packer.compress(plane.tobytes()) for plane in mask)]
    return b"".join((*parts, packer.flush()))
