"""What is measured of one image file: bytes, size, brightness, hash."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.threads import asked_for
from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.datasets.fingerprint import dhash
from pulmoscope.datasets.table import SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.io.quiet import unreadable

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""
HISTOGRAM_BINS = 32
BORDER = 0.05
"""The frame whose darkness is measured: this fraction of the sides, at every border."""
DARK = 0.05
"""Pixels below this are dark: padding, collimation, air outside the body."""

_SIGNATURES = ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"))


@dataclass(frozen=True)
class Measured:
    """What was measured on one readable image; pixel values are in [0, 1].

    Attributes:
        sha256: of the file.
        format: by its first bytes, not its name: ``PNG``, ``JPEG``, ``TIFF``, ``DICOM`` or ``other``.
        bytes_per_pixel: file size over number of pixels.
        mean, square: mean of the pixels and of their squares.
        dark_border: fraction of dark pixels in the outer frame.
        histogram: fraction of pixels in each of 32 equal bins, float32 (32,).
        hash: bool (256,), see :func:`~pulmoscope.datasets.fingerprint.dhash`.
    """

    sha256: str
    format: str
    rows: int
    columns: int
    bytes_per_pixel: float
    mean: float
    square: float
    dark_border: float
    histogram: FloatArray
    hash: BoolArray

    @property
    def sd(self) -> float:
        """Standard deviation of the pixels."""
        return float(np.sqrt(max(0.0, self.square - self.mean**2)))


def measure(path: Path) -> Measured:
    """Measure one image file.

    Raises:
        InputError: it is missing or can't be read.
    """
    pixels = read_pixels(path)
    rows, columns = pixels.shape
    counts, _ = np.histogram(pixels, bins=HISTOGRAM_BINS, range=(0, 1))
    return Measured(
        sha256=sha256_of_file(path),
        format=file_format(path),
        rows=rows,
        columns=columns,
        bytes_per_pixel=path.stat().st_size / pixels.size,
        mean=float(pixels.mean(dtype=np.float64)),
        square=float(np.square(pixels).mean(dtype=np.float64)),
        dark_border=_dark_border(pixels),
        histogram=np.asarray(counts / pixels.size, dtype=np.float32),
        hash=dhash(pixels),
    )


def file_format(path: Path) -> str:
    """The format that the first bytes announce."""
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for start, name in _SIGNATURES if head.startswith(start)), "other")


def _dark_border(pixels: FloatArray) -> float:
    rows, columns = pixels.shape
    high, wide = max(1, round(rows * BORDER)), max(1, round(columns * BORDER))
    frame = np.ones(pixels.shape, dtype=np.bool_)
    frame[high : rows - high, wide : columns - wide] = False
    return float((pixels[frame] < DARK).mean())


def measure_all(table: SampleTable, progress: Progress | None = None) -> list[Measured | InputError]:
    """Measure every image of a table, in its order, on all cores; pixels of a few images are in memory at a time.

    Args:
        progress: called with (images done, images in all).

    Returns:
        for each sample the measurement, or the error that its file gave.
    """
    paths = [table.path(sample) for sample in table]
    results = []
    with ThreadPoolExecutor(asked_for()) as pool:
        for done, result in enumerate(pool.map(_measure_or_error, paths), start=1):
            results.append(result)
            if progress is not None:
                progress(done, len(paths))
    return results


def _measure_or_error(path: Path) -> Measured | InputError:
    try:
        return measure(path)
    except InputError as error:
        return error
    except OSError as error:
        return unreadable(str(path), error)
