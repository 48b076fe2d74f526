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
from pulmoscope.core.types import Box, FloatArray
from pulmoscope.segment.xray_lungs import lung_box, lung_hull

HULL_ROOM = 0.03
"""How far beyond the lungs' hull is still shown, in sides of the framed image: pleura, and the finder's errors."""

HULL_FADE = 0.006
"""Standard deviation of the soft edge of what is shown, in sides."""


@dataclass(frozen=True)
class Framed:
    """The region that a network sees, and where it lies in the scan.

    Attributes:
        image: float32 (size, size) in [0, 1].
        box: the region in pixels of the scan; ``image`` is this region, resampled.
        lungs_found: False where the lungs were asked for and not found, so the centre square was taken.
    """

    image: FloatArray
    box: Box
    lungs_found: bool


@dataclass(frozen=True)
class XrayPreprocess:
    """How an X-ray is framed, toned and normalised.

    Attributes:
        size: side of the square input, px.
        region: ``full`` squeezes the whole image into the square; ``square`` takes the centre square at the
            image's own aspect; ``lungs`` takes the box around the lungs (needs a lung map).
        edge: share of the side that ``square`` cuts off at each border, where letters and frames are.
        margin: share of the lung box's sides that ``lungs`` adds on every side.
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
            image = only_within(image, np.asarray(hull, dtype=np.float32))
        return Framed(image, box, located is not None or self.region != "lungs")

    def tone(self, image: FloatArray, factor: float = 1.0) -> FloatArray:
        """Harmonise the contrast of a framed image; float32 [0, 1] in and out.

        Args:
            image: float32 (rows, columns) in [0, 1].
            factor: multiplies the strength of CLAHE; other than 1 in training only.
        """
        if self.contrast == "none":
            return image
        low, high = np.percentile(image[::2, ::2], (1, 99))
        grey = np.clip((image - low) * (255 / max(high - low, 0.03)), 0, 255).astype(np.uint8)
        if self.contrast == "clahe" and factor > 0:
            tiles = (self.clahe_grid, self.clahe_grid)
            grey = cv2.createCLAHE(clipLimit=self.clahe_clip * factor, tileGridSize=tiles).apply(grey)
        return np.asarray(grey, dtype=np.float32) / np.float32(255)

    def tensor(self, image: FloatArray) -> FloatArray:
        """Normalise a framed and toned image to float32 (channels, size, size)."""
        normal = (image - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(np.broadcast_to(normal, (self.channels, *normal.shape)), dtype=np.float32)

    def __call__(self, pixels: FloatArray, lungs: FloatArray | None = None) -> tuple[FloatArray, Framed]:
        """All steps, as diagnosis takes them: the tensor and where it came from."""
        framed = self.frame(pixels, lungs)
        return self.tensor(self.tone(framed.image)), framed


def centre_square(rows: int, columns: int, edge: float) -> Box:
    """The largest centred square, less ``edge`` of its side at every border."""
    side = min(rows, columns)
    inner = max(1, round(side * (1 - 2 * edge)))
    return Box((rows - inner) // 2, (columns - inner) // 2, inner, inner)


def crop(pixels: FloatArray, box: Box) -> FloatArray:
    """Cut out a box; what lies outside the image is black."""
    rows, columns = pixels.shape
    top, left = max(0, box.top), max(0, box.left)
    bottom, right = (
        max(top, min(rows, box.top + box.height)),
        max(left, min(columns, box.left + box.width)),
    )
    inside = pixels[top:bottom, left:right]
    if inside.shape == (box.height, box.width):
        return inside
    whole = np.zeros((box.height, box.width), dtype=np.float32)
    whole[top - box.top : bottom - box.top, left - box.left : right - box.left] = inside
    return whole


def resample(pixels: FloatArray, size: int) -> FloatArray:
    """Resample to (size, size): area averaging when shrinking, so that fine texture does not alias."""
    shrinking = min(pixels.shape) >= size
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), dtype=np.float32)


def only_within(image: FloatArray, hull: FloatArray) -> FloatArray:
    """Replace what lies outside a convex polygon by the mean grey inside it, with a soft edge.

    Args:
        image: float32 (size, size).
        hull: (points, 2), x and y in sides of the image; it may reach beyond the image.
    """
    size = image.shape[0]
    shown = np.zeros(image.shape, dtype=np.uint8)
    corners = np.rint(hull * size * 16 - 8).astype(np.int32)  # OpenCV's fixed point: 4 bits behind the point
    cv2.fillConvexPoly(shown, corners, 255, shift=4)
    cv2.polylines(shown, [corners], True, 255, thickness=1 + 2 * round(HULL_ROOM * size), shift=4)
    share = cv2.GaussianBlur(shown, (0, 0), HULL_FADE * size).astype(np.float32) / np.float32(255)
    grey = np.float32((image * share).sum() / max(share.sum(), 1))
    return np.asarray(grey + (image - grey) * share, dtype=np.float32)
