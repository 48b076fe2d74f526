"""A chest CT made comparable with any other, as system A begins: cropped, resampled, windowed, resized, normalised.

The paper names the steps and no numbers. Ours: the square around the lungs, all else black; slices averaged to
MosMedData's 8 mm, so that a thin slice's noise does not give the hospital away; the window -1000 … 200 HU, from air to
the densest lesion. One frozen object, saved in the recipe and in the bundle; training and diagnosis call the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from pulmoscope.core.limits import Limits
from pulmoscope.core.types import BoolArray, Box, Bytes, FloatArray, Point, Voxels
from pulmoscope.preprocess.framing import lung_square, resample, windowed

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask

VERSION = 2
"""Goes up when the same settings give other slices; a part of the names of slices that are stored."""

LEAST_SHOWN = 0.25
"""Of a standardised pixel, this fraction must be lung to be shown."""


@dataclass(frozen=True)
class StandardStudy:
    """A study's standardised slices, from the feet to the head.

    Attributes:
        images: uint8 (slices, size, size).
        shown: bool alike: which pixels show the patient; the others are black whatever the patient has there.
        missing: bool alike: where a voxel that was not observed had a part in a pixel that is shown.
        first: int64 (slices + 1,): standardised slice ``i`` shows the scan's slices ``first[i]`` to ``first[i + 1]``.
        enough_lung: bool (slices,): which show enough lung for a prediction.
        box: the part of every slice that is shown, in the scan's pixels.
    """

    images: Bytes
    shown: BoolArray
    missing: BoolArray
    first: npt.NDArray[np.int64]
    enough_lung: BoolArray
    box: Box


@dataclass(frozen=True)
class Standardisation:
    """How a CT in HU is standardised.

    Attributes:
        size: side of the square slices, px.
        region: ``lungs`` shows the square around the study's lungs, the same for all its slices; ``body`` the whole
            slice.
        outside: ``hidden`` blackens what is not lung, which says nothing about the lungs and much about the patient's
            build, the table and the scanner; a pixel of at least ``LEAST_SHOWN`` lung is the mean of this lung, so
            that the chest wall does not look like a lesion along the pleura. ``kept`` shows all. Where no lungs are
            found, nothing is hidden.
        margin: fraction of the lungs' side that ``lungs`` adds on every side.
        slice_mm: thinner slices are averaged, as many as come nearest to this distance; thicker ones stay.
        hu_low, hu_high: what becomes 0 and 255.
        least_lung: a slice gets a prediction where its lungs take at least this fraction of the study's largest
            cross-section.
        mean, std: of the normalisation, in [0, 1].
    """

    TYPE: ClassVar = "ct-standard"
    size: Annotated[int, Limits(32, 1024)] = 128
    region: Literal["body", "lungs"] = "lungs"
    outside: Literal["kept", "hidden"] = "hidden"
    margin: Annotated[float, Limits(0, 1)] = 0.05
    slice_mm: Annotated[float, Limits(0.1, 100)] = 8.0
    hu_low: float = -1000.0
    hu_high: float = 200.0
    least_lung: Annotated[float, Limits(0, 0.99)] = 0.25
    mean: float = 0.35
    std: Annotated[float, Limits(0.001, 10)] = 0.3

    @property
    def needs_finder(self) -> bool:
        """False: the lungs of a study are found by their HU."""
        return False

    @property
    def channels(self) -> int:
        """The grey image alone."""
        return 1

    def apply(
        self, hu: Voxels, spacing_mm: Point, lungs: LungMask, missing: BoolArray | None = None
    ) -> StandardStudy:
        """Standardise a study.

        Args:
            hu: float32 or int16 (slices, rows, columns).
            spacing_mm: (slice, row, column).
            lungs: of the whole study; where none are found, the whole slice is shown and none gets a prediction.
            missing: bool (slices, rows, columns), voxels that were not observed; None: there are none.
        """
        box = self.box(lungs, hu.shape)
        rows, columns = box.slices
        depth = max(1, round(self.slice_mm / spacing_mm[0]))
        first = np.minimum(np.arange(0, len(hu) + depth, depth), len(hu))
        images = np.empty((len(first) - 1, self.size, self.size), dtype=np.uint8)
        visible = np.empty(images.shape, dtype=bool)
        holes = np.zeros(images.shape, dtype=bool)
        area = np.empty(len(images))
        hidden, least = self.outside == "hidden" and lungs.found, np.float32(LEAST_SHOWN)
        for index, (start, end) in enumerate(pairwise(first)):
            inside = lungs.labels[start:end] > 0
            part = np.asarray(hu[start:end, rows, columns], dtype=np.float32)
            area[index] = np.count_nonzero(inside) / (end - start)
            seen = inside[:, rows, columns] if hidden else np.ones(part.shape, dtype=bool)
            fraction = self._averaged(np.asarray(seen, dtype=np.float32))
            of_all = self._averaged(np.where(seen, part, np.float32(0)))
            of_seen = np.asarray(of_all / np.maximum(fraction, least), dtype=np.float32)
            visible[index] = fraction >= least
            images[index] = np.where(visible[index], windowed(of_seen, self.hu_low, self.hu_high), 0)
            if missing is not None and missing[start:end].any():
                lost = self._averaged(np.asarray(seen & missing[start:end, rows, columns], dtype=np.float32))
                holes[index] = (lost > 0) & visible[index]
        shows_lung = (area > 0) & (area >= self.least_lung * area.max(initial=0))
        return StandardStudy(images, visible, holes, first.astype(np.int64), shows_lung, box)

    def box(self, lungs: LungMask, shape: tuple[int, ...]) -> Box:
        """The part of every slice that is shown: a square around the lungs, within the picture where that is possible.

        Args:
            shape: of the scan: (slices, rows, columns).
        """
        return lung_square(lungs, self.margin) if self.region == "lungs" else Box(0, 0, *shape[1:])

    def tensor(self, images: FloatArray) -> FloatArray:
        """Normalise slices (n, size, size) in [0, 1] to float32 (n, 1, size, size)."""
        normalised = (images[:, None] - np.float32(self.mean)) / np.float32(self.std)
        return np.asarray(normalised, dtype=np.float32)

    def _averaged(self, slices: FloatArray) -> FloatArray:
        """The mean of neighbouring slices (n, rows, columns) as (size, size), averaging where it shrinks."""
        return resample(np.asarray(np.mean(slices, axis=0), dtype=np.float32), self.size)
