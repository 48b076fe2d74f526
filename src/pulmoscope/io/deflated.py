"""Deflated DICOM files: a few KiB may inflate to any size, and pydicom inflates them without a limit."""

from __future__ import annotations

import zlib

from pydicom.uid import DeflatedExplicitVRLittleEndian

from pulmoscope.core.errors import UnreadableError

LARGEST_INFLATED = 512 * 2**20
"""bytes"""


_LONG = (
    b"OB",
    b"OW",
    b"UN",
    b"SQ",
    b"UT",
    b"UC",
    b"UR",
)  # the length of these has four bytes, after two empty ones


def is_deflated(head: bytes) -> bool:
    """Whether a DICOM file's first KiB says that the rest is deflated."""
    return DeflatedExplicitVRLittleEndian.encode() in head[:1024]


def check_deflated(data: bytes, name: str) -> None:
    """Refuse a deflated file that is a decompression bomb, before pydicom inflates it.

    Raises:
        UnreadableError: it inflates to more than :data:`LARGEST_INFLATED`.
        zlib.error: it is damaged.
    """
    if not is_deflated(data):
        return
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    inflating.decompress(data[_after_meta(data) :], LARGEST_INFLATED)
    if inflating.unconsumed_tail:
        finding = f"it unpacks to more than {LARGEST_INFLATED // 2**20} MiB"
        raise UnreadableError(name, "decompression-bomb", finding)


def _after_meta(data: bytes) -> int:
    """Where the elements of group 2 end, which are explicit little endian (PS3.10 7.1)."""
    position = 132 if data[128:132] == b"DICM" else 0
    while data[position : position + 2] == b"\x02\0":
        if data[position + 4 : position + 6] in _LONG:
            position += 12 + int.from_bytes(data[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(data[position + 6 : position + 8], "little")
    return position
