"""One volume file → scan: NIfTI, MetaImage (.mha) and NRRD, gzipped or not, read by SimpleITK.

Pairs of a header and a data file (.mhd, .nhdr, .hdr) are refused: one can get lost, and a header can name any file.
"""

from __future__ import annotations

import functools
import gzip
import re
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
from pulmoscope.io.ct_limits import LARGEST_STEP_MM, MOST_VOXELS, check_size
from pulmoscope.io.ct_stack import tilt_flags
from pulmoscope.io.formats import HEAD, VOLUMES, format_of
from pulmoscope.io.inputs import LARGEST_FILE, LARGEST_RATIO, Entry
from pulmoscope.io.orient import orient

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
            image, remarks = _image(entry.name, path, kind, len(data))
    except InputError:
        raise
    except Exception as error:  # SimpleITK's own message quotes the temporary file and its C++ sources
        raise UnreadableError(
            entry.name, f"a {kind} file is whole and undamaged", type(error).__name__
        ) from None
    placed = _geometry(entry.name, image)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number in float32 is no HU either
        values = sitk.GetArrayViewFromImage(image).astype(np.float32)
    pixels, turned, _ = orient(values, placed)
    slices, rows, columns = pixels.shape
    check_size(entry.name, (slices, rows, columns), turned.spacing_mm[1:])
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
        remarks=(*remarks, *tilt_flags(turned)),
    )


def _image(name: str, path: Path, kind: str, stored: int) -> tuple[sitk.Image, list[Flag]]:
    """The image, checked by its header before its pixels, and what its header says of it.

    Args:
        name: the file as given, for messages.
        path: the unpacked file.
        kind: its format.
        stored: bytes of the file as given.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_IO[kind])
    reader.ReadImageInformation()
    size, pixel = reader.GetSize(), reader.GetPixelID()
    shown = " x ".join(map(str, size))
    if len(size[:3]) != 3 or any(side != 1 for side in size[3:]) or len(size) > 4:
        raise UnsuitableError(name, "a CT is one volume of three dimensions", shown)
    if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(pixel):
        raise UnsuitableError(name, "a voxel of a CT is one number", sitk.GetPixelIDValueAsString(pixel))
    voxels = float(size[0]) * size[1] * size[2]
    if voxels > MOST_VOXELS:
        raise UnsuitableError(name, f"a volume has at most {MOST_VOXELS // 10**6} million voxels", shown)
    if voxels * sitk.Image([1, 1], pixel).GetSizeOfPixelComponent() > max(2**20, LARGEST_RATIO * stored):
        raise UnreadableError(
            name, f"a volume unpacks to at most {LARGEST_RATIO} times its file's size", shown
        )
    image = reader.Execute()
    return (image[:, :, :, 0] if len(size) == 4 else image), list(_remarks(reader, kind))


def _remarks(reader: sitk.ImageFileReader, kind: str) -> Iterator[Flag]:
    """What a volume's header says of it."""

    def said(key: str) -> str:
        return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""

    if any(said(key).startswith(SYNTHETIC) for key in ("descrip", "content")):
        detail = "a program drew this study, there is no patient (its description says so)"
        yield Flag("synthetic", Severity.INFO, detail)
    unplaced = kind == "NIfTI" and said("qform_code") == said("sform_code") == "0"
    if unplaced or (kind == "NRRD" and not said("NRRD_space")):
        detail = (
            "the file says how the volume lies in the patient (found: it does not; taken as it is stored)"
        )
        yield Flag("orientation-unknown", Severity.WARN, detail)


def _check_self_contained(name: str, data: bytes, kind: str) -> None:
    """Refuse a header whose voxels lie in another file, whose name could be any on this machine.

    Raises:
        UnsuitableError: it names one.
    """
    local = True
    if kind == "MetaImage":
        said = re.search(rb"\n[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\w+)[ \t]*\r?\n", data[: 2**16])
        # A second one, before or after it, could be the one that counts.
        local = said is not None and said[1].lower() == b"local" and data.count(b"ElementDataFile") == 1
    if kind == "NRRD":
        header = re.search(rb"\A.*?\r?\n\r?\n", data, re.DOTALL)
        local = header is not None and not re.search(rb"data[ \t]*file[ \t]*:", header[0], re.IGNORECASE)
    if not local:
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


def _unzipped(name: str, data: bytes) -> bytes:
    """The bytes of a file that may be gzipped, its checksum checked.

    Raises:
        UnreadableError: it is cut short, damaged, or unpacks to more than any CT has.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    most = min(4 * LARGEST_FILE, max(2**20, LARGEST_RATIO * len(data)))
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            plain = stream.read(most + 1)  # up to the end, where the checksum is compared
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(name, "a gzipped file is whole and undamaged", type(error).__name__) from error
    if len(plain) > most:
        rule = f"a gzipped file unpacks to at most {LARGEST_RATIO} times its size, and {4 * LARGEST_FILE // 2**20} MiB"
        raise UnreadableError(name, rule, "more")
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
