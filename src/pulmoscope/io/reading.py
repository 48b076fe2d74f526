"""Bytes → scan: the content decides the format, whatever the name says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import FloatArray, Modality, Scan, SourceFile
from pulmoscope.io import raster
from pulmoscope.io.inputs import Entry, entries, slug_of
from pulmoscope.io.picture import Picture

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"GIF8": "GIF",
}


@dataclass(frozen=True)
class ReadResult:
    """What became of one entry: a scan, or the error that refuses it; exactly one of them is there."""

    name: str
    slug: str
    scan: Scan | None = None
    error: InputError | None = None


def read(paths: Sequence[Path]) -> Iterator[ReadResult]:
    """Read every image that the paths hold, one at a time (see :func:`entries`). Raises no InputError."""
    return map(read_entry, entries(paths))


def read_entry(entry: Entry) -> ReadResult:
    """Read one entry; a refusal is in the result. Safe to call from several threads."""
    try:
        return ReadResult(entry.name, entry.slug, scan=_scan(entry))
    except InputError as error:
        return ReadResult(entry.name, entry.slug, error=error)


def read_xray(path: Path) -> Scan:
    """Read one X-ray file.

    Raises:
        UnreadableError: missing, damaged, or no image that is supported.
        UnsuitableError: an image, but no chest X-ray that can be diagnosed.
    """
    return _scan(Entry(str(path), slug_of(path.name), path))


def read_pixels(path: Path) -> FloatArray:
    """Only the pixels of one X-ray file, float32 (rows, columns) in [0, 1], air dark, upright; all checks done.

    Raises:
        InputError: as :func:`read_xray`.
    """
    return _decode(Entry(str(path), "", path).read_bytes(), str(path)).pixels


def format_of(data: bytes) -> str | None:
    """The format that a file's first bytes tell, None where it is none of those known."""
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    # DICOM without its preamble begins with an element of group 2 or 8.
    if data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0" and len(data) > 132:
        return "DICOM"
    return None


def _decode(data: bytes, name: str) -> Picture:
    """Decode by content."""
    if not data:
        raise UnreadableError(name, "a file is not empty", "0 bytes")
    kind = format_of(data)
    if kind == "DICOM":
        from pulmoscope.io import dicom  # pydicom and GDCM take a fifth of a second

        return dicom.decode(data, name)
    if kind == "zip":
        raise UnreadableError(name, "a zip is named .zip and does not lie in another zip", "a zip")
    if kind in (None, "gzip", "PDF", "GIF"):
        raise UnreadableError(
            name, "a file is a DICOM, PNG, JPEG, TIFF, WebP or BMP image", kind or "none of these"
        )
    return raster.decode(data, name, kind)


def _scan(entry: Entry) -> Scan:
    """Read and decode one entry.

    An X-ray is a projection: it has no distance between slices, so its ``spacing_mm`` begins with 0.
    """
    data = entry.read_bytes()
    picture = _decode(data, entry.name)
    return Scan(
        name=entry.slug,
        modality=Modality.XRAY,
        pixels=picture.pixels[None],
        files=(SourceFile(entry.name, sha256_of(data)),),
        spacing_mm=picture.spacing_mm and (0.0, *picture.spacing_mm),
        view=picture.view,
        remarks=picture.remarks,
    )
