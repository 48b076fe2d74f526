"""Volumes and series in every orientation become what SimpleITK's own reorienting makes of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from ct_series import CORNER_MM, PIXEL_MM, STEP_MM, by_simpleitk, drawn_hu, slice_datasets, write_slices
from pulmoscope.core.types import Geometry, Scan
from pulmoscope.io import read_scan
from pulmoscope.io.ct.orient import orient


def agrees(scan: Scan, image: sitk.Image) -> None:
    """Voxels, spacing, origin and direction are those of the image, turned by SimpleITK."""
    turned = sitk.DICOMOrient(image, "LPS")
    np.testing.assert_array_equal(scan.pixels, sitk.GetArrayFromImage(turned))
    assert scan.geometry is not None
    assert scan.spacing_mm == pytest.approx(turned.GetSpacing()[::-1], abs=1e-4)
    assert scan.geometry.origin_mm == pytest.approx(turned.GetOrigin(), abs=1e-3)
    assert scan.z_mm is not None
    assert scan.z_mm == pytest.approx(
        [turned.TransformIndexToPhysicalPoint((0, 0, index))[2] for index in range(turned.GetDepth())],
        abs=1e-3,
    )
    steps = (scan.geometry.column_step_mm, scan.geometry.row_step_mm, scan.geometry.slice_step_mm)
    directions = [np.array(step) / np.linalg.norm(step) for step in steps]
    np.testing.assert_allclose(np.transpose(directions), np.reshape(turned.GetDirection(), (3, 3)), atol=1e-4)


def drawn_image(slices: int = 14, side: int = 64) -> sitk.Image:
    image = sitk.GetImageFromArray(
        drawn_hu(slices, side)[:, :, : side - 8]
    )  # rows and columns differ in number
    image.SetSpacing((PIXEL_MM, 4.5, STEP_MM))
    image.SetOrigin(CORNER_MM)
    return image


@pytest.mark.parametrize("code", ["LPS", "RAS", "LAI", "RPI", "PSL", "SAL", "AIR", "IPR"])
def test_volumes_of_any_orientation(code: str, tmp_path: Path) -> None:
    stored = sitk.DICOMOrient(drawn_image(), code)
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        sitk.WriteImage(stored, str(tmp_path / name))
        agrees(read_scan(tmp_path / name), drawn_image())


# Rows' and columns' directions, and the corner of the lowest slice, for a patient on the back, on the belly, and on
# the right side; scanned from the head or from the feet only turns the order of the files.
POSITIONS = {
    "supine": ((1, 0, 0, 0, 1, 0), (-157.5, -190)),
    "prone": ((-1, 0, 0, 0, -1, 0), (157.5, 125)),
    "mirrored rows": ((1, 0, 0, 0, -1, 0), (-157.5, 125)),
    "on the side": ((0, 1, 0, -1, 0, 0), (157.5, -190)),
    "oblique": ((0.96, 0.28, 0, -0.28, 0.96, 0), (-157.5, -190)),
}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("feet_first", [False, True])
def test_series_of_any_position(position: str, feet_first: bool, tmp_path: Path) -> None:
    orientation, corner = POSITIONS[position]
    datasets = slice_datasets(drawn_hu(14))
    for index, dataset in enumerate(datasets):
        place = len(datasets) - 1 - index if feet_first else index
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = [*corner, -300 + place * STEP_MM]
    write_slices(tmp_path, datasets)
    agrees(read_scan(tmp_path), by_simpleitk(tmp_path))


def test_files_follow_their_slices_also_where_the_order_is_turned(tmp_path: Path) -> None:
    datasets = slice_datasets(drawn_hu(12))
    for dataset in datasets:  # the normal points to the feet
        dataset.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
    paths = write_slices(tmp_path, datasets)
    scan = read_scan(tmp_path)
    assert [file.path for file in scan.files] == [str(path) for path in paths]
    assert scan.z_mm == pytest.approx([-300 + 4 * index for index in range(12)])


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_every_voxel_keeps_its_place(axes: tuple[int, int, int]) -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    steps = np.zeros((3, 3))
    steps[range(3), axes] = (2.0, -3.0, 5.0)
    origin = np.array([7.0, 8.0, 9.0])
    geometry = Geometry(*(tuple(map(float, row)) for row in (origin, *steps)))  # type: ignore[arg-type]
    turned, found, _ = orient(pixels, geometry)
    there = {tuple(origin + np.array(index) @ steps): pixels[index] for index in np.ndindex(*pixels.shape)}
    new = np.array([found.slice_step_mm, found.row_step_mm, found.column_step_mm])
    assert (new[[0, 1, 2], [2, 1, 0]] > 0).all()
    for index in np.ndindex(*turned.shape):
        assert there[tuple(np.array(found.origin_mm) + np.array(index) @ new)] == turned[index]
