"""What a radiograph's pixels look like, whatever it shows: brightness, contrast, detail, noise, borders, layout.

Two hospitals differ in these by their devices, processing and framing. All are measured in the image shrunk to
:data:`SIDE` px, so that neither its size nor the artefacts of a lossy compression weigh much.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray

SIDE = 128
"""Longest side of the image that is measured, px; a smaller one is measured as it is."""

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BLURS = (0.7, 1.4, 2.8, 5.6, 11.2)
"""Standard deviations of the Gaussian filters between which details lie, px."""
_BLACK, _WHITE = 0.02, 0.98
_STRIP = 0.04
"""Width of a border, as a fraction of the shorter side."""
_LEAST_SPREAD = 0.02
_GRID = 6

STATISTICS: Mapping[str, str] = {
    **{
        f"brightness-p{100 * quantile:02.0f}": f"the brightness below which {100 * quantile:.0f} % of the pixels lie"
        for quantile in _QUANTILES
    },
    "brightness-mean": "the mean brightness",
    "contrast": "the contrast (standard deviation of the brightness)",
    "grey-levels": "the variety of grey levels (entropy)",
    "white": "the fraction of white pixels",
    "black": "the fraction of black pixels",
    "detail-finest": "the strength of the finest details (below 1 px of an image of 128 px)",
    "detail-fine": "the strength of fine details (1 to 2 px of 128)",
    "detail-middle": "the strength of details of 2 to 4 px of 128",
    "detail-coarse": "the strength of details of 4 to 8 px of 128",
    "detail-coarsest": "the strength of details of 8 to 16 px of 128",
    "noise": "the noise",
    "border-top": "the brightness of the upper border",
    "border-bottom": "the brightness of the lower border",
    "border-left": "the brightness of the left border",
    "border-right": "the brightness of the right border",
    "border-centre": "the brightness of the borders beside that of the centre",
    "layout-top": "the brightness of the top beside that of the bottom",
    "layout-middle": "the brightness of the middle",
    "layout-fields": "the brightness of the lung fields",
    "layout-neck": "the brightness of the upper middle",
    "layout-abdomen": "the brightness of the lower middle",
    "layout-sides": "the difference between the two sides",
}
"""Code of each statistic, in order → what it is, in words."""


def image_statistics(pixels: FloatArray) -> FloatArray:
    """The :data:`STATISTICS` of an X-ray, float32 (statistics,).

    Args:
        pixels: float32 (rows, columns) in [0, 1].
    """
    small = _shrunk(pixels)
    quantiles = np.quantile(small, _QUANTILES)
    spread = max(float(quantiles[5] - quantiles[1]), _LEAST_SPREAD)
    rows, columns = small.shape
    strip = max(1, round(_STRIP * min(small.shape)))
    borders = [part.mean() for part in (small[:strip], small[-strip:], small[:, :strip], small[:, -strip:])]
    centre = small[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].mean()
    counts = np.histogram(small, 64, (0, 1))[0] / small.size
    counts = counts[counts > 0]
    return np.array(
        [
            *quantiles,
            small.mean(),
            small.std(),
            -(counts * np.log(counts)).sum(),
            np.sqrt((small >= _WHITE).mean()),
            np.sqrt((small <= _BLACK).mean()),
            *_details(small, spread),
            *borders,
            np.mean(borders) - centre,
            *_layout(np.clip((small - quantiles[1]) / spread, -0.2, 1.2).astype(np.float32)),
        ],
        dtype=np.float32,
    )


def _shrunk(pixels: FloatArray) -> FloatArray:
    scale = SIDE / max(pixels.shape)
    if scale >= 1:
        return pixels
    rows, columns = (max(24, round(side * scale)) for side in pixels.shape)
    return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _details(small: FloatArray, spread: float) -> list[float]:
    """Logarithms of the strength of five bands of detail beside the range of grey, the finest first, and of noise."""
    smooth = [small, *(cv2.GaussianBlur(small, (0, 0), width) for width in _BLURS)]
    bands = [float(np.log(np.abs(one - other).mean() / spread + 1e-5)) for one, other in pairwise(smooth)]
    curvature = np.abs(cv2.Laplacian(small, cv2.CV_32F)[1:-1, 1:-1])
    return [*bands, float(np.log(np.quantile(curvature, 0.25) / spread + 1e-4))]


def _layout(normalised: FloatArray) -> list[float]:
    """How light and dark lie in the image: means over parts of a grid of 6 x 6 cells."""
    grid = cv2.resize(normalised, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return [
        float(value)
        for value in (
            grid[:2].mean() - grid[-2:].mean(),
            grid[2:4, 2:4].mean(),
            grid[1:5, [1, 4]].mean(),
            grid[:2, 2:4].mean(),
            grid[-2:, 2:4].mean(),
            np.abs(grid[:, :3] - grid[:, :2:-1]).mean(),
        )
    ]
