"""One volume file → scan: NIfTI, MetaImage (.mha) and NRRD, gzipped or not, read by SimpleITK.

Pairs of a header and a data file (.mhd, .nhdr, .hdr) are refused: one can get lost, and a header can name any file.
"""

from __future__ import annotations

import functools
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag, Geometry, Modality, Point, Scan, Severity, SourceFile, Units
from pulmoscope.io.ct_content import check_hu
from pulmoscope.io.ct_stack import FEWEST, TILTED_DEG
from pulmoscope.io.formats import HEAD, VOLUMES, format_of
from pulmoscope.io.inputs import LARGEST_FILE, Entry
from pulmoscope.io.orient import orient

MOST_VOXELS = 700_000_000
"""Checked in the header: 2,600 slices of 512 x 512, 2.6 GiB in memory."""
LARGEST_STEP_MM = 20
SYNTHETIC = "Synthetic chest CT"
"""How the description of a NIfTI file begins that a program drew."""

_IO = {"NIfTI": "NiftiImageIO", "NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}


def read_volume(entry: Entry) -> Scan:
    """Read a volume of HU.

    Raises:
        UnreadableError: damaged, truncated, or not a volume that can be read.
        UnsuitableError: not three-dimensional, too large, too few slices, no HU, or without a sensible geometry.
    """
    data = entry.read_bytes()
    _silence()
    plain = _unzipped(entry.name, data)
    kind = format_of(plain[:HEAD])
    if kind not in VOLUMES:
        raise UnreadableError(entry.name, "a volume is a NIfTI, MetaImage or NRRD file", kind)
    _check_self_contained(entry.name, plain, kind)
    try:
        with _as_file(plain, kind) as path:
            image, synthetic = _image(entry.name, path, kind)
    except InputError:
        raise
    except Exception as error:  # SimpleITK's own message quotes the temporary file and its C++ sources
        raise UnreadableError(
            entry.name, f"a {kind} file is whole and undamaged", type(error).__name__
        ) from None
    placed = _geometry(entry.name, image)
    pixels, turned, _ = orient(sitk.GetArrayViewFromImage(image).astype(np.float32), placed)
    if len(pixels) < FEWEST:
        raise UnsuitableError(entry.name, f"a CT has at least {FEWEST} slices", len(pixels))
    check_hu(entry.name, pixels)
    return Scan(
        name=entry.slug,
        modality=Modality.CT,
        pixels=pixels,
        files=(SourceFile(entry.name, sha256_of(data)),),
        spacing_mm=turned.spacing_mm,
        units=Units.HU,
        geometry=turned,
        z_mm=tuple(turned.origin_mm[2] + index * turned.slice_step_mm[2] for index in range(len(pixels))),
        remarks=tuple(_remarks(turned, synthetic)),
    )


def _image(name: str, path: Path, kind: str) -> tuple[sitk.Image, bool]:
    """The image, and whether it says of itself that a program drew it; checked by its header before its pixels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_IO[kind])
    reader.ReadImageInformation()
    size = [side for side in reader.GetSize() if side > 1]
    shown = " x ".join(map(str, reader.GetSize()))
    if len(size) != 3 or reader.GetNumberOfComponents() != 1:
        raise UnsuitableError(name, "a CT is one volume of three dimensions and one channel", shown)
    if np.prod(size, dtype=np.float64) > MOST_VOXELS:
        raise UnsuitableError(name, f"a volume has at most {MOST_VOXELS // 10**6} million voxels", shown)
    described = next(
        (reader.GetMetaData(key) for key in ("descrip", "content") if reader.HasMetaDataKey(key)), ""
    )
    image = reader.Execute()
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    return image, described.startswith(SYNTHETIC)


def _check_self_contained(name: str, data: bytes, kind: str) -> None:
    """Refuse a header whose voxels lie in another file, whose name could be any on this machine.

    Raises:
        UnsuitableError: it names one.
    """
    head = data[: 2**16]
    fields = head.partition(b"\n\n")[0].lower().replace(b"\r", b"")
    local = b"elementdatafile = local" in head.lower()
    if (kind == "MetaImage" and not local) or (
        kind == "NRRD" and (b"\ndata file:" in fields or b"\ndatafile:" in fields)
    ):
        raise UnsuitableError(
            name, "a volume's header and voxels are in one file", "a header that names another"
        )


def _geometry(name: str, image: sitk.Image) -> Geometry:
    """Where the voxels lie; ITK's axes are DICOM's, its index order is column, row, slice."""
    spacing = np.array(image.GetSpacing())
    steps = np.array(image.GetDirection()).reshape(3, 3) * spacing
    if not (np.isfinite(steps).all() and spacing.min() > 0 and spacing.max() <= LARGEST_STEP_MM):
        found = " x ".join(f"{step:.4g}" for step in spacing)
        raise UnsuitableError(name, f"voxels are above 0 and at most {LARGEST_STEP_MM} mm a side", found)
    return Geometry(_point(image.GetOrigin()), *(_point(steps[:, axis]) for axis in (2, 1, 0)))


def _remarks(placed: Geometry, synthetic: bool) -> Iterator[Flag]:
    if synthetic:
        detail = "a program drew this study, there is no patient (its description says so)"
        yield Flag("synthetic", Severity.INFO, detail)
    if placed.tilt_deg > TILTED_DEG:
        detail = f"the gantry was not tilted (found: {placed.tilt_deg:.1f} degrees between slices' step and normal)"
        yield Flag("gantry-tilt", Severity.INFO, detail)


def _unzipped(name: str, data: bytes) -> bytes:
    """The bytes of a file that may be gzipped, its checksum checked.

    Raises:
        UnreadableError: it is cut short, damaged, or unpacks to more than any CT has.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    most = 4 * LARGEST_FILE
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            plain = stream.read(most + 1)  # up to the end, where the checksum is compared
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(name, "a gzipped file is whole and undamaged", type(error).__name__) from error
    if len(plain) > most:
        raise UnreadableError(name, f"a gzipped file unpacks to at most {most // 2**20} MiB", "more")
    return plain


@contextmanager
def _as_file(data: bytes, kind: str) -> Iterator[Path]:
    """The bytes as a file, which is all that SimpleITK reads from."""
    suffix = {"NIfTI": ".nii", "NRRD": ".nrrd", "MetaImage": ".mha"}[kind]
    with tempfile.NamedTemporaryFile(suffix=suffix) as stream:
        stream.write(data)
        stream.flush()
        yield Path(stream.name)


@functools.cache
def _silence() -> None:
    """Have ITK print nothing: its warnings quote the file."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def _point(values: tuple[float, ...] | np.typing.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
