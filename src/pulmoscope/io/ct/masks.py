"""Masks of lungs or lesions that others have drawn, voxel by voxel of a scan: a volume, a Segmentation, or PNGs."""

from __future__ import annotations

from pathlib import Path, PurePath

import cv2
import numpy as np
import pydicom

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import BoolArray, FloatArray, Geometry, Scan, Voxels
from pulmoscope.io.ct.orient import OFF, corners
from pulmoscope.io.ct.segmentation import Shown, read_segmentation
from pulmoscope.io.ct.volume import oriented_volume
from pulmoscope.io.formats import HEAD, format_of
from pulmoscope.io.inputs import Entry
from pulmoscope.io.quiet import decoding

MOST_LABELS = 16
"""A mask has few values; a CT, a probability map and a picture that was smoothed have many."""


def read_mask(path: Path, scan: Scan, shown: Shown) -> BoolArray:
    """Read a mask in the voxels of a scan.

    Args:
        path: a volume (NIfTI, MetaImage, NRRD), which may be stored in another orientation than the scan; or of a scan
            of single slices a folder with a PNG for each of them, named as the slice's file, whose rows run to the back
            and whose columns run to the patient's left. Labels are whole numbers; 0 is outside. Or a DICOM
            Segmentation, whose segments may be chosen: ``seg.dcm#2`` (:func:`mask_file`).
        shown: what a Segmentation's segments are to show where none is chosen; other masks are all of it.

    Returns:
        Bool (slices, rows, columns), as the scan's pixels.

    Raises:
        UnreadableError: it is not there, damaged, or in no known format.
        UnsuitableError: it is not in the scan's voxels, or its values are no labels.
    """
    if path.is_dir():
        values: Voxels = _pictures(path, scan)
        geometry = None
    else:
        file, chosen = mask_file(path)
        data = Entry(str(file), "", file).read_bytes()
        if format_of(data[:HEAD]) == "DICOM":
            return read_segmentation(str(path), data, scan, shown, chosen)
        # A mask packs far better than an image: it may hold the scan's voxels as the widest numbers, and a header.
        values, geometry, _ = oriented_volume(str(path), data, 8 * scan.pixels.size + 2**20)
    if values.shape != scan.pixels.shape:
        size, wanted = (" x ".join(map(str, array.shape)) for array in (values, scan.pixels))
        raise UnsuitableError(path, "mask-size", f"{size} voxels", f"as the scan: {wanted}")
    if geometry is not None and scan.geometry is not None:
        _check_place(path, geometry, scan.geometry, values.shape)
    _check_labels(path, values)
    return values > 0


def mask_file(path: Path) -> tuple[Path, str]:
    """The file that a table names, and its segments (numbers, labels): ``seg.dcm#2,3`` → ``seg.dcm``, ``2,3``."""
    name, _, chosen = path.name.partition("#")
    return (path.with_name(name), chosen) if name and chosen and not path.exists() else (path, "")


def _check_place(path: Path, mask: Geometry, scan: Geometry, shape: tuple[int, ...]) -> None:
    """Refuse a mask whose corners lie elsewhere in the patient than the scan's."""
    off = float(np.linalg.norm(corners(mask, shape) - corners(scan, shape), axis=1).max())
    most = OFF * min(scan.spacing_mm)
    if off > most:
        finding = f"its voxels lie up to {off:.3g} mm beside the scan's"
        raise UnsuitableError(path, "mask-elsewhere", finding, f"at most {most:.3g} mm")


def _check_labels(path: Path, values: Voxels) -> None:
    """Refuse values that are no labels."""
    low, high = float(values.min()), float(values.max())
    finding = f"its values run from {low:.4g} to {high:.4g}"
    rule = f"labels are whole numbers from 0 to 255, at most {MOST_LABELS} of them"
    if not 0 <= low <= high <= 255:
        raise UnsuitableError(path, "mask-values", finding, rule)
    whole = values.astype(np.uint8)
    labels = {label for plane in whole for label in np.unique(plane).tolist()}
    if len(labels) > MOST_LABELS or not np.array_equal(whole, values):
        raise UnsuitableError(path, "mask-values", f"{finding}, and are many or no whole numbers", rule)


def _pictures(folder: Path, scan: Scan) -> FloatArray:
    """A PNG for every slice, in the order of the slices."""
    rule = "a folder of masks has a PNG for every slice, named as the slice's file"
    if len(scan.files) != len(scan.pixels):
        finding = "a folder, while the scan is one file"
        raise UnsuitableError(folder, "mask-slices", finding, "the mask of a volume is a volume")
    pictures = {file.stem: file for file in folder.iterdir() if file.suffix.lower() == ".png"}
    paths = [PurePath(file.path) for file in scan.files]
    named = [pictures.get(path.name) or pictures.get(path.stem) for path in paths]  # IM0001, or IM0001.dcm
    own = [file for file in dict.fromkeys(named) if file is not None]
    if without := len(paths) - len(own):
        finding = f"{without} of {len(paths)} slices have no PNG of their own"
        raise UnsuitableError(folder, "mask-slices", finding, rule)
    _check_stored_upright(folder, scan)
    planes = [_picture(file) for file in own]
    if sizes := {plane.shape for plane in planes} - {scan.pixels.shape[1:]}:
        shown = " x ".join(map(str, min(sizes)))
        wanted = " x ".join(map(str, scan.pixels.shape[1:]))
        raise UnsuitableError(folder, "mask-size", f"pictures of {shown} pixels", f"as the slices: {wanted}")
    return np.stack(planes)


def _check_stored_upright(folder: Path, scan: Scan) -> None:
    """Refuse pictures of slices that are turned when they are read: nobody knows whether the pictures are, too."""
    if not Path(scan.files[0].path).is_file():
        finding = "the slices lie in a zip, and how they are stored is not looked up there"
        raise UnsuitableError(folder, "mask-turned", finding, "unpack the zip, or give such a mask as NIfTI")
    first = pydicom.dcmread(
        scan.files[0].path, stop_before_pixels=True, specific_tags=["ImageOrientationPatient"]
    )
    column, row = np.reshape([float(value) for value in first.ImageOrientationPatient], (2, 3))
    if not (column[0] > 0.7 and row[1] > 0.7):
        finding = "the slices are stored turned, and pictures do not say whether they are"
        raise UnsuitableError(folder, "mask-turned", finding, "such a mask is given as NIfTI")


def _picture(file: Path) -> FloatArray:
    """A PNG's values, (rows, columns)."""
    data = Entry(str(file), "", file).read_bytes()
    with decoding(str(file)):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError
    if pixels.ndim == 3:
        raise UnsuitableError(file, "mask-values", f"{pixels.shape[2]} colours", "a mask is in grey")
    return np.asarray(pixels, dtype=np.float32)
