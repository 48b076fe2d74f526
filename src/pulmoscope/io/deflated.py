"""Deflated DICOM files: a few KiB may inflate to any size, and pydicom inflates them without a limit."""

from __future__ import annotations

import zlib

from pydicom.uid import DeflatedExplicitVRLittleEndian

from pulmoscope.core.errors import UnreadableError

LARGEST_INFLATED = 512 * 2**20
"""bytes"""


def is_deflated(head: bytes) -> bool:
    """Whether a DICOM file's first KiB says that the rest is deflated."""
    return DeflatedExplicitVRLittleEndian.encode() in head[132:1024]


def check_deflated(data: bytes, name: str) -> None:
    """Refuse a deflated file that is a decompression bomb, before pydicom inflates it.

    Raises:
        UnreadableError: it inflates to more than :data:`LARGEST_INFLATED`.
        zlib.error: it is damaged.
    """
    if not is_deflated(data):
        return
    # Group length, the first element after the 132 bytes of preamble and prefix: 8 bytes of header, 4 of value.
    start = 144 + int.from_bytes(data[140:144], "little")
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    inflating.decompress(data[start:], LARGEST_INFLATED)
    if inflating.unconsumed_tail:
        raise UnreadableError(
            name, f"a deflated DICOM file has at most {LARGEST_INFLATED // 2**20} MiB", "more"
        )
