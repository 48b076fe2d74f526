"""What of a radiograph is no lung, and how it is put into another radiograph: what a shortcut can hang on.

A trait has numbers that describe it, from which a probe tries to tell the label, and a way to give an image the trait
of another: if a model's answer moves with it, the model reads it. All images are float32 (rows, columns) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Box, FloatArray

CORNER, STRIP = 0.22, 0.08
"""Side of a corner and width of the border, in sides of the image."""
ROOM = 0.02
"""How far beyond the lungs nothing counts as being outside them, in shorter sides."""
GRID = 6
"""A region is described by the mean greys of GRID x GRID cells, among others."""
DEPTHS = 4
"""The border is described at so many depths."""
STROKE = 0.055
"""Letters are thinner than this, in shorter sides of the image, ..."""
RISE, LEAST_GREY = 0.22, 0.55
"""... this much brighter than what is around them, and at least this bright."""
LETTER = (0.012, 0.3)
"""Least and largest side of the box around a letter, in shorter sides."""
BLOCK = 8
"""JPEG compresses blocks of so many pixels a side (ITU-T T.81)."""
LEAST_STEP = 1e-3
"""Added to steps before they are divided: smaller ones are rounding."""


@dataclass(frozen=True)
class Picture:
    """An image, small enough to keep many, and what is known of its file.

    Attributes:
        pixels: float32 (rows, columns) in [0, 1].
        lungs: bool (rows, columns), the lungs and a little around them.
        size: rows and columns of the file.
        blocks: how much larger steps between neighbouring pixels are at the edges of blocks of 8 than elsewhere, along
            rows and along columns; 1 where it was never compressed so.
    """

    pixels: FloatArray
    lungs: BoolArray
    size: tuple[int, int]
    blocks: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Trait:
    """Something outside the lungs by which images can be told apart.

    Attributes:
        code, title: stable name, and name within a sentence.
        described: numbers about it.
        given: (image, other) → the first image with the other's trait; None: it can't be exchanged.
    """

    code: str
    title: str
    described: Callable[[Picture], FloatArray]
    given: Callable[[Picture, Picture], FloatArray] | None


def blockiness(pixels: FloatArray) -> tuple[float, float]:
    """How large the step between neighbours is at the edges of JPEG's blocks, over that elsewhere: rows, columns.

    Medians over lines and over the steps of a line: a frame or a marker whose edge lies there changes neither.
    """
    return _steps(pixels), _steps(pixels.T)


def _steps(pixels: FloatArray) -> float:
    steps = np.median(np.abs(np.diff(pixels, axis=1)), axis=0).astype(np.float64)
    at_edge = np.arange(len(steps)) % BLOCK == BLOCK - 1
    if not at_edge.any() or at_edge.all():
        return 1.0
    return float((np.median(steps[at_edge]) + LEAST_STEP) / (np.median(steps[~at_edge]) + LEAST_STEP))


def corner_box(rows: int, columns: int, at: tuple[int, int], inset: float = 0.0) -> Box:
    """A corner of an image.

    Args:
        at: 0 is top, 1 bottom; 0 is left, 1 right.
        inset: how much of the image's border is left out, in its sides.
    """
    top, left = (inset if far == 0 else 1 - CORNER for far in at)
    return _box(rows, columns, top, left, CORNER - inset)


def control_boxes(rows: int, columns: int, shifts: Sequence[tuple[float, float]]) -> list[Box]:
    """Boxes as large as a corner, between corners and within the border.

    Args:
        shifts: where, each a pair in [0, 1]: how far along the free way between two corners.
    """
    boxes = []
    for index, (along, far) in enumerate(shifts):
        free = CORNER + along * (1 - 3 * CORNER)
        edge = STRIP if far < 0.5 else 1 - STRIP - CORNER
        top, left = (edge, free) if index % 2 else (free, edge)
        boxes.append(_box(rows, columns, top, left, CORNER))
    return boxes


def _box(rows: int, columns: int, top: float, left: float, side: float) -> Box:
    return Box(
        round(top * rows),
        round(left * columns),
        max(1, round(side * rows)),
        max(1, round(side * columns)),
    )


def strips(rows: int, columns: int, ends: float) -> list[Box]:
    """The border in four strips: top, bottom, left, right; without ``ends`` of the sides at both ends."""
    high, wide = max(1, round(STRIP * rows)), max(1, round(STRIP * columns))
    top, left = round(ends * rows), round(ends * columns)
    return [
        Box(0, left, high, columns - 2 * left),
        Box(rows - high, left, high, columns - 2 * left),
        Box(top, 0, rows - 2 * top, wide),
        Box(top, columns - wide, rows - 2 * top, wide),
    ]


def traits(*, framed: bool) -> tuple[Trait, ...]:
    """All that is looked for.

    Args:
        framed: the images' border tells something: what of it lies in a corner is not the corner's.
    """
    inset = STRIP if framed else 0.0
    names = ("top-left", "top-right", "bottom-left", "bottom-right")
    corners = []
    for number, name in enumerate(names):
        boxes = partial(_corner, at=divmod(number, 2), inset=inset)
        title = f"the {name.replace('-', ' ')} corner"
        corners.append(Trait(f"corner-{name}", title, partial(_greys, boxes), partial(_patched, boxes)))
    return (
        BORDER,
        *corners,
        Trait("letters", "a letter or another thin bright mark", _marks, _relettered),
        Trait("brightness", "the brightness outside the lungs", _tone, _toned),
        Trait("size", "the size of the image", _size, _resized),
        Trait("compression", "JPEG compression", _blocks, None),
    )


def control(shifts: Sequence[tuple[float, float]]) -> tuple[Callable[[Picture, Picture], FloatArray], ...]:
    """For each of :func:`control_boxes`: (image, other) → the first image with what the other has there."""

    def boxes(rows: int, columns: int, *, number: int) -> list[Box]:
        return control_boxes(rows, columns, shifts)[number : number + 1]

    return tuple(partial(_patched, partial(boxes, number=number)) for number in range(len(shifts)))


def _corner(rows: int, columns: int, *, at: tuple[int, int], inset: float) -> list[Box]:
    return [corner_box(rows, columns, at, inset)]


Boxes = Callable[[int, int], Sequence[Box]]


def _greys(boxes: Boxes, picture: Picture) -> FloatArray:
    """Mean greys of each box's cells, and how bright, dark and uneven it is; lungs within it have its mean."""
    numbers: list[FloatArray] = []
    for box in boxes(*picture.pixels.shape):
        outside = ~picture.lungs[box.slices]
        grey = picture.pixels[box.slices].copy()
        mean = grey[outside].mean() if outside.any() else grey.mean()
        grey[~outside] = mean
        cells = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA)
        spread = np.percentile(grey, (1, 50, 99, 99.9))
        numbers += [cells.ravel(), spread, np.array([mean, grey.std()])]
    return np.concatenate(numbers).astype(np.float32)


def _patched(boxes: Boxes, picture: Picture, other: Picture) -> FloatArray:
    """What the other image has in the same boxes, but for the lungs of both."""
    image = picture.pixels.copy()
    rows, columns = image.shape
    pixels, lungs = _fitted(other, rows, columns)
    for box in boxes(rows, columns):
        outside = ~(picture.lungs[box.slices] | lungs[box.slices])
        image[box.slices][outside] = pixels[box.slices][outside]
    return image


def _fitted(picture: Picture, rows: int, columns: int) -> tuple[FloatArray, BoolArray]:
    """Pixels and lungs of an image, resampled to (rows, columns)."""
    if picture.pixels.shape == (rows, columns):
        return picture.pixels, picture.lungs
    size = (columns, rows)
    pixels = np.asarray(cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return pixels, _resampled(picture.lungs, rows, columns)


def _resampled(mask: BoolArray, rows: int, columns: int) -> BoolArray:
    size = (columns, rows)
    return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), dtype=bool)


def _frame(picture: Picture) -> FloatArray:
    """Quartiles along each side between the corners, at several depths: a frame moves them, a single mark does not."""
    numbers: list[FloatArray] = []
    rows, columns = picture.pixels.shape
    for index, box in enumerate(strips(rows, columns, CORNER)):
        strip = picture.pixels[box.slices]
        deep = strip if index < 2 else strip.T
        levels = cv2.resize(deep, (deep.shape[1], DEPTHS), interpolation=cv2.INTER_AREA)
        numbers.append(np.percentile(levels, (25, 50, 75), axis=1).ravel())
    return np.concatenate(numbers).astype(np.float32)


BORDER = Trait(
    "border",
    "the border",
    _frame,
    partial(_patched, partial(strips, ends=0.0)),
)


def letters(picture: Picture) -> BoolArray:
    """Where thin bright marks lie outside the lungs: burned-in letters, arrows, small markers; bool (rows, columns)."""
    _, numbered, kept, _ = _components(picture)
    return np.asarray(np.isin(numbered, kept))


def _components(picture: Picture) -> tuple[FloatArray, np.ndarray, list[int], np.ndarray]:
    """How far each pixel rises above what is around it; the marks, numbered; which of them are kept; their boxes."""
    pixels, side = picture.pixels, min(picture.pixels.shape)
    stroke = max(3, round(STROKE * side)) | 1
    padded = cv2.copyMakeBorder(pixels, stroke, stroke, stroke, stroke, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((stroke, stroke), np.uint8))
    rise = pixels - opened[stroke:-stroke, stroke:-stroke]
    marks = (rise > RISE) & (pixels > LEAST_GREY) & ~picture.lungs
    _, numbered, stats, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)
    least, largest = (limit * side for limit in LETTER)
    long = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = [number for number in range(1, len(stats)) if least <= long[number] <= largest]
    return np.asarray(rise, dtype=np.float32), numbered, kept, stats


def _marks(picture: Picture) -> FloatArray:
    """How many marks there are, how large and bright, and where."""
    rise, numbered, kept, stats = _components(picture)
    mask = np.isin(numbered, kept)
    side = min(mask.shape)
    boxes = stats[kept][:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].mean(axis=0) / side if kept else (0, 0)
    where = cv2.resize(mask.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA)
    area, bright = float(mask.mean()), float(rise[mask].max()) if kept else 0.0
    return np.array([np.log1p(len(kept)), np.sqrt(area), bright, *boxes, *np.sqrt(where.ravel())], np.float32)


def _relettered(picture: Picture, other: Picture) -> FloatArray:
    """The image without its marks, and with the other's."""
    image = _without(picture.pixels, _grown(letters(picture)))
    rows, columns = image.shape
    pixels, _ = _fitted(other, rows, columns)
    marks = _resampled(_grown(letters(other)), rows, columns) & ~picture.lungs
    image[marks] = pixels[marks]
    return image


def _grown(mask: BoolArray) -> BoolArray:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)), dtype=bool)


def _without(pixels: FloatArray, mask: BoolArray) -> FloatArray:
    """An image whose masked pixels follow from those around them (Telea 2004)."""
    if not mask.any():
        return pixels.copy()
    grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    painted = cv2.inpaint(grey, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float32) / 255
    return np.where(mask, painted, pixels).astype(np.float32)


def _tone(picture: Picture) -> FloatArray:
    """Quartiles of the greys outside the lungs and within the border: no marker and no frame moves them much."""
    outside = ~picture.lungs
    inner = np.zeros_like(outside)
    rows, columns = outside.shape
    inner[
        round(STRIP * rows) : round((1 - STRIP) * rows), round(STRIP * columns) : round((1 - STRIP) * columns)
    ] = True
    chosen = picture.pixels[outside & inner]
    return np.asarray(
        np.percentile(chosen if chosen.size else picture.pixels, (25, 50, 75)), dtype=np.float32
    )


def _toned(picture: Picture, other: Picture) -> FloatArray:
    """The image, scaled so that outside the lungs its greys have the median and the spread of the other's."""
    low, middle, high = map(float, _tone(picture))
    low_there, middle_there, high_there = map(float, _tone(other))
    scale = (high_there - low_there) / max(high - low, 0.02)
    toned = np.clip((picture.pixels - middle) * scale + middle_there, 0, 1)
    return np.asarray(toned, dtype=np.float32)


def _size(picture: Picture) -> FloatArray:
    rows, columns = picture.size
    return np.array([np.log(rows), np.log(columns), np.log(rows / columns)], np.float32)


def _resized(picture: Picture, other: Picture) -> FloatArray:
    return _fitted(picture, *other.pixels.shape)[0]


def _blocks(picture: Picture) -> FloatArray:
    return np.log(np.array(picture.blocks, np.float32))
