"""From an X-ray's pixels to what a network sees: region, contrast, normalisation.

One frozen object, saved in the recipe and in the bundle; training and diagnosis call the very same code.
The steps are separate methods because training augments between :meth:`XrayPreprocess.frame` and
:meth:`XrayPreprocess.tensor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np

from pulmoscope.core.limits import Limits
from pulmoscope.core.order import percentiles
from pulmoscope.core.types import Box, FloatArray
from pulmoscope.preprocess.framing import Framed, centre_square, crop, normalised, only_within, resample
from pulmoscope.segment.xray_lungs import lung_box, lung_hull

HULL_ROOM = 0.03
"""How far beyond the lungs' hull is still shown, in sides of the framed image: pleura, and the finder's errors."""


@dataclass(frozen=True)
class XrayPreprocess:
    """How an X-ray is framed, toned and normalised.

    Attributes:
        size: side of the square input, px.
        region: ``full`` squeezes the whole image into the square; ``square`` takes the centre square at the
            image's own aspect; ``lungs`` takes the box around the lungs (needs a lung map).
        edge: fraction of the side that ``square`` cuts off at each border, where letters and frames are.
        margin: fraction of the lung box's sides that ``lungs`` adds on every side.
        hull: with ``lungs``, hide what lies outside the convex hull of both lungs: shoulders, letters, frames.
        contrast: ``none``; ``stretch`` (1st to 99th percentile of the region to [0, 1]); ``clahe`` (stretched, then
            contrast-limited adaptive histogram equalisation, Zuiderveld 1994).
        clahe_clip, clahe_grid: OpenCV's clip limit and number of tiles a side.
        mean, std: normalisation of the [0, 1] image, equal for all channels.
        channels: 3 repeats the grey image for networks made for RGB; 1 does not.
    """

    TYPE: ClassVar = "xray"
    size: Annotated[int, Limits(32, 4096)] = 224
    region: Literal["full", "square", "lungs"] = "full"
    edge: Annotated[float, Limits(0, 0.45)] = 0.0
    margin: Annotated[float, Limits(0, 1)] = 0.06
    hull: bool = False
    contrast: Literal["none", "stretch", "clahe"] = "none"
    clahe_clip: Annotated[float, Limits(0.01, 1000)] = 2.0
    clahe_grid: Annotated[int, Limits(1, 64)] = 4
    mean: Annotated[float, Limits(0, 1)] = 0.5
    std: Annotated[float, Limits(0.001, 10)] = 0.5
    channels: Literal[1, 3] = 3

    @property
    def needs_finder(self) -> bool:
        """Whether a lung finder must give the lung map."""
        return self.region == "lungs"

    def frame(self, pixels: FloatArray, lungs: FloatArray | None = None) -> Framed:
        """Cut out and resample the region.

        Args:
            pixels: float32 (rows, columns) in [0, 1].
            lungs: lung probability over the whole image, float32 of any size; needed for ``region="lungs"``.
        """
        rows, columns = pixels.shape
        located = None
        if self.region == "lungs" and lungs is not None:
            located = lung_box(lungs, rows, columns, self.margin)
        whole = Box(0, 0, rows, columns)
        box = whole if self.region == "full" else located or centre_square(rows, columns, self.edge)
        image = resample(crop(pixels, box), self.size)
        if self.hull and located is not None and lungs is not None:
            hull = (lung_hull(lungs, rows, columns) - (box.left, box.top)) / (box.width, box.height)
            image = only_within(image, [np.asarray(hull, dtype=np.float32)], HULL_ROOM)
        return Framed(image, box, located is not None or self.region != "lungs")

    def tone(self, image: FloatArray, factor: float = 1.0) -> FloatArray:
        """Harmonise the contrast of a framed image; float32 [0, 1] in and out.

        Args:
            image: float32 (rows, columns) in [0, 1].
            factor: multiplies the strength of CLAHE; other than 1 in training only.
        """
        if self.contrast == "none":
            return image
        low, high = percentiles(image[::2, ::2], (1, 99))
        grey = np.clip((image - low) * (255 / max(high - low, 0.03)), 0, 255).astype(np.uint8)
        if self.contrast == "clahe" and factor > 0:
            tiles = (self.clahe_grid, self.clahe_grid)
            grey = cv2.createCLAHE(clipLimit=self.clahe_clip * factor, tileGridSize=tiles).apply(grey)
        return np.asarray(grey, dtype=np.float32) / np.float32(255)

    def tensor(self, image: FloatArray) -> FloatArray:
        """Normalise a framed and toned image to float32 (channels, size, size)."""
        return normalised(image, self.mean, self.std, self.channels)

    def __call__(self, pixels: FloatArray, lungs: FloatArray | None = None) -> tuple[FloatArray, Framed]:
        """All steps, as diagnosis takes them: the tensor and where it came from."""
        framed = self.frame(pixels, lungs)
        return self.tensor(self.tone(framed.image)), framed
