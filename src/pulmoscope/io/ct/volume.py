"""One volume file → scan: NIfTI, MetaImage (.mha) and NRRD, gzipped or not, read by SimpleITK.

Pairs of a header and a data file (.mhd, .nhdr, .hdr) are refused: one can get lost, and a header can name any file.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.synthetic import CT_DESCRIPTION
from pulmoscope.core.types import Flag, FlagLevel, Geometry, Modality, Point, Scan, Units, Voxels
from pulmoscope.io.ct.container import Container, check_whole, open_container
from pulmoscope.io.ct.content import check_hu
from pulmoscope.io.ct.limits import LARGEST_STEP_MM, MOST_VOXELS, check_size
from pulmoscope.io.ct.orient import orient
from pulmoscope.io.ct.spacing import check_stated_spacing
from pulmoscope.io.ct.stack import tilt_flags
from pulmoscope.io.inputs import Entry, content_name
from pulmoscope.io.quiet import decoding, with_complaints

_IO = {"NIfTI": "NiftiImageIO", "NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}


def read_volume(entry: Entry) -> Scan:
    """Read a volume of HU.

    Raises:
        UnreadableError: damaged, truncated, or not a volume that can be read.
        UnsuitableError: not three-dimensional, too large, too few slices, no HU, or without a sensible geometry.
    """
    data = entry.read_bytes()
    pixels, turned, remarks = oriented_volume(entry.name, data)
    slices, rows, columns = pixels.shape
    check_size(entry.name, (slices, rows, columns), turned.spacing_mm[1:])
    check_hu(entry.name, pixels)
    file = entry.file(sha256_of(data))
    return Scan(
        name=content_name(Modality.CT, [file.sha256]),
        modality=Modality.CT,
        pixels=pixels,
        files=(file,),
        spacing_mm=turned.spacing_mm,
        units=Units.HU,
        geometry=turned,
        z_mm=tuple(turned.origin_mm[2] + index * turned.slice_step_mm[2] for index in range(len(pixels))),
        remarks=(*remarks, *tilt_flags(turned)),
    )


def oriented_volume(name: str, data: bytes, most: int | None = None) -> tuple[Voxels, Geometry, list[Flag]]:
    """The voxels of a volume, whatever they mean, turned as all scans are; where they lie; and what its header says.

    Args:
        most: to how many bytes it may unpack; default: to so many times its own as an image does.

    Raises:
        UnreadableError: damaged, truncated, or not a volume that can be read.
        UnsuitableError: not three-dimensional, too large, or without a sensible geometry.
    """
    _silence()
    with decoding(name):  # SimpleITK's own message quotes the temporary file and its C++ sources
        container = open_container(name, data, most)
        check_stated_spacing(name, container)
        with _as_file(container) as path:
            image, remarks = _image(name, path, container)
    placed = _geometry(name, image)
    pixels, turned, _ = orient(_values(image), placed)
    return pixels, turned, remarks


def _image(name: str, path: Path, container: Container) -> tuple[sitk.Image, list[Flag]]:
    """The image, checked by its header before its pixels, and what its header says of it."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_IO[container.kind])
    with_complaints(reader.ReadImageInformation)  # MetaImage's reader prints what it can't parse
    size, pixel = reader.GetSize(), reader.GetPixelID()
    shown = " x ".join(map(str, size))
    if len(size[:3]) != 3 or any(side != 1 for side in size[3:]) or len(size) > 4:
        finding = f"{shown} voxels in {len(size)} dimensions"
        raise UnsuitableError(name, "not-one-volume", finding, "a CT is one volume of three")
    if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(pixel):
        finding = f"its voxels are each a {sitk.GetPixelIDValueAsString(pixel)}"
        raise UnsuitableError(name, "unsupported-pixels", finding, "a voxel of a CT is one number")
    voxels = math.prod(size)
    if voxels > MOST_VOXELS:
        raise UnsuitableError(
            name, "too-many-pixels", f"{shown} voxels", f"at most {MOST_VOXELS // 10**6} million"
        )
    check_whole(name, container, voxels, sitk.Image([1, 1], pixel).GetSizeOfPixelComponent())
    image = reader.Execute()
    return (image[:, :, :, 0] if len(size) == 4 else image), list(_remarks(reader, container.kind))


def _remarks(reader: sitk.ImageFileReader, kind: str) -> Iterator[Flag]:
    """What a volume's header says of it."""

    def stated(key: str) -> str:
        return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""

    if any(stated(key).startswith(CT_DESCRIPTION) for key in ("descrip", "content")):
        finding = "a program drew this study, by its description: there is no patient"
        yield Flag("synthetic", FlagLevel.INFO, finding)
    unplaced = kind == "NIfTI" and stated("qform_code") == stated("sform_code") == "0"
    if unplaced or (kind == "NRRD" and not stated("NRRD_space")):
        finding = "the file does not say how the volume lies in the patient: it is read as it is stored"
        yield Flag("orientation-unknown", FlagLevel.WARN, finding)


def _geometry(name: str, image: sitk.Image) -> Geometry:
    """Where the voxels lie; ITK's axes are DICOM's, its index order is column, row, slice."""
    spacing = np.array(image.GetSpacing())
    steps = np.array(image.GetDirection()).reshape(3, 3) * spacing
    if not (np.isfinite(steps).all() and spacing.min() > 0 and spacing.max() <= LARGEST_STEP_MM):
        distances = " x ".join(f"{step:.4g}" for step in spacing)
        rule = f"above 0 and at most {LARGEST_STEP_MM} mm a side"
        raise UnsuitableError(name, "voxel-size", f"voxels of {distances} mm", rule)
    return Geometry(_point(image.GetOrigin()), *(_point(steps[:, axis]) for axis in (2, 1, 0)))


def _values(image: sitk.Image) -> Voxels:
    """The voxels, as int16 where the file has whole numbers that fit."""
    stored = sitk.GetArrayViewFromImage(image)
    fits = np.iinfo(np.int16)
    if stored.dtype.kind in "iu" and int(stored.min()) >= fits.min and int(stored.max()) <= fits.max:
        return np.array(stored, dtype=np.int16)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number in float32 is no HU either
        return np.array(stored, dtype=np.float32)


@contextmanager
def _as_file(container: Container) -> Iterator[Path]:
    """The bytes as a file, which is all that SimpleITK reads from."""
    suffix = {"NIfTI": ".nii", "NRRD": ".nrrd", "MetaImage": ".mha"}[container.kind]
    with tempfile.NamedTemporaryFile(suffix=suffix) as stream:
        stream.write(container.data)
        stream.flush()
        yield Path(stream.name)


@functools.cache
def _silence() -> None:
    """Have ITK print nothing: its warnings quote the file."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def _point(values: tuple[float, ...] | np.typing.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
