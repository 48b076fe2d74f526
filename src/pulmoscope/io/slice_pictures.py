"""Whether the pictures of a folder are slices of a CT, by a look at a few of them.

A slice is a round body on a dark ground, clear of the picture's upper and lower border, with two dark lungs inside.
That is looked for in three pictures, at a quarter, the middle and three quarters of the folder; in two of them it must
be found, and each of these must look like its neighbour. Radiographs fill the picture from top to bottom, and no two
patients' are that much alike.

Measured on real pictures (``benchmarks/slice_pictures.py``): all 13 folders of whole series were recognised (four as
pictures, three in each of three windows), and of runs of 5, 10 and 20 of their slices, lung or not, 86 %. Of 76,516
folders of 5 to 1,415 radiographs, drawn from 8,211 of eight collections, none was, nor of 2,000 drawn from just the 42
radiographs that look like a slice alone.

Slices that were cut to the body are not recognised: nothing dark is left around it, and they are mostly of several
sizes, which no CT's slices are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import InputError
from pulmoscope.core.types import BoolArray, Bytes, Flag, FlagLevel, FloatArray
from pulmoscope.io.ct.pictures import in_order
from pulmoscope.io.formats import format_of
from pulmoscope.io.inputs import Entry
from pulmoscope.io.xray import raster

SLICE = "ct-slice"
"""The flag's code."""
FEWEST = 5
"""Pictures in a folder; fewer tell nothing about neighbours."""
ALIKE = 0.85
"""Least correlation of a slice and its neighbour (of real series, at 2 to 16 mm: 0.88 and more in 90 %)."""
LARGEST_SIDE = 1536
"""px; a CT's slices have 512 to 1024 a side, so that radiographs at their own size need not be decoded for this."""
_SIDE, _COMPARED = 128, 48
"""px; pictures are shrunk to these to be looked at, and to be compared."""
_BODY = (0.15, 0.85)
"""Fraction of the picture."""
_SOLID = 0.9
"""Least area of the body / that of its convex hull."""
_ROUND = (0.6, 0.93)
"""The body's area / that of the rectangle around it: an ellipse has 0.79, a framed radiograph nearly 1."""
_WIDE = (0.95, 2.6)
"""The body's width / its depth."""
_LUNG = 0.04
"""Least fraction of the body that is dark on either side of its middle."""
_ON_BORDER = 0.02
"""Largest fraction of the upper and of the lower border that is body."""


def slice_flag(pictures: Sequence[Entry]) -> Flag | None:
    """The flag that refers each picture of a folder of CT slices; None where they are none, or it is unknown.

    At most six pictures are decoded, of a folder of radiographs two or three, and none that is larger than a slice.
    """
    if len(pictures) < FEWEST or not _are_slices(in_order(pictures)):
        return None
    finding = "the pictures of its folder look like the slices of a CT"
    rule = "--modality ct reads them as one CT, --modality xray each as a radiograph"
    return Flag(SLICE, FlagLevel.REFUSE, finding, rule)


def _are_slices(ordered: Sequence[Entry]) -> bool:
    """Whether two of three pictures are slices, each like its neighbour."""
    alike = 0
    for left, quarter in enumerate((2, 1, 3)):  # the middle first, where lungs are most likely
        position = quarter * (len(ordered) - 1) // 4
        here = _pixels(ordered[position])
        if here is not None and is_slice(here):
            beside = _pixels(ordered[position + 1])
            alike += beside is not None and beside.shape == here.shape and likeness(here, beside) >= ALIKE
        if alike == 2 or alike + 2 - left < 2:
            break
    return alike == 2


def is_slice(pixels: FloatArray) -> bool:
    """Whether a picture shows an axial slice through the lungs.

    Args:
        pixels: float32 (rows, columns) in [0, 1], of any window that tells lung from the chest wall.
    """
    return any(_is_body(grey, mask) for grey, mask in _divided(pixels))


def likeness(first: FloatArray, second: FloatArray) -> float:
    """The correlation of two pictures, shrunk; 0 where one is constant."""
    return float(_vector(first) @ _vector(second))


def _divided(pixels: FloatArray) -> Iterator[tuple[BoolArray, Bytes]]:
    """What of the shrunk picture is dark, and what may be body, in four ways.

    Otsu's threshold divides air and lung from tissue in a lung window, but fat from muscle in a narrow one: there that
    of the darker half does. Opening takes the body off the table, and may break a thin chest wall.
    """
    import cv2

    scale = _SIDE / max(pixels.shape)
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    grey = np.rint(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    first = _otsu(grey)
    for threshold in (first, _otsu(grey[grey <= first])):
        bright = (grey > threshold).astype(np.uint8)
        for body in (cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), bright):
            yield grey <= threshold, body


def _is_body(dark: BoolArray, bright: Bytes) -> bool:
    """Whether the largest bright part is the outline of a body with two lungs in it."""
    import cv2

    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return False
    outline = max(outlines, key=cv2.contourArea)
    body = cv2.drawContours(np.zeros_like(bright), [outline], -1, 1, -1) == 1
    area = float(body.sum())
    left, _, width, height = cv2.boundingRect(outline)
    solid = cv2.contourArea(outline) / max(1.0, cv2.contourArea(cv2.convexHull(outline)))
    lungs, middle = dark & body, left + width // 2
    return bool(
        max(body[0].mean(), body[-1].mean()) < _ON_BORDER
        and _BODY[0] < area / body.size < _BODY[1]
        and solid > _SOLID
        and _ROUND[0] < area / (width * height) < _ROUND[1]
        and _WIDE[0] < width / height < _WIDE[1]
        and min(lungs[:, :middle].sum(), lungs[:, middle:].sum()) > _LUNG * area
    )


def _otsu(grey: Bytes) -> float:
    import cv2

    return float(cv2.threshold(grey.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)[0])


def _vector(pixels: FloatArray) -> npt.NDArray[np.float64]:
    """A picture as a vector of mean 0 and length 1; all 0 where it is constant."""
    import cv2

    small = (
        cv2.resize(pixels, (_COMPARED, _COMPARED), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
    )
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return np.asarray(small / length if length > 1e-6 else np.zeros_like(small))


def _pixels(entry: Entry) -> FloatArray | None:
    """A picture's pixels; None where it is too large, or can't be read: reading it as an image says why."""
    try:
        data = entry.read_bytes()
        kind = str(format_of(data))
        if max(raster.size_of(data, kind)) > LARGEST_SIDE:
            return None
        return raster.decode(data, entry.name, kind).pixels
    except InputError:
        return None
