"""From a CT slice to what a network sees: the lungs alone, in grey levels that are the same for every window.

Slices that come as pictures have every window, crop, border and letter there is, and each gives away the source rather
than the disease. So the lungs are looked for, everything outside of them is hidden, and grey is mapped so that lung and
soft tissue lie where they lie in every other picture. A slice of a HU volume is rendered first, then treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np

from pulmoscope.core.limits import Limits
from pulmoscope.core.types import BoolArray, Box, FloatArray, Voxels
from pulmoscope.preprocess.framing import Framed, centre_square, crop, normalised, only_within, resample
from pulmoscope.segment.slice_lungs import lung_hulls, slice_lungs

WINDOW_LEVEL, WINDOW_WIDTH = -600.0, 1500.0
"""The lung window that slices of a volume are rendered in, HU."""

LUNG_GREY, TISSUE_GREY = 0.2, 0.85
"""Where lung and soft tissue lie after harmonisation."""

LEAST_CONTRAST = 0.1
"""Lung and soft tissue that are nearer to each other than this are left where they are: noise is not stretched."""

LEVELS_SIDE = 256
"""The longest side of a picture that grey levels are measured on, px: a larger one is made smaller first."""

OPENINGS = (0.027, 0.062)
"""Diameters of the discs of ``others="opened"``, in sides: wider than most vessels, and than nearly all."""


@dataclass(frozen=True)
class SlicePreprocess:
    """How a CT slice is framed, toned and normalised.

    Attributes:
        size: side of the square input, px.
        region: ``lungs`` takes the box around the lungs; ``full`` the whole picture.
        margin: fraction of the lung box's sides that ``lungs`` adds on every side.
        shape: ``squeeze`` makes the box square by resampling; ``keep`` by taking a square box.
        hull: with ``lungs``, hide what lies outside the lungs' hulls, which are widened by ``room``.
        room: in sides of the framed image.
        hidden: the grey of what is hidden.
        window: map lung and soft tissue to fixed greys.
        mean, std: normalisation of the [0, 1] image, equal for all channels.
        channels: 3 for networks made for RGB; 1 is the grey image alone.
        others: what the second and third channel are: ``same``, the grey image again; ``opened``, the image after
            grey openings with a small and a larger disc. They take vessels, noise and sharpness away and leave what
            is dense over an area.
    """

    TYPE: ClassVar = "ct-slice"
    size: Annotated[int, Limits(32, 4096)] = 192
    region: Literal["full", "lungs"] = "lungs"
    margin: Annotated[float, Limits(0, 1)] = 0.03
    shape: Literal["squeeze", "keep"] = "squeeze"
    hull: bool = True
    room: Annotated[float, Limits(0, 0.5)] = 0.01
    hidden: Annotated[float, Limits(0, 1)] = 0.85
    window: bool = True
    mean: Annotated[float, Limits(0, 1)] = 0.5
    std: Annotated[float, Limits(0.001, 10)] = 0.5
    channels: Literal[1, 3] = 3
    others: Literal["same", "opened"] = "same"

    @property
    def needs_finder(self) -> bool:
        """False: the lungs of a slice are found by grey alone, or given."""
        return False

    def render(self, hu: Voxels) -> FloatArray:
        """A slice of a volume as a picture: HU in a fixed lung window, float32 [0, 1], shape kept."""
        low = np.float32(WINDOW_LEVEL - WINDOW_WIDTH / 2)
        grey: FloatArray = hu - low
        grey /= np.float32(WINDOW_WIDTH)
        return np.clip(grey, 0, 1, out=grey)

    def frame(self, pixels: FloatArray, lungs: FloatArray | BoolArray | None = None) -> Framed:
        """Cut out the lungs, hide the rest, and map the grey levels.

        Args:
            pixels: float32 (rows, columns) in [0, 1].
            lungs: a lung mask of the whole slice, bool or probability, of any size; None: look for them.
        """
        rows, columns = pixels.shape
        mask = slice_lungs(pixels) if lungs is None else _as_mask(lungs, rows, columns)
        hulls = [] if mask is None else lung_hulls(mask)
        box = Box(0, 0, rows, columns)
        if self.region == "lungs":
            box = self._box(hulls, rows, columns) if hulls else centre_square(rows, columns)
        image = resample(crop(pixels, box), self.size)
        if self.window:
            image = harmonised(image, *grey_levels(pixels, mask))
        if self.region == "lungs" and self.hull and hulls:
            within = [(hull - (box.left, box.top)) / (box.width, box.height) for hull in hulls]
            image = only_within(image, within, self.room, self.hidden)
        return Framed(image, box, bool(hulls) or self.region != "lungs")

    def tone(self, image: FloatArray, factor: float = 1.0) -> FloatArray:
        """The framed image as it is: its grey levels were mapped with the whole slice in sight."""
        return image

    def tensor(self, image: FloatArray) -> FloatArray:
        """Normalise a framed and toned image to float32 (channels, size, size)."""
        if self.others == "opened" and self.channels == 3:
            image = np.stack([image, *(opened(image, diameter) for diameter in OPENINGS)])
        return normalised(image, self.mean, self.std, self.channels)

    def __call__(
        self, pixels: FloatArray, lungs: FloatArray | BoolArray | None = None
    ) -> tuple[FloatArray, Framed]:
        """All steps, as diagnosis takes them: the tensor and where it came from."""
        framed = self.frame(pixels, lungs)
        return self.tensor(self.tone(framed.image)), framed

    def _box(self, hulls: list[FloatArray], rows: int, columns: int) -> Box:
        """The box around all hulls with its margin, within the picture where it is not to be square."""
        points = np.concatenate(hulls)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        width, height = (right - left) * (1 + 2 * self.margin), (bottom - top) * (1 + 2 * self.margin)
        across, down = (left + right) / 2, (top + bottom) / 2
        if self.shape == "keep":
            side = max(1, round(float(max(width, height))))
            return Box(round(float(down - side / 2)), round(float(across - side / 2)), side, side)
        first_row = max(0, round(float(down - height / 2)))
        first_column = max(0, round(float(across - width / 2)))
        last_row = min(rows, round(float(down + height / 2)))
        last_column = min(columns, round(float(across + width / 2)))
        return Box(first_row, first_column, last_row - first_row, last_column - first_column)


def grey_levels(pixels: FloatArray, lungs: BoolArray | None) -> tuple[float, float]:
    """The greys of lung (its clear part) and of soft tissue; without lungs those of the dark and the bright."""
    smaller = LEVELS_SIDE / max(pixels.shape)
    if smaller < 1:
        rows, columns = pixels.shape
        size = (max(1, round(columns * smaller)), max(1, round(rows * smaller)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        lungs = None if lungs is None else _as_mask(lungs, *pixels.shape)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.5)
    if lungs is None or not lungs.any():
        low, high = np.percentile(smooth[::2, ::2], (25, 75))
        return float(low), float(high)
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    around = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    lung = float(np.percentile(smooth[lungs], 20))
    rest = smooth[around][~lungs[around]]
    bright = rest[rest > lung + 0.5 * (rest.max() - lung)] if rest.size else rest
    return lung, float(np.median(bright)) if bright.size else float(smooth.max())


def harmonised(image: FloatArray, lung: float, tissue: float) -> FloatArray:
    """Map the grey of lung and of soft tissue to fixed ones, the rest along the same line, within [0, 1]."""
    if tissue - lung < LEAST_CONTRAST:
        return image
    scale = (TISSUE_GREY - LUNG_GREY) / (tissue - lung)
    mapped = (image - np.float32(lung)) * np.float32(scale) + np.float32(LUNG_GREY)
    return np.asarray(np.clip(mapped, 0, 1), dtype=np.float32)


def opened(image: FloatArray, diameter: float) -> FloatArray:
    """Grey opening: what is bright and narrower than a disc gets as dark as what is around."""
    width = max(3, round(diameter * image.shape[-1]) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_OPEN, disc), dtype=np.float32)


def _as_mask(lungs: FloatArray | BoolArray, rows: int, columns: int) -> BoolArray | None:
    """A lung mask as large as the picture; None where it is empty."""
    mask = np.asarray(lungs if lungs.dtype == np.bool_ else lungs > 0.5, dtype=np.bool_)
    if mask.shape != (rows, columns):
        mask = cv2.resize(mask.view(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(mask) if mask.any() else None
