"""A CT's lung and lesion masks as NIfTI, where the scan's own voxels lie."""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Diagnosis, Geometry, Point
from pulmoscope.report.severity import LESIONS_FILE, LUNGS_FILE

_FLAT_DEG = 0.01
"""A gantry that is tilted less counts as upright: rounding."""
_CODES_AT, _SFORM_AT = 252, 280
"""Where a NIfTI-1 header has its two codes of position, and its affine (nifti1.h)."""


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
    import SimpleITK

    image = SimpleITK.GetImageFromArray(mask)
    image.SetSpacing(tuple(reversed(spacing_mm)))
    if geometry is not None:
        steps = (np.array(geometry.column_step_mm), np.array(geometry.row_step_mm), np.array(geometry.normal))
        units = [step / np.linalg.norm(step) for step in steps]
        image.SetOrigin(geometry.origin_mm)
        image.SetDirection(np.stack(units, axis=1).ravel().tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.nii.gz"
        SimpleITK.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
        content = path.read_bytes()
    if geometry is None or geometry.tilt_deg < _FLAT_DEG:
        return content
    return gzip.compress(_sheared(gzip.decompress(content), geometry), 1, mtime=0)


def _sheared(content: bytes, geometry: Geometry) -> bytes:
    """A NIfTI-1 file whose affine has the slices' true step: SimpleITK knows no tilted gantry."""
    steps = (geometry.column_step_mm, geometry.row_step_mm, geometry.slice_step_mm, geometry.origin_mm)
    affine = np.stack(steps, axis=1) * np.array(
        [[-1], [-1], [1]]
    )  # NIfTI's axes run to the right and the front
    out = bytearray(content)
    struct.pack_into("<2h", out, _CODES_AT, 0, 1)
    struct.pack_into("<12f", out, _SFORM_AT, *affine.ravel())
    return bytes(out)
