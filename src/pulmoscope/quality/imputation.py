"""Fill what is missing in a CT's slices: one interface, simple fillers, and a network that was trained for it.

Fillers guess; :func:`impute` decides what is used of the guess: missing pixels only, within the range of what was
observed. No observed pixel is ever touched.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.runtime.network import Network, Runtime, open_network

BATCH = 16
"""Slices that a network fills at a time."""
RADIUS_PX = 3.0
"""How far Navier-Stokes inpainting looks around a pixel."""


class Imputer(Protocol):
    """Guesses missing pixels."""

    @property
    def name(self) -> str:
        """What a diagnosis calls it."""
        ...

    def __call__(self, images: FloatArray, missing: BoolArray) -> FloatArray:
        """Fill a volume.

        Args:
            images: float32 (slices, rows, columns), evenly spaced, feet to head; what stands at missing pixels must
                not matter. At least one pixel is observed.
            missing: bool alike.

        Returns:
            float32 alike; only what stands at missing pixels counts. ``images`` is not changed.
        """
        ...


@dataclass(frozen=True)
class Filler:
    """An imputer that is a function."""

    name: str
    fill: Callable[[FloatArray, BoolArray], FloatArray]

    def __call__(self, images: FloatArray, missing: BoolArray) -> FloatArray:
        """Fill a volume (see :class:`Imputer`)."""
        return self.fill(images, missing)


def impute(images: FloatArray, missing: BoolArray, imputer: Imputer) -> FloatArray:
    """Fill the missing pixels; the observed ones stay as they are, bit for bit.

    Args:
        images: float32 (slices, rows, columns): HU, or anything else.
        missing: bool alike.

    Returns:
        A copy; what was filled lies within the range of the observed pixels. Where nothing is missing, ``images``.

    Raises:
        ValueError: shapes differ, nothing is observed, or the imputer's guess is no number somewhere.
    """
    if images.shape != missing.shape:
        raise ValueError(f"images and mask have one shape (found: {images.shape} and {missing.shape})")
    places = _damaged(missing)
    if not len(places):
        return images
    if missing.all():
        raise ValueError("at least one pixel is observed (found: none)")
    low, high = _range(images, missing, places)
    guess = imputer(images, missing)[places]
    bad = int(np.count_nonzero(missing[places] & ~np.isfinite(guess)))
    if bad:
        raise ValueError(f"the imputer {imputer.name} gives numbers (found: {bad} others)")
    filled = images.copy()
    filled[places] = np.where(missing[places], np.clip(guess, low, high), images[places])
    return filled


def mean(images: FloatArray, missing: BoolArray) -> FloatArray:
    """The mean of the slice's observed pixels; of a slice without any, the mean of all."""
    filled = images.copy()
    for index in _damaged(missing):
        filled[index][missing[index]] = _mean_of(images, missing, int(index))
    return filled


def linear(images: FloatArray, missing: BoolArray) -> FloatArray:
    """Between the nearest observed pixels at the same place below and above, by distance.

    Where there is one on one side only, it is taken as it is; where there is none, the slice's mean.
    """
    filled = images.copy()
    for index in _damaged(missing):
        place = int(index)
        rows, columns = np.nonzero(missing[place])
        (low, below), (high, above) = (
            _nearest(images, missing, place, rows, columns, step) for step in (-1, 1)
        )
        neither = np.full(len(rows), _mean_of(images, missing, place), dtype=np.float32)
        between = (low * above + high * below) / np.maximum(below + above, 1)
        filled[place][rows, columns] = np.select(
            [(below > 0) & (above > 0), below > 0, above > 0], [between, low, high], neither
        )
    return filled


def navier_stokes(images: FloatArray, missing: BoolArray) -> FloatArray:
    """Inpaint each slice from its own observed pixels (Bertalmio, Bertozzi, Sapiro 2001, as OpenCV has it).

    A slice without any observed pixel is filled by :func:`linear`.
    """
    filled = images.copy()
    whole = missing.reshape(len(missing), -1).all(axis=1)
    for index in np.setdiff1d(_damaged(missing), np.flatnonzero(whole)):
        hole = missing[index]
        seen = np.where(hole, np.float32(images[index][~hole].mean()), images[index])
        filled[index] = cv2.inpaint(seen, hole.astype(np.uint8), RADIUS_PX, cv2.INPAINT_NS)
    if whole.any():
        filled[whole] = linear(images, missing)[whole]
    return filled


@dataclass(frozen=True)
class NetworkImputer:
    """A network that fills a slice from what is left of it and from its two neighbours (MisGAN's imputer).

    It takes ``slices``, float32 (n, 3, size, size) in [0, 1]: what is seen below, at and above, missing pixels replaced
    by noise; and ``observed``, alike: 1 where a pixel is, less where it was seen further away (:func:`stack_at`). It
    gives ``filled``, (n, 1, size, size). The noise follows from the slices' content: equal input is filled equally.
    """

    name: str
    network: Network

    def __call__(self, images: FloatArray, missing: BoolArray) -> FloatArray:
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
        places = _damaged(missing)
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            stacks = [stack_at(images, missing, int(place)) for place in batch]
            slices = np.stack([_with_noise(*stack) for stack in stacks])
            filled[batch] = self.network(slices, np.stack([seen for _, seen in stacks]))["filled"][:, 0]
        return filled


def stack_at(images: FloatArray, missing: BoolArray, place: int) -> tuple[FloatArray, FloatArray]:
    """What is observed at a slice and nearest to it on both sides: a learned imputer's view of a study.

    Args:
        images: float32 (slices, rows, columns), one study.
        missing: bool alike.
        place: the slice's index.

    Returns:
        float32 (3, rows, columns): of each pixel the nearest observed value below, the slice's own, and the nearest
        above, 0 where there is none; and alike, how much it counts: 1 over the distance in slices, so that a mean so
        weighted is linear interpolation. The slice's own counts 1. The first and last slice are their own neighbour.
    """
    own = np.where(missing[place], np.float32(0), images[place])
    values, weights = np.stack([own] * 3), np.stack([(~missing[place]).astype(np.float32)] * 3)
    for side, step in ((0, -1), (2, 1)):
        other = place + step
        if not 0 <= other < len(images):
            continue
        values[side], weights[side] = 0, 0
        while 0 <= other < len(images) and not weights[side].all():
            found = ~missing[other] & (weights[side] == 0)
            values[side][found] = images[other][found]
            weights[side][found] = 1 / abs(other - place)
            other += step
    return values, weights


def network_imputer(path: Path, name: str, runtime: Runtime = "auto", device: str = "auto") -> NetworkImputer:
    """Open an imputer's ONNX file.

    Raises:
        BundleError: it can't be read, or its inputs are others.
        ResourceError: the runtime is not installed, or the device is not there.
    """
    network = open_network(path, runtime, device)
    if network.inputs != ("slices", "observed"):
        raise BundleError(
            f"{path}: an imputer takes slices and observed (found: {', '.join(network.inputs)})"
        )
    return NetworkImputer(name, network)


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


@dataclass(frozen=True)
class ImputationError:
    """How far filled pixels are from the truth, in the images' units.

    Attributes:
        rmse, mae: root of the mean squared, and mean absolute difference.
        pixels: how many were filled.
    """

    rmse: float
    mae: float
    pixels: int


def imputation_error(images: FloatArray, missing: BoolArray, truth: FloatArray) -> ImputationError:
    """Compare filled images with the truth, where pixels were missing only.

    Raises:
        ValueError: shapes differ, or nothing was missing.
    """
    if not images.shape == missing.shape == truth.shape:
        raise ValueError(
            f"images, mask and truth have one shape (found: {images.shape}, {missing.shape}, {truth.shape})"
        )
    apart = images[missing].astype(np.float64) - truth[missing]
    if not apart.size:
        raise ValueError("at least one pixel was missing (found: none)")
    return ImputationError(float(np.sqrt(np.mean(apart**2))), float(np.abs(apart).mean()), apart.size)


def _damaged(missing: BoolArray) -> npt.NDArray[np.intp]:
    """The slices that lack something."""
    return np.flatnonzero(missing.reshape(len(missing), -1).any(axis=1))


def _range(images: FloatArray, missing: BoolArray, places: npt.NDArray[np.intp]) -> tuple[float, float]:
    """The least and the greatest observed value; ``places``: the slices that lack something."""
    whole = np.setdiff1d(np.arange(len(images)), places)
    seen = [images[place][~missing[place]] for place in places]
    ends = [(one.min(), one.max()) for one in (*seen, *(images[place] for place in whole)) if one.size]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _mean_of(images: FloatArray, missing: BoolArray, place: int) -> float:
    """Of a slice's observed pixels; of all slices', where it has none."""
    own = ~missing[place]
    if own.any():
        return float(images[place][own].mean(dtype=np.float64))
    return float(images.mean(where=~missing, dtype=np.float64))


def _nearest(
    images: FloatArray,
    missing: BoolArray,
    place: int,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    step: int,
) -> tuple[FloatArray, FloatArray]:
    """The nearest observed values at these pixels, below (``step`` -1) or above (1); and how many slices away, or 0."""
    values = np.zeros(len(rows), dtype=np.float32)
    away = np.zeros(len(rows), dtype=np.float32)
    open_ = np.arange(len(rows))
    other = place + step
    while 0 <= other < len(images) and len(open_):
        seen = ~missing[other][rows[open_], columns[open_]]
        found = open_[seen]
        values[found] = images[other][rows[found], columns[found]]
        away[found] = abs(other - place)
        open_ = open_[~seen]
        other += step
    return values, away


def _with_noise(values: FloatArray, weights: FloatArray) -> FloatArray:
    """A stack (3, rows, columns) with uniform noise where nothing was observed, seeded by what was."""
    rng = np.random.default_rng(zlib.crc32(values.tobytes()))
    return np.where(weights > 0, values, rng.random(values.shape, dtype=np.float32))
