from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from diagnoses import a_ct_diagnosis
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Geometry, Point
from pulmoscope.pipeline.pictures.masks import mask_files, nifti

SHAPE = (5, 7, 9)
MM: Point = (4.0, 1.5, 0.75)


def a_mask() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)


def affine_of(content: bytes) -> np.ndarray:
    """The sform of a NIfTI-1 file, by its definition (nifti1.h)."""
    plain = gzip.decompress(content)
    assert struct.unpack_from("<i", plain)[0] == 348
    assert struct.unpack_from("<h", plain, 254)[0] > 0
    return np.array(struct.unpack_from("<12f", plain, 280)).reshape(3, 4)


def expected(geometry: Geometry) -> np.ndarray:
    """Voxel (column, row, slice) → mm to the right, to the front, to the head."""
    steps = (geometry.column_step_mm, geometry.row_step_mm, geometry.slice_step_mm, geometry.origin_mm)
    return np.stack(steps, axis=1) * np.array([[-1], [-1], [1]])


def turned(degrees: float) -> Geometry:
    """Slices turned about the patient's long axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Geometry((-20.5, 13.25, -301.0), (0, 0, 4.0), (-1.5 * s, 1.5 * c, 0), (0.75 * c, 0.75 * s, 0))


TILTED = Geometry((-20.5, 13.25, -301.0), (0, 0.9, 4.0), (0, 1.5, 0), (0.75, 0, 0))


@pytest.mark.parametrize("geometry", [turned(0), turned(3.0), TILTED], ids=["upright", "turned", "tilted"])
def test_voxels_and_places_are_those_of_the_scan(geometry: Geometry, tmp_path: Path) -> None:
    mask = a_mask()
    content = nifti(mask, geometry.spacing_mm, geometry)
    np.testing.assert_allclose(affine_of(content), expected(geometry), atol=1e-4)
    plain = gzip.decompress(content)
    offset = int(struct.unpack_from("<f", plain, 108)[0])
    np.testing.assert_array_equal(np.frombuffer(plain, np.uint8, offset=offset).reshape(SHAPE), mask)


def test_an_independent_reader_finds_the_same(tmp_path: Path) -> None:
    mask, geometry = a_mask(), turned(3.0)
    (tmp_path / "mask.nii.gz").write_bytes(nifti(mask, MM, geometry))
    image = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), mask)
    assert image.GetSpacing() == pytest.approx((0.75, 1.5, 4.0))
    at = (
        np.array(geometry.origin_mm)
        + 2 * np.array(geometry.slice_step_mm)
        + 3 * np.array(geometry.row_step_mm)
    )
    assert image.TransformIndexToPhysicalPoint((0, 3, 2)) == pytest.approx(tuple(at), abs=1e-4)


def test_without_geometry_there_are_distances_alone(tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(nifti(a_mask(), MM, None))
    image = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert image.GetSpacing() == pytest.approx((0.75, 1.5, 4.0))
    assert image.GetOrigin() == pytest.approx((0, 0, 0))


def test_headers_hold_no_words() -> None:
    plain = gzip.decompress(nifti(a_mask(), MM, turned(0)))
    for start, length in ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)):  # all that could hold text
        assert plain[start : start + length].strip(b"\0") in (b"", b"r")


def test_files_of_a_measured_study() -> None:
    found = a_ct_diagnosis()
    assert list(mask_files(found)) == []
    masks = SeverityMasks(*(np.zeros(found.scan.pixels.shape, np.uint8) for _ in range(2)))
    named = dict(mask_files(replace(found, masks=masks)))
    assert list(named) == ["lungs.nii.gz", "lesions.nii.gz"]
