"""Fill what is missing in a CT's slices: one interface, simple fillers, and a network that was trained for it.

Fillers guess; :func:`impute` decides what is used of the guess: missing pixels only, within the range of what was
observed. No observed pixel is ever touched. Pixels that were blackened on purpose, as what is not lung is, are neither
missing nor seen: nothing is filled there, and nothing from there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.runtime.network import Network

BATCH = 16
"""Slices that a network fills at a time."""
FILLS = "linear"
"""What fills missing regions before lungs are looked for, and for models that have no imputer of their own: it needs no
training, works on HU, and keeps to what the neighbouring slices show."""
RADIUS_PX = 3.0
"""How far Navier-Stokes inpainting looks around a pixel."""


class Imputer(Protocol):
    """Guesses missing pixels."""

    @property
    def name(self) -> str:
        """What a diagnosis calls it."""
        ...

    def __call__(self, images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
        """Fill a volume.

        Args:
            images: float32 (slices, rows, columns), evenly spaced, feet to head; what stands at missing pixels must
                not matter.
            missing: bool alike: what is to be filled.
            seen: bool alike: what may be filled from, at least one pixel; none of them is missing.

        Returns:
            float32 alike; only what stands at missing pixels counts. ``images`` is not changed.
        """
        ...


@dataclass(frozen=True)
class Filler:
    """An imputer that is a function."""

    name: str
    fill: Callable[[FloatArray, BoolArray, BoolArray], FloatArray]

    def __call__(self, images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
        """Fill a volume (see :class:`Imputer`)."""
        return self.fill(images, missing, seen)


def impute(
    images: FloatArray, missing: BoolArray, imputer: Imputer, shown: BoolArray | None = None
) -> FloatArray:
    """Fill the missing pixels; the observed ones stay as they are, bit for bit.

    Args:
        images: float32 (slices, rows, columns): HU, or anything else.
        missing: bool alike.
        shown: bool alike: which pixels show the patient; the others are black on purpose. None: all do.

    Returns:
        A copy; what was filled lies within the range of what was seen. Where nothing is missing, ``images``.

    Raises:
        ValueError: shapes differ, nothing is observed, or the imputer's guess is no number somewhere.
    """
    if images.shape != missing.shape:
        raise ValueError(f"images and mask have one shape (found: {images.shape} and {missing.shape})")
    indices = _damaged(missing)
    if not len(indices):
        return images
    seen = ~missing if shown is None else shown & ~missing
    if not seen.any():
        raise ValueError("at least one pixel is observed (found: none)")
    low, high = _range(images, seen)
    guess = imputer(images, missing, seen)[indices]
    bad = int(np.count_nonzero(missing[indices] & ~np.isfinite(guess)))
    if bad:
        raise ValueError(f"the imputer {imputer.name} gives numbers (found: {bad} others)")
    filled = images.copy()
    filled[indices] = np.where(missing[indices], np.clip(guess, low, high), images[indices])
    return filled


def mean(images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
    """The mean of the slice's pixels that are seen; of a slice without any, the mean of all."""
    filled = images.copy()
    for index in _damaged(missing):
        filled[index][missing[index]] = _mean_of(images, seen, int(index))
    return filled


def linear(images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
    """Between the nearest pixels that are seen at the same place below and above, by distance.

    Where there is one on one side only, it is taken as it is; where there is none, the slice's mean.
    """
    filled = images.copy()
    for index in _damaged(missing):
        at = int(index)
        rows, columns = np.nonzero(missing[at])
        (low, below), (high, above) = (_nearest(images, seen, at, rows, columns, step) for step in (-1, 1))
        neither = np.full(len(rows), _mean_of(images, seen, at), dtype=np.float32)
        between = (low * above + high * below) / np.maximum(below + above, 1)
        filled[at][rows, columns] = np.select(
            [(below > 0) & (above > 0), below > 0, above > 0], [between, low, high], neither
        )
    return filled


def navier_stokes(images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
    """Inpaint each slice from what is seen of it (Bertalmio, Bertozzi, Sapiro 2001, as OpenCV has it).

    A slice of which nothing is seen is filled by :func:`linear`.
    """
    filled = images.copy()
    whole = ~seen.reshape(len(seen), -1).any(axis=1)
    for index in np.setdiff1d(_damaged(missing), np.flatnonzero(whole)):
        hole = ~seen[index]
        begun = np.where(hole, np.float32(images[index][seen[index]].mean()), images[index])
        filled[index] = cv2.inpaint(begun, hole.astype(np.uint8), RADIUS_PX, cv2.INPAINT_NS)
    if whole.any():
        filled[whole] = linear(images, missing, seen)[whole]
    return filled


@dataclass(frozen=True)
class NetworkImputer:
    """A network that fills a slice from what is left of it and from its two neighbours (MisGAN's imputer).

    It takes ``slices``, float32 (n, 3, size, size) in [0, 1]: what is seen below, at and above, other pixels replaced
    by noise; and ``observed``, alike: 1 where a pixel is seen, less where it was seen further away (:func:`stack_at`).
    It gives ``filled``, (n, 1, size, size). The noise follows from the slices' content: equal input is filled equally.
    """

    name: str
    network: Network

    def __call__(self, images: FloatArray, missing: BoolArray, seen: BoolArray) -> FloatArray:
        """Fill the slices that lack something (see :class:`Imputer`); they are standardised as the network wants them.

        Raises:
            ValueError: an observed pixel lies outside [0, 1].
        """
        observed = images[~missing]
        if observed.size and not (observed.min() >= 0 and observed.max() <= 1):
            raise ValueError(
                f"{self.name} fills slices in [0, 1] (found: {observed.min():.4g} to {observed.max():.4g})"
            )
        filled = images.copy()
        indices = _damaged(missing)
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            stacks = [stack_at(images, seen, int(index)) for index in batch]
            slices = np.stack([_with_noise(*stack) for stack in stacks])
            filled[batch] = self.network(slices, np.stack([weights for _, weights in stacks]))["filled"][:, 0]
        return filled


def stack_at(images: FloatArray, seen: BoolArray, index: int) -> tuple[FloatArray, FloatArray]:
    """What is seen at a slice and nearest to it on both sides: a learned imputer's view of a study.

    Args:
        images: float32 (slices, rows, columns), one study.
        seen: bool alike (see :class:`Imputer`).
        index: of the slice.

    Returns:
        float32 (3, rows, columns): of each pixel the nearest value that is seen below, the slice's own, and the
        nearest above, 0 where there is none; and alike, how much it counts: 1 over the distance in slices, so that a
        mean so weighted is linear interpolation. The slice's own counts 1. The first and last slice are their own
        neighbour.
    """
    centre = np.where(seen[index], images[index], np.float32(0))
    values, weights = np.stack([centre] * 3), np.stack([seen[index].astype(np.float32)] * 3)
    for side, step in ((0, -1), (2, 1)):
        other = index + step
        if not 0 <= other < len(images):
            continue
        values[side], weights[side] = 0, 0
        while 0 <= other < len(images) and not weights[side].all():
            usable = seen[other] & (weights[side] == 0)
            values[side][usable] = images[other][usable]
            weights[side][usable] = 1 / abs(other - index)
            other += step
    return values, weights


IMPUTERS = MappingProxyType(
    {
        filler.name: filler
        for filler in (Filler("mean", mean), Filler("linear", linear), Filler("navier-stokes", navier_stokes))
    }
)
"""The imputers that nothing was trained for."""


def imputer(name: str) -> Imputer:
    """An imputer by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in IMPUTERS:
        raise ValueError(f"an imputer is one of {', '.join(IMPUTERS)} (found: {name})")
    return IMPUTERS[name]


def _damaged(missing: BoolArray) -> npt.NDArray[np.intp]:
    """The slices that lack something."""
    return np.flatnonzero(missing.reshape(len(missing), -1).any(axis=1))


def _range(images: FloatArray, seen: BoolArray) -> tuple[float, float]:
    """The least and the greatest value that is seen."""
    parts = (values if mask.all() else values[mask] for values, mask in zip(images, seen, strict=True))
    ends = [(values.min(), values.max()) for values in parts if values.size]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _mean_of(images: FloatArray, seen: BoolArray, index: int) -> float:
    """Of what is seen of a slice; of all slices, where that is nothing."""
    mask = seen[index]
    if mask.any():
        return float(images[index][mask].mean(dtype=np.float64))
    return float(images.mean(where=seen, dtype=np.float64))


def _nearest(
    images: FloatArray,
    seen: BoolArray,
    index: int,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    step: int,
) -> tuple[FloatArray, FloatArray]:
    """The nearest values seen at these pixels, below (``step`` -1) or above (1); and how many slices away, or 0."""
    values = np.zeros(len(rows), dtype=np.float32)
    away = np.zeros(len(rows), dtype=np.float32)
    open_ = np.arange(len(rows))
    other = index + step
    while 0 <= other < len(images) and len(open_):
        there = seen[other][rows[open_], columns[open_]]
        usable = open_[there]
        values[usable] = images[other][rows[usable], columns[usable]]
        away[usable] = abs(other - index)
        open_ = open_[~there]
        other += step
    return values, away


def _with_noise(values: FloatArray, weights: FloatArray) -> FloatArray:
    """A stack (3, rows, columns) with uniform noise where nothing was observed, seeded by what was."""
    rng = np.random.default_rng(zlib.crc32(values.tobytes()))
    return np.where(weights > 0, values, rng.random(values.shape, dtype=np.float32))
