"""What every decoder gives, and the rules that every image must keep, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.facts import Facts
from pulmoscope.core.types import Bytes, Flag, FlagLevel, FloatArray

SMALLEST_SIDE = 64
"""px; below it a chest X-ray shows nothing."""
MOST_PIXELS = 100_000_000
"""Checked in the header, before decoding: a decompression bomb stays packed."""
LONGEST_ASPECT = 3
"""Longer side / shorter side; what is longer is a strip, not a chest."""
MOST_OBLONG = 4
"""A pixel's longer side / its shorter one: what is beyond says something wrong."""
LEAST_SPREAD = 0.02
"""Between the 1st and the 99th percentile of the pixels, which lie in [0, 1]."""
SAMPLED = 128
"""At most about this many rows and columns are looked at for spread and colour."""
COLOUR_STEP = 24
"""Grey levels of 255 between two channels: more is colour, less is JPEG's rounding."""


@dataclass(frozen=True)
class Picture:
    """A decoded image that keeps the rules.

    Attributes:
        pixels: float32 (rows, columns) in [0, 1], air dark, upright.
        spacing_mm: (row, column) distance of the pixels, None where the file does not say.
        view: the projection, where the file says.
        remarks: what was done or noticed.
        facts: of a DICOM file, what it says of the patient and the date, for comparing; None for anything else.
    """

    pixels: FloatArray
    spacing_mm: tuple[float, float] | None = None
    view: str | None = None
    remarks: tuple[Flag, ...] = ()
    facts: Facts | None = None


def check_size(name: str, rows: int, columns: int, ratio: float = 1.0) -> None:
    """Refuse, by its header, what is too small, too large or too long.

    Args:
        name: the image, for the message.
        rows, columns: as stored.
        ratio: a pixel's height / its width.

    Raises:
        UnsuitableError: a rule on the size is broken.
    """
    size = f"{rows} x {columns} pixels"
    if min(rows, columns) < SMALLEST_SIDE:
        raise UnsuitableError(name, "too-small", size, f"at least {SMALLEST_SIDE} x {SMALLEST_SIDE}")
    if rows * columns > MOST_PIXELS:
        raise UnsuitableError(name, "too-many-pixels", size, f"at most {MOST_PIXELS // 10**6} million")
    if not 1 / MOST_OBLONG <= ratio <= MOST_OBLONG:
        finding = f"its pixels are {ratio:.3g} times as tall as wide"
        rule = f"at most {MOST_OBLONG} times, in either direction"
        raise UnsuitableError(name, "pixel-shape", finding, rule)
    if abs(ratio - 1) > 1e-6:
        size += f", each {ratio:.3g} times as tall as wide"
    if max(rows * ratio, columns) > LONGEST_ASPECT * min(rows * ratio, columns):
        raise UnsuitableError(name, "too-long", size, f"at most {LONGEST_ASPECT} times longer than wide")


def check_content(name: str, pixels: FloatArray) -> None:
    """Refuse an image that is constant or nearly empty.

    Args:
        name: the image, for the message.
        pixels: float32 (rows, columns) in [0, 1].

    Raises:
        UnsuitableError: less than ``LEAST_SPREAD`` lies between the 1st and the 99th percentile.
    """
    rows, columns = pixels.shape
    sample = pixels[:: max(1, rows // SAMPLED), :: max(1, columns // SAMPLED)].ravel()
    tail = sample.size // 100
    ordered = np.partition(sample, (tail, sample.size - 1 - tail))
    low, high = ordered[tail], ordered[-1 - tail]
    if high - low < LEAST_SPREAD:
        finding = (
            f"the image is empty: 98 % of its pixels span {100 * float(high - low):.1f} % of the grey range"
        )
        raise UnsuitableError(name, "blank", finding, f"at least {100 * LEAST_SPREAD:.0f} %")


def grey_of_colour(image: Image.Image) -> tuple[Bytes, tuple[Flag, ...]]:
    """Luminance (ITU-R BT.601) of an 8-bit RGB image, and a flag where it really has colour.

    It has, where in more than 1 % of the pixels two channels differ by more than ``COLOUR_STEP``.
    """
    size = min(image.width, SAMPLED), min(image.height, SAMPLED)
    channels = np.asarray(image.resize(size, Image.Resampling.NEAREST)).astype(np.int16)
    coloured = float(np.mean(np.ptp(channels, axis=2) > COLOUR_STEP))
    flags: tuple[Flag, ...] = ()
    if coloured > 0.01:
        flags = (colour_flag(coloured),)
    return np.asarray(image.convert("L")), flags


def colour_flag(fraction: float) -> Flag:
    """What coloured pixels say; ``fraction``: how many of all."""
    return Flag(
        "colour", FlagLevel.WARN, f"{100 * fraction:.0f} % of the pixels are coloured", "an X-ray is grey"
    )
