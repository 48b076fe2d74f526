"""The distances of voxels as a volume's header states them, before ITK puts 1 mm where they are missing or impossible.

Sources: ``nifti1.h`` and ``nifti2.h`` (``pixdim``), MetaIO's ``ElementSpacing`` and ``ElementSize``, NRRD 5
(``spacings``, ``space directions``).
"""

from __future__ import annotations

import math
import re
import struct

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.io.ct.container import Container
from pulmoscope.io.ct.limits import LARGEST_STEP_MM

_HEADER = 2**16
_NUMBER = r"[^\s,()]+"


def check_stated_spacing(name: str, container: Container) -> None:
    """Refuse a volume whose header states no distance of voxels, or one that is none.

    Raises:
        UnsuitableError: a distance is missing, no number, zero or negative.
    """
    stated = _STATED[container.kind](container)
    if stated and all(math.isfinite(step) and step > 0 for step in stated):
        return
    what = (
        f"voxels of {' x '.join(f'{step:.4g}' for step in stated)} mm"
        if stated
        else "voxels of no stated size"
    )
    raise UnsuitableError(
        name,
        "voxel-size",
        f"{what}, by the file's header",
        f"above 0 and at most {LARGEST_STEP_MM} mm a side",
    )


def _nifti(container: Container) -> tuple[float, ...]:
    """Pixdim 1 to 3; its length is that of float or double by the version."""
    data = container.data
    second = data[4:8] == b"n+2\0"
    order = "<" if struct.unpack("<i", data[:4])[0] in (348, 540) else ">"
    steps = struct.unpack(f"{order}4d", data[104:136]) if second else struct.unpack(f"{order}4f", data[76:92])
    return steps[1:]


def _metaimage(container: Container) -> tuple[float, ...]:
    """ElementSpacing, or ElementSize where that is not there."""
    header = container.data[: min(container.start, _HEADER)]
    for key in (rb"ElementSpacing", rb"ElementSize"):
        if line := re.search(rb"(?:^|\n)[ \t]*" + key + rb"[ \t]*[=:]([^\r\n]*)", header):
            return _floats(line[1].decode("latin-1").split())[:3]
    return ()


def _nrrd(container: Container) -> tuple[float, ...]:
    """The lengths of the space directions, or the spacings; axes that are not of space are left out."""
    header = container.data[: min(container.start, _HEADER)]
    if line := re.search(rb"\nspace directions:([^\r\n]*)", header, re.IGNORECASE):
        vectors = re.findall(r"\(([^)]*)\)", line[1].decode("latin-1"))
        return tuple(float(np.linalg.norm(_floats(re.findall(_NUMBER, vector)))) for vector in vectors)
    if line := re.search(rb"\nspacings:([^\r\n]*)", header, re.IGNORECASE):
        return _floats(line[1].decode("latin-1").split())[:3]
    return ()


def _floats(texts: list[str]) -> tuple[float, ...]:
    """Numbers; what is none becomes NaN."""
    return tuple(_float(text) for text in texts)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


_STATED = {"NIfTI": _nifti, "MetaImage": _metaimage, "NRRD": _nrrd}
