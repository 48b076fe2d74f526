"""A CT's slices as a model's image network is shown them: the one place that knows the kinds of preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import NOT_FILLED, Box, FloatArray, Units
from pulmoscope.inference.look import SeenCt
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation, StandardStudy
from pulmoscope.quality.ct.rules import lung_fractions
from pulmoscope.quality.repair import repaired
from pulmoscope.runtime.model import Model

LEAST_LUNG = 0.01
"""Fraction of a slice's pixels that must be lung for a model of single slices to predict it."""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ShownBatch:
    """Some slices as the network is shown them.

    Attributes:
        slices: int (n,), which; those that can't be shown are missing.
        tensor: float32 (n, channels, size, size).
        images: the same before normalisation, (n, size, size) in [0, 1].
        boxes: the part of the scan's slice that each shows, in its pixels.
    """

    slices: Indices
    tensor: FloatArray
    images: FloatArray
    boxes: tuple[Box, ...]


class ShownCt(Protocol):
    """A CT's slices as a network is shown them; it may be shown fewer and thicker ones than the scan has."""

    @property
    def first(self) -> npt.NDArray[np.integer]:
        """Int (slices + 1,): its slice ``i`` shows the scan's slices ``first[i]`` to ``first[i + 1]``."""
        ...

    @property
    def wanted(self) -> Indices:
        """Those of its slices that are to be predicted."""
        ...

    def batch(self, slices: Indices) -> ShownBatch:
        """Some of its slices."""
        ...


def shown(seen: SeenCt, model: Model) -> ShownCt:
    """A CT as this model's network is shown it.

    Raises:
        UnsuitableError: the model can't read such a scan.
    """
    return _SHOWN[type(model.bundle.preprocess)](seen, model)


@dataclass(frozen=True)
class _Framed:
    """Every slice framed by itself; of pictures, those in which lungs are seen."""

    seen: SeenCt
    model: Model

    @property
    def first(self) -> npt.NDArray[np.integer]:
        return np.arange(len(self.seen.scan.pixels) + 1)

    @property
    def wanted(self) -> Indices:
        if self.seen.lungs is None:
            return np.arange(len(self.seen.scan.pixels))
        return np.flatnonzero(lung_fractions(self.seen.lungs.labels) >= LEAST_LUNG)

    def batch(self, slices: Indices) -> ShownBatch:
        scan, lungs, preprocess = self.seen.scan, self.seen.lungs, self.model.bundle.preprocess
        ready = []
        for index in slices:
            pixels = scan.pixels[index]
            if scan.units is Units.HU and isinstance(preprocess, SlicePreprocess):
                pixels = preprocess.render(pixels)
            mask = None if lungs is None else lungs.labels[index] > 0
            prepared = self.model.prepare(pixels, mask)
            if prepared.framed.lungs_found:
                ready.append((index, prepared))
        size, channels = preprocess.size, preprocess.channels
        return ShownBatch(
            np.array([index for index, _ in ready], dtype=np.intp),
            np.stack([image.tensor for _, image in ready])
            if ready
            else np.empty((0, channels, size, size), np.float32),
            np.stack([image.framed.image for _, image in ready])
            if ready
            else np.empty((0, size, size), np.float32),
            tuple(image.framed.box for _, image in ready),
        )


@dataclass(frozen=True)
class _Bodies:
    """Every slice, all but the body black, or the square around the study's lungs."""

    seen: SeenCt
    model: Model

    @property
    def preprocess(self) -> CtPreprocess:
        preprocess = self.model.bundle.preprocess
        assert isinstance(preprocess, CtPreprocess)
        return preprocess

    @property
    def first(self) -> npt.NDArray[np.integer]:
        return np.arange(len(self.seen.scan.pixels) + 1)

    @property
    def wanted(self) -> Indices:
        return np.arange(len(self.seen.scan.pixels))

    def batch(self, slices: Indices) -> ShownBatch:
        scan, lungs = self.seen.scan, self.seen.lungs
        images = self.preprocess.slices(scan.pixels[slices], scan.units, lungs)
        box = self.preprocess.box(scan.pixels.shape, lungs)
        grey = np.asarray(images, dtype=np.float32) / np.float32(255)
        return ShownBatch(slices, self.preprocess.tensor(images), grey, (box,) * len(slices))


@dataclass(frozen=True)
class _Standardised:
    """Standardised slices that show enough lung, repaired as in training: each is the mean of some of the scan's."""

    seen: SeenCt
    model: Model

    @property
    def preprocess(self) -> Standardisation:
        preprocess = self.model.bundle.preprocess
        assert isinstance(preprocess, Standardisation)
        return preprocess

    def __post_init__(self) -> None:
        scan = self.seen.scan
        if scan.units is not Units.HU or scan.spacing_mm is None:
            rule = f"the model {self.model.bundle.name} reads CT in HU with known spacing"
            raise UnsuitableError(scan.source, "without-hu", "its values are grey levels, not HU", rule)

    @cached_property
    def study(self) -> StandardStudy:
        """The slices; a model that was trained on damage as it is gets the damage as it is."""
        seen, is_filled = self.seen, self.model.bundle.imputer != NOT_FILLED
        scan, lungs = (seen.scan, seen.lungs) if is_filled else (seen.raw, seen.raw_lungs)
        assert scan.spacing_mm is not None
        assert lungs is not None  # as there are HU
        return self.preprocess.apply(scan.pixels, scan.spacing_mm, lungs, seen.missing if is_filled else None)

    @cached_property
    def images(self) -> FloatArray:
        """All of them, repaired."""
        return repaired(self.study, self.model)

    @property
    def first(self) -> npt.NDArray[np.integer]:
        return self.study.first

    @property
    def wanted(self) -> Indices:
        return np.flatnonzero(self.study.enough_lung)

    def batch(self, slices: Indices) -> ShownBatch:
        images = self.images[slices]
        return ShownBatch(slices, self.preprocess.tensor(images), images, (self.study.box,) * len(slices))


_SHOWN: Mapping[type[Any], Callable[[SeenCt, Model], ShownCt]] = {
    SlicePreprocess: _Framed,
    CtPreprocess: _Bodies,
    Standardisation: _Standardised,
}
