"""Masks that others have drawn, read in a scan's voxels or refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from ct_series import CORNER_MM, PIXEL_MM, STEP_MM, drawn_hu, from_feet_to_head, write_series
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Scan
from pulmoscope.io import read_scan
from pulmoscope.io.ct.masks import read_mask
from pulmoscope.io.ct.segmentation import Shown
from refusals import figures, refused

HU = drawn_hu()
LUNGS = (HU < -500) & (np.indices(HU.shape)[0] > 2)
LUNGS[:, :8] = LUNGS[:, -8:] = LUNGS[..., :8] = LUNGS[..., -8:] = False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("series")
    write_series(root, HU)
    return root


@pytest.fixture(scope="module")
def scan(folder: Path) -> Scan:
    return read_scan(folder, "ct")


def nifti(
    path: Path,
    values: np.ndarray,
    *,
    origin_mm: tuple[float, float, float] = CORNER_MM,
    spacing_mm: tuple[float, float, float] = (PIXEL_MM, PIXEL_MM, STEP_MM),
) -> Path:
    image = SimpleITK.GetImageFromArray(values)
    image.SetOrigin(origin_mm)
    image.SetSpacing(spacing_mm)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path


def test_a_volume_in_the_scan_s_voxels(scan: Scan, tmp_path: Path) -> None:
    file = nifti(tmp_path / "mask.nii.gz", np.where(LUNGS, 2, 0).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), LUNGS)


def test_a_volume_that_is_stored_the_other_way_round(scan: Scan, tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(LUNGS.astype(np.uint8))
    image.SetOrigin(CORNER_MM)
    image.SetSpacing((PIXEL_MM, PIXEL_MM, STEP_MM))
    turned = SimpleITK.DICOMOrient(image, "RAI")
    assert not np.array_equal(SimpleITK.GetArrayFromImage(turned) > 0, LUNGS)
    SimpleITK.WriteImage(turned, str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", scan, Shown.LUNGS), LUNGS)


def test_a_mask_packs_better_than_any_image(scan: Scan, tmp_path: Path) -> None:
    """What is refused of an image as a bomb is an ordinary mask."""
    wide = np.zeros(HU.shape, dtype=np.float64)
    wide[4, 20, 20] = 1
    file = nifti(tmp_path / "mask.nii.gz", wide)
    assert wide.nbytes > 200 * file.stat().st_size
    assert read_mask(file, scan, Shown.LUNGS).sum() == 1


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (LUNGS[1:].astype(np.uint8), "mask-size"),
        (LUNGS[:, :, 1:].astype(np.uint8), "mask-size"),
        (LUNGS.astype(np.int16) * -1, "mask-values"),
        (LUNGS.astype(np.float32) * 0.5, "mask-values"),
        (LUNGS.astype(np.int16) * 256, "mask-values"),
        (HU, "mask-values"),
        (np.arange(HU.size).reshape(HU.shape).astype(np.uint8), "mask-values"),
    ],
)
def test_what_is_no_mask_of_the_scan_is_refused(
    values: np.ndarray, code: str, scan: Scan, tmp_path: Path
) -> None:
    with refused(UnsuitableError, code):
        read_mask(nifti(tmp_path / "mask.nii.gz", values), scan, Shown.LUNGS)


@pytest.mark.parametrize(
    ("origin_mm", "spacing_mm", "off_mm"),
    [
        ((CORNER_MM[0] + 3.0, *CORNER_MM[1:]), (PIXEL_MM, PIXEL_MM, STEP_MM), 3.0),
        (CORNER_MM, (PIXEL_MM, PIXEL_MM, STEP_MM + 0.2), 15 * 0.2),
        (CORNER_MM, (PIXEL_MM - 0.1, PIXEL_MM, STEP_MM), 63 * 0.1),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused_and_says_how_far(
    origin_mm: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
    off_mm: float,
    scan: Scan,
    tmp_path: Path,
) -> None:
    file = nifti(tmp_path / "mask.nii", LUNGS.astype(np.uint8), origin_mm=origin_mm, spacing_mm=spacing_mm)
    with refused(UnsuitableError, "mask-elsewhere") as caught:
        read_mask(file, scan, Shown.LUNGS)
    assert figures(caught.value.finding) == pytest.approx([off_mm], abs=0.01)


def test_rounded_places_are_the_scan_s(scan: Scan, tmp_path: Path) -> None:
    near = (CORNER_MM[0] + 0.2, CORNER_MM[1], CORNER_MM[2] - 0.2)
    file = nifti(tmp_path / "mask.nii", LUNGS.astype(np.uint8), origin_mm=near)
    np.testing.assert_array_equal(read_mask(file, scan, Shown.LUNGS), LUNGS)


def test_a_mask_that_is_not_there_or_damaged_is_refused(scan: Scan, tmp_path: Path) -> None:
    with refused(UnreadableError, "not-found"):
        read_mask(tmp_path / "none.nii.gz", scan, Shown.LUNGS)
    (tmp_path / "mask.nii.gz").write_bytes(b"no volume")
    with refused(UnreadableError, "not-an-image"):
        read_mask(tmp_path / "mask.nii.gz", scan, Shown.LUNGS)


def pictures(root: Path, folder: Path, masks: np.ndarray) -> Path:
    """A PNG for every slice, named as its file."""
    root.mkdir()
    for file, mask in zip(from_feet_to_head(folder), masks, strict=True):
        cv2.imwrite(str(root / f"{file.stem}.png"), mask.astype(np.uint8) * 255)
    return root


def test_a_picture_for_every_slice(scan: Scan, folder: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_mask(pictures(tmp_path / "masks", folder, LUNGS), scan, Shown.LUNGS), LUNGS
    )


def test_names_with_points_that_are_no_suffix(tmp_path: Path) -> None:
    for file in write_series(tmp_path / "series", HU):
        file.rename(file.with_name(f"1.2.{int(file.name[2:])}"))
    masks = tmp_path / "masks"
    masks.mkdir()
    for file, mask in zip(from_feet_to_head(tmp_path / "series"), LUNGS, strict=True):
        cv2.imwrite(str(masks / f"{file.name}.png"), mask.astype(np.uint8))
    np.testing.assert_array_equal(read_mask(masks, read_scan(tmp_path / "series", "ct"), Shown.LUNGS), LUNGS)


def test_a_slice_without_its_picture_is_refused(scan: Scan, folder: Path, tmp_path: Path) -> None:
    masks = pictures(tmp_path / "masks", folder, LUNGS)
    next(masks.iterdir()).rename(masks / "another.png")
    with refused(UnsuitableError, "mask-slices") as caught:
        read_mask(masks, scan, Shown.LUNGS)
    assert figures(caught.value.finding) == (1, len(HU))


def test_pictures_of_slices_in_a_zip_are_refused(folder: Path, tmp_path: Path) -> None:
    masks = pictures(tmp_path / "masks", folder, LUNGS)
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, file.name)
    with refused(UnsuitableError, "mask-turned"):
        read_mask(masks, read_scan(tmp_path / "series.zip", "ct"), Shown.LUNGS)


def test_pictures_of_a_volume_are_refused(tmp_path: Path) -> None:
    scan = read_scan(nifti(tmp_path / "scan.nii.gz", HU), "ct")
    (tmp_path / "masks").mkdir()
    with refused(UnsuitableError, "mask-slices"):
        read_mask(tmp_path / "masks", scan, Shown.LUNGS)


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (np.zeros((64, 60), np.uint8), "mask-size"),
        (np.zeros((64, 64, 3), np.uint8), "mask-values"),
        (np.arange(64 * 64).reshape(64, 64).astype(np.uint8), "mask-values"),
    ],
)
def test_a_picture_that_is_no_mask_is_refused(
    picture: np.ndarray, code: str, scan: Scan, folder: Path, tmp_path: Path
) -> None:
    masks = pictures(tmp_path / "masks", folder, LUNGS)
    cv2.imwrite(str(next(masks.iterdir())), picture)
    with refused(UnsuitableError, code):
        read_mask(masks, scan, Shown.LUNGS)


def test_pictures_of_slices_that_are_turned_are_refused(tmp_path: Path) -> None:
    """A patient who lies on the belly: rows and columns are turned when the slices are read."""
    rows = [np.ascontiguousarray(plane[::-1, ::-1]) for plane in HU]
    write_series(tmp_path / "prone", np.stack(rows), ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    scan = read_scan(tmp_path / "prone", "ct")
    with refused(UnsuitableError, "mask-turned"):
        read_mask(pictures(tmp_path / "masks", tmp_path / "prone", LUNGS), scan, Shown.LUNGS)
