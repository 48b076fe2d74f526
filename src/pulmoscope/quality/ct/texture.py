"""Noise, blur, and slices that hold nothing but noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from pulmoscope.core.types import Bytes, Flag, FlagLevel, FloatArray, Point, Voxels
from pulmoscope.quality.ct.grid import CoarseCt

MOST_NOISE_HU = 140.0
"""The s.d. in 5 x 5 pixels of soft tissue, a quarter of which have less. Four real series have 13 to 33 HU, simulated
ones with a sharp kernel, 1 mm slices and a third of the usual dose up to 110."""
WIDEST_MM, WIDEST_PIXELS = 2.9, 3.4
"""An edge from air to tissue takes so much, in a quarter of the places less: both are asked, as pixels that are large
blur by themselves, and small ones show how blurred a scan is. Real series take 1.6 to 2 mm."""
LEAST_LIKE = 0.6
"""The correlation of a slice's neighbouring pixels of 3 mm; in correct slices, noisy ones too, it is at least 0.9."""
MOST_NOISE_SLICES = 0.03
"""Fraction of slices that are nothing but noise; of more the study is referred."""
_LOOKED_AT = 10
_STEP_HU = 900.0
_LEAST_EDGES, _LEAST_TISSUE = 200, 50


def texture_flags(pixels: Voxels, spacing_mm: Point, ct: CoarseCt) -> Iterator[Flag]:
    """What a study's noise and sharpness say, if anything.

    Args:
        pixels: float32 or int16 (slices, rows, columns), of ``spacing_mm``; ``ct`` is the same on the coarse grid.
    """
    count = len(noise_slices(ct))
    if count:
        level = FlagLevel.REFUSE if count > MOST_NOISE_SLICES * len(ct.values) else FlagLevel.WARN
        finding = f"{count} of {len(ct.values)} slices {'is' if count == 1 else 'are'} nothing but noise"
        yield Flag("noise-slices", level, finding, "every slice shows the body")
    if ct.threshold is None:
        return
    step = max(1, len(ct.values) // _LOOKED_AT)
    looked_at = range(step // 2, len(ct.values), step)
    noise = noise_hu(pixels, ct, looked_at)
    if noise is not None and noise > MOST_NOISE_HU:
        finding = f"the noise is {noise:.0f} HU: lung that is clear may be taken for affected, and the other way round"
        yield Flag("noise", FlagLevel.WARN, finding, f"at most {MOST_NOISE_HU:.0f} HU")
    width = edge_pixels(pixels, ct, looked_at)
    if width is None:
        return
    width_mm = width * max(spacing_mm[1:])
    if width > WIDEST_PIXELS and width_mm > WIDEST_MM:
        finding = f"the image is blurred: an edge is {width_mm:.1f} mm wide"
        yield Flag("blurred", FlagLevel.WARN, finding, f"at most {WIDEST_MM} mm")


def noise_slices(ct: CoarseCt) -> list[int]:
    """The slices whose neighbouring pixels have nothing in common."""
    found = []
    for index, plane in enumerate(ct.values):
        values = np.clip(plane, -1100, 400)
        one, other = (part.ravel() - part.mean() for part in (values[:, 1:], values[:, :-1]))
        length = np.sqrt(np.square(one).sum() * np.square(other).sum())
        if length > 0 and (one * other).sum() < LEAST_LIKE * length:
            found.append(index)
    return found


def noise_hu(pixels: Voxels, ct: CoarseCt, looked_at: Sequence[int]) -> float | None:
    """The s.d. of soft tissue within 5 x 5 pixels, HU: the lower quartile of a slice, the median of slices.

    Args:
        pixels: float32 or int16 (slices, rows, columns).
        looked_at: the slices.

    Returns:
        None where there is hardly any tissue.
    """
    step = pixels.shape[1] // ct.values.shape[1]
    rows, columns = ct.values.shape[1:]
    found = []
    for index in looked_at:
        inside = cv2.erode(ct.solid[index], np.ones((3, 3), np.uint8)) > 0
        if np.count_nonzero(inside) < _LEAST_TISSUE:
            continue
        plane = np.asarray(pixels[index], dtype=np.float32)
        mean, of_squares = cv2.blur(plane, (5, 5)), cv2.sqrBoxFilter(plane, cv2.CV_32F, (5, 5))
        at = (slice(step // 2, None, step),) * 2
        spread = np.sqrt(np.maximum(0, of_squares[at] - np.square(mean[at])))[:rows, :columns]
        found.append(float(np.percentile(spread[inside], 25)))
    return float(np.median(found)) if found else None


def edge_pixels(pixels: Voxels, ct: CoarseCt, looked_at: Sequence[int]) -> float | None:
    """How many pixels the step from air to tissue takes, where it is steepest in a quarter of the body's edges.

    Args:
        pixels: float32 or int16 (slices, rows, columns).
        looked_at: the slices.

    Returns:
        None where there are hardly any edges.
    """
    assert ct.threshold is not None
    slopes = [_slopes(pixels[index], ct.body[index].view(np.uint8), ct.threshold) for index in looked_at]
    steep = np.concatenate(slopes) if slopes else np.array([], dtype=np.float32)
    if steep.size < _LEAST_EDGES:
        return None
    return _STEP_HU / max(float(np.percentile(steep, 75)), 1e-6)


def _slopes(plane: Voxels, body: Bytes, threshold: float) -> FloatArray:
    """The slope at every pixel of the body, its surface included, that lies on an edge; HU a pixel."""
    near = cv2.dilate(body, np.ones((3, 3), np.uint8))
    near = cv2.resize(near, (plane.shape[1], plane.shape[0]), interpolation=cv2.INTER_NEAREST)
    left, top, width, height = cv2.boundingRect(near)
    if width < 3 or height < 3:
        return np.array([], dtype=np.float32)
    within = np.s_[top : top + height, left : left + width]
    plane, near = np.asarray(plane[within], dtype=np.float32), near[within]
    dense = plane > threshold
    inner = dense[1:-1, 1:-1]
    rows, columns = np.nonzero(
        ((inner != dense[1:-1, 2:]) | (inner != dense[2:, 1:-1])) & (near[1:-1, 1:-1] > 0)
    )
    rows, columns = rows + 1, columns + 1
    across = plane[rows, columns + 1] - plane[rows, columns - 1]
    down = plane[rows + 1, columns] - plane[rows - 1, columns]
    return np.asarray(np.hypot(across, down) / 2, dtype=np.float32)
