"""What a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO

HEAD = 1024
"""Bytes that are enough to tell."""
VOLUMES = ("NIfTI", "NRRD", "MetaImage")
PICTURES = ("PNG", "JPEG", "TIFF", "WebP", "BMP")

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"NRRD000": "NRRD",
    b"ObjectType": "MetaImage",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"GIF8": "GIF",
}


def format_of(data: bytes) -> str | None:
    """The format that a file's first bytes tell, None where it is none of those known."""
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[344:348] == b"n+1\0" or data[4:8] == b"n+2\0":
        return "NIfTI"
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    # DICOM without its preamble begins with an element of group 2 or 8.
    if data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0" and len(data) > 132:
        return "DICOM"
    return None


def volume_of(head: bytes) -> str | None:
    """The format of a volume, gzipped or not, by the first :data:`HEAD` bytes; None for anything else."""
    kind = format_of(head)
    if kind == "gzip":
        try:
            with gzip.GzipFile(fileobj=BytesIO(head)) as stream:
                kind = format_of(stream.read1(512))
        except (OSError, EOFError, zlib.error):
            return None
    return kind if kind in VOLUMES else None
