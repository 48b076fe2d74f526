"""Damage of an X-ray that its pixels show wherever the lungs are: too blurred for a prediction, or with bands of noise.

A radiograph has structure of every size; blurring takes the fine one and leaves the coarse one. So its sharpness is
how strong the fine structure is beside the coarse one, at the typical place of the typical part of the picture, which
letters and frames do not change. What noise alone adds to the fine structure is estimated from the finest, and left
out.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.order import medians, percentiles
from pulmoscope.core.types import BoolArray, Flag, FlagLevel, FloatArray

LEAST_SHARPNESS = 0.145
"""Strength of details of 1 to 3 pixels beside those of 4 to 11, in a radiograph of 256 pixels (99 %: 0.19 or more)."""
LEAST_DETAIL = 0.22
"""Strength of the finest details, below 1.5 pixels, beside those of 2 to 5: pixels that were made larger have none
within them (radiographs: 0.31 and more)."""
LEAST_STRUCTURE = 0.0015
"""A picture with less coarse structure, in fractions of its range of grey, is flat: its sharpness is unknown."""
MOST_NOISE, NOISIER, LEAST_NOISE = 0.035, 4.0, 0.03
"""Largest fraction of rows or columns that are so many times as noisy as the typical one, and beyond this fraction of
the range of grey (radiographs: 0.002 in 99.5 %)."""

_SIDE, _TILE, _LEAST_TILES = 256, 24, 25
_BLURS = (0.7, 1.4, 2.8, 5.6, 11.2)
_NOISE_GAINS = (0.488, 0.189)
"""Median strength of white noise with a standard deviation of 1 in the two finest bands."""
_NOISE_SIDE = 512
_MOST_BLACK = 0.02
"""Largest fraction of a tile that may be as black as the darkest 2 % of the picture."""

Value = TypeVar("Value", np.float32, np.bool_)


def check(pixels: FloatArray) -> tuple[Flag, ...]:
    """The flags of an X-ray's pixels, float32 (rows, columns) in [0, 1]: ``blurred``, ``noise-band``."""
    low, high = percentiles(
        pixels[:: max(1, pixels.shape[0] // 128), :: max(1, pixels.shape[1] // 128)], (2, 98)
    )
    spread = max(high - low, 0.02)
    return (*_blurred(pixels, spread), *_noise_band(pixels, spread))


def in_percent(fraction: float) -> str:
    """A fraction for people, with one digit where it has one: ``37.2 %``, ``45 %``."""
    return f"{100 * fraction:.1f}".removesuffix(".0") + " %"


def sharpness(pixels: FloatArray, spread: float = 1.0) -> tuple[float, float] | None:
    """How strong fine structure is beside coarse one, and the finest beside the fine one; None: unknown.

    Of a picture that is flat or small it is unknown.

    Args:
        pixels: float32 (rows, columns); a longer side than 256 is shrunk to that.
        spread: the picture's range of grey.
    """
    scale = _SIDE / max(pixels.shape)
    if scale < 1:
        rows, columns = (max(_TILE, round(side * scale)) for side in pixels.shape)
        pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    strengths = _strengths(pixels)
    if not len(strengths) or float(medians(strengths[:, 3])) < LEAST_STRUCTURE * spread:
        return None
    strengths = np.maximum(strengths, 1e-6)
    noise = strengths[:, 0] / _NOISE_GAINS[0]
    fine = np.sqrt(np.maximum(strengths[:, 1] ** 2 - (_NOISE_GAINS[1] * noise) ** 2, 0))
    sharp = np.asarray(fine / strengths[:, 3], dtype=np.float32)
    return float(medians(sharp)), float(medians(strengths[:, 0] / strengths[:, 2]))


def _strengths(pixels: FloatArray) -> FloatArray:
    """Median strength of five bands of detail, the finest first, in the tiles that tell: float32 (tiles, 5).

    These are, of the tiles without black, the three fifths with the most of the coarsest band; none where there are too
    few without black.
    """
    smooth = [pixels, *(cv2.GaussianBlur(pixels, (0, 0), width) for width in _BLURS)]
    tiles = [_tiles(cv2.absdiff(one, other)) for one, other in pairwise(smooth)]
    lit = _lit(pixels)
    coarsest = medians(tiles[-1][lit].reshape(-1, _TILE * _TILE))
    if len(coarsest) < _LEAST_TILES:
        return np.empty((0, len(tiles)), dtype=np.float32)
    structured = coarsest >= percentiles(coarsest, (40,))[0]
    lit[lit] = structured
    finer = [medians(band[lit].reshape(-1, _TILE * _TILE)) for band in tiles[:-1]]
    return np.stack([*finer, coarsest[structured]], axis=1)


def _tiles(image: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """The whole tiles of an image (rows, columns): (rows of tiles, columns of tiles, ``_TILE``, ``_TILE``)."""
    rows, columns = (side // _TILE for side in image.shape)
    cut = image[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE)
    return cut.transpose(0, 2, 1, 3)


def _lit(pixels: FloatArray) -> BoolArray:
    """Which tiles hold next to no black: the edge of a dark frame would pass for coarse structure."""
    low, high = percentiles(pixels, (2, 98))
    black = _tiles(pixels <= low + 0.01 * (high - low))
    return np.asarray(black.sum(axis=(2, 3)) <= _MOST_BLACK * _TILE**2)


def _blurred(pixels: FloatArray, spread: float) -> tuple[Flag, ...]:
    measured = sharpness(pixels, spread)
    if measured is None:
        return ()
    sharp, detail = measured
    if sharp < LEAST_SHARPNESS:
        strength = f"{in_percent(sharp)} of the strength of the coarse one"
        finding = f"the radiograph is blurred: its fine structure has {strength}"
        return (_refuse("blurred", finding, f"at least {in_percent(LEAST_SHARPNESS)}"),)
    if detail < LEAST_DETAIL:
        strength = f"{in_percent(detail)} of the strength of structure twice as coarse"
        finding = f"the radiograph is an enlarged thumbnail: its finest structure has {strength}"
        return (_refuse("blurred", finding, f"at least {in_percent(LEAST_DETAIL)}"),)
    return ()


def _noise_band(pixels: FloatArray, spread: float) -> tuple[Flag, ...]:
    """Rows or columns whose pixels differ from their neighbours within the row as those of a radiograph never do."""
    step = -(-max(pixels.shape) // _NOISE_SIDE)
    sample = pixels[::step, ::step]  # not averaged, which would take the noise away
    fraction = 0.0
    for axis in (1, 0):
        differences = np.abs(np.diff(sample, 2, axis=axis))
        # A median beyond a limit takes half of the numbers beyond it: counting tells most images quickly.
        loud = 2 * np.count_nonzero(differences > LEAST_NOISE * spread, axis=axis) >= differences.shape[axis]
        if float(loud.mean()) <= MOST_NOISE:
            continue
        noise = medians(np.moveaxis(differences, axis, -1))
        limit = max(NOISIER * float(medians(noise)), LEAST_NOISE * spread)
        fraction = max(fraction, float((noise > limit).mean()))
    if fraction <= MOST_NOISE:
        return ()
    finding = f"{in_percent(fraction)} of the rows or columns of pixels are noise"
    return (_refuse("noise-band", finding, f"at most {in_percent(MOST_NOISE)}"),)


def _refuse(code: str, finding: str, rule: str) -> Flag:
    return Flag(code, FlagLevel.REFUSE, finding, rule)
