"""From a chest CT's slices to what a slice network sees, as system B does it (Garg et al., ICASSP 2021, section 2.2).

One frozen object, saved in the recipe and in the bundle; training and diagnosis call the very same code. The steps are
separate methods: pictures of each are shown, training adds slices and augments between :meth:`CtPreprocess.slices` and
:meth:`CtPreprocess.tensor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.limits import Limits
from pulmoscope.core.types import BoolArray, Box, Bytes, FloatArray, Scan, Units, Voxels
from pulmoscope.preprocess.framing import lung_square, resample, windowed
from pulmoscope.segment.lungs import lungs_of

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask


@dataclass(frozen=True)
class CtPreprocess:
    """How CT slices are scaled, cleared of what is not the patient, brightened, resized and normalised.

    The paper scales each image's own range to 0 … 255, so that a metal clip makes the lung darker. We take the same
    range of HU always: the one that most studies have, so that the lung's grey stays the paper's and shows the
    density. Doubled, as in the paper, whatever is above the range's middle is white: with the default range 238 HU.

    Attributes:
        size: side of the square input, px.
        region: ``body`` takes the whole slice, all but the body black; ``lungs`` besides cuts out the square around
            the study's lungs, the same for all its slices (beyond the paper: more pixels for the lung).
        hu_low, hu_high: what becomes 0 and 255.
        brightness: by what HU slices are multiplied. Slices that came as pictures are bright already (the paper
            brightens COVID-CT-MD to match COVIDx-CT) and are not.
        body_hu: what is denser is body.
        blur: standard deviation of the blur before that threshold, in thousandths of the slice's width.
        margin: fraction of the lung box's side that ``lungs`` adds on every side.
        mean, std: of the normalisation, per channel, in [0, 1]: ImageNet's.
    """

    TYPE: ClassVar = "ct-body"
    size: Annotated[int, Limits(32, 4096)] = 224
    region: Literal["body", "lungs"] = "body"
    hu_low: float = -1024.0
    hu_high: float = 1500.0
    brightness: Annotated[float, Limits(0.01, 100)] = 2.0
    body_hu: float = -400.0
    blur: Annotated[float, Limits(0.01, 1000)] = 3.0
    margin: Annotated[float, Limits(0, 1)] = 0.05
    mean: Annotated[tuple[float, float, float], Limits(0, 1)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[float, float, float], Limits(0.001, 10)] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        """Lists, which is how JSON has them, become tuples."""
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    @property
    def needs_finder(self) -> bool:
        """False: the lungs of a study are found by their HU."""
        return False

    @property
    def channels(self) -> int:
        """The grey image three times, for networks made for RGB."""
        return 3

    def to_uint8(self, pixels: Voxels, units: Units) -> Bytes:
        """Scale to 0 … 255: HU from ``hu_low`` to ``hu_high``, grey from 0 to 1; any shape."""
        low, high = (self.hu_low, self.hu_high) if units is Units.HU else (0.0, 1.0)
        return windowed(pixels, low, high)

    def blurred(self, image: Bytes) -> Bytes:
        """A slice (rows, columns) as the threshold sees it."""
        sigma = self.blur / 1000 * image.shape[1]
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)

    def thresholded(self, image: Bytes, units: Units) -> Bytes:
        """1 where a blurred slice shows tissue: above ``body_hu``, or in a picture above Otsu's threshold."""
        if units is Units.HU:
            level = float(self.to_uint8(np.array([self.body_hu], dtype=np.float32), units)[0])
            _, tissue = cv2.threshold(image, level, 1, cv2.THRESH_BINARY)
        else:
            _, tissue = cv2.threshold(image, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        return np.asarray(tissue, dtype=np.uint8)

    def body(self, image: Bytes, units: Units) -> BoolArray:
        """The body in a slice, lungs included: the largest outline, filled. Nothing of an empty slice.

        Beyond the paper, lungs that the image's border cuts open are body, too: published pictures are often cropped.

        Args:
            image: uint8 (rows, columns) of :meth:`to_uint8`.
            units: of the scan that it came from.
        """
        tissue = self.thresholded(self.blurred(image), units)
        outlines, _ = cv2.findContours(tissue, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        mask = np.zeros(image.shape, dtype=np.uint8)
        if outlines:
            outline = max(outlines, key=cv2.contourArea)
            cv2.drawContours(mask, [outline], -1, 1, cv2.FILLED)
            mask |= _cut_open(mask, outline)
        return mask.astype(bool)

    def brighten(self, images: Bytes, units: Units) -> Bytes:
        """Multiply HU slices by ``brightness``; what would be above 255 is 255."""
        if units is not Units.HU:
            return images
        table = np.minimum(np.rint(np.arange(256) * self.brightness), 255).astype(np.uint8)
        return np.asarray(table[images])

    def box(self, shape: tuple[int, ...], lungs: LungMask | None) -> Box:
        """The part of every slice that is shown: a square around the lungs, or the whole slice where there are none.

        Args:
            shape: of the scan's pixels: (slices, rows, columns).
            lungs: of the whole study; needed for ``region="lungs"``.
        """
        if self.region != "lungs" or lungs is None:
            return Box(0, 0, *shape[1:])
        return lung_square(lungs, self.margin)

    def slices(self, pixels: Voxels, units: Units, lungs: LungMask | None = None) -> Bytes:
        """All steps but the last: uint8 (slices, size, size), brightened, black outside the body.

        Args:
            pixels: float32 or int16 (slices, rows, columns), HU or grey in [0, 1].
            units: which of the two.
            lungs: of the whole study; needed for ``region="lungs"``.
        """
        box = self.box(pixels.shape, lungs)
        images = np.empty((len(pixels), self.size, self.size), dtype=np.uint8)
        for index, plane in enumerate(pixels):
            image = self.to_uint8(plane, units)
            cleared = np.where(self.body(image, units), image, np.uint8(0))[box.slices]
            images[index] = resample(self.brighten(cleared, units), self.size)
        return images

    def tensor(self, images: Bytes) -> FloatArray:
        """Normalise uint8 (slices, size, size) to float32 (slices, 3, size, size), the grey in every channel."""
        grey = images[:, None].astype(np.float32) / np.float32(255)
        mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (self.mean, self.std))
        return np.asarray((grey - mean) / std, dtype=np.float32)


def _cut_open(mask: Bytes, outline: npt.NDArray[np.int32]) -> Bytes:
    """What is not in the mask, but lies in the convex hull of its outline for the most part."""
    hull = cv2.fillConvexPoly(np.zeros_like(mask), cv2.convexHull(outline), 1)
    _, parts = cv2.connectedComponents(1 - mask, connectivity=4)
    area = np.bincount(parts.ravel())
    within = np.bincount(parts[hull > 0], minlength=len(area))
    return np.asarray((within > 0.7 * area)[parts], dtype=np.uint8)


def prepared_slices(scan: Scan, preprocess: CtPreprocess) -> Bytes:
    """All steps up to uint8 (slices, size, size), the lungs looked for where the preprocessing wants them."""
    lungs = lungs_of(scan) if preprocess.region == "lungs" else None
    return preprocess.slices(scan.pixels, scan.units, lungs)
