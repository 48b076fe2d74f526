"""What a NIfTI file says of itself, without its voxels."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pulmoscope.core.synthetic import CT_DESCRIPTION

_LENGTH = 80  # of the field descrip, in both versions
_FIRST, _SECOND = 148, 240  # where it begins in NIfTI-1 and in NIfTI-2
_HEAD = 348


def description(path: Path) -> str:
    """The field ``descrip`` of a NIfTI file, gzipped or not; empty where there is none or the file is no NIfTI.

    Only the header is read: a file whose voxels are damaged has a description all the same.

    Source: the headers ``nifti1.h`` and ``nifti2.h`` (nifti.nimh.nih.gov).
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            head = stream.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return ""
    if head[4:8] == b"n+2\0":
        start = _SECOND
    elif head[344:348] in (b"n+1\0", b"ni1\0"):
        start = _FIRST
    else:
        return ""
    return head[start : start + _LENGTH].split(b"\0")[0].decode("latin-1")


def is_phantom(path: Path) -> bool:
    """Whether a NIfTI file says that a program drew it (see :data:`pulmoscope.core.synthetic.CT_DESCRIPTION`)."""
    return description(path).startswith(CT_DESCRIPTION)
