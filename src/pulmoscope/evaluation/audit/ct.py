"""Changes of a whole CT in HU: without lungs, lungs alone, and worse in the ways that scanners and protocols differ.

All take and give float32 (slices, rows, columns) in HU and change nothing in place.
"""

from __future__ import annotations

import zlib
from functools import partial

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray, Point
from pulmoscope.evaluation.audit.erasure import CLEAN, Perturbation
from pulmoscope.evaluation.audit.robustness import Change

LUNG_HU, AIR_HU = np.float32(-850), np.float32(-1000)
"""What lungs are made of when they are erased: clear lung; and what is put around lungs that are left alone."""


def lungs_erased(pixels: FloatArray, lungs: BoolArray) -> FloatArray:
    """Clear lung everywhere within the lungs: their shape remains, what is in them goes."""
    return np.where(lungs, LUNG_HU, pixels)


def lungs_only(pixels: FloatArray, lungs: BoolArray) -> FloatArray:
    """Air everywhere but in the lungs."""
    return np.where(lungs, pixels, AIR_HU)


PERTURBATIONS = (
    CLEAN,
    Perturbation(
        "lungs_erased",
        "Lungs erased",
        "lungs",
        "All that the lungs hold is set to -850 HU; the model is told where they were. What is still told apart is "
        "recognised by the shape of the lungs and by what is around them.",
        framed=True,
        masked=lungs_erased,
    ),
    Perturbation(
        "lungs_only",
        "Lungs alone",
        "surroundings",
        "All but the lungs is air. A model that reads lungs loses little.",
        framed=True,
        masked=lungs_only,
    ),
)


def noisy(pixels: FloatArray, spacing_mm: Point, sd: float) -> FloatArray:
    """Gaussian noise of ``sd`` HU, another one for every study, as a lower dose gives it."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pixels[len(pixels) // 2]).tobytes()))
    return pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sd)


def blurred(pixels: FloatArray, spacing_mm: Point, sigma_mm: float) -> FloatArray:
    """Within slices, as a softer kernel does."""
    down, across = sigma_mm / spacing_mm[1], sigma_mm / spacing_mm[2]
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigmaX=across, sigmaY=down) for image in pixels])


def sharpened(pixels: FloatArray, spacing_mm: Point, amount: float) -> FloatArray:
    """Within slices, as a sharper kernel does: more of what differs from a blur by 1 mm."""
    return pixels + np.float32(amount) * (pixels - blurred(pixels, spacing_mm, 1.0))


def shifted(pixels: FloatArray, spacing_mm: Point, hu: float) -> FloatArray:
    """All values higher or lower, as with a scanner whose calibration is off."""
    return pixels + np.float32(hu)


def thick(pixels: FloatArray, spacing_mm: Point, mm: float) -> FloatArray:
    """Every slice the mean of those within so many mm; there are as many as before."""
    count = max(1, round(mm / spacing_mm[0]))
    rows = pixels.reshape(len(pixels), -1)
    mean = cv2.blur(rows, (1, count), borderType=cv2.BORDER_REPLICATE) if count > 1 else rows.copy()
    return np.asarray(mean, dtype=np.float32).reshape(pixels.shape)


CHANGES: tuple[Change, ...] = (
    Change("noise", "50 HU", True, partial(noisy, sd=50)),
    Change("noise", "100 HU", False, partial(noisy, sd=100)),
    Change("blur", "1 mm", True, partial(blurred, sigma_mm=1.0)),
    Change("blur", "2 mm", False, partial(blurred, sigma_mm=2.0)),
    Change("kernel", "+1", True, partial(sharpened, amount=1.0)),
    Change("shift", "-20 HU", True, partial(shifted, hu=-20)),
    Change("shift", "+20 HU", True, partial(shifted, hu=20)),
    Change("thick", "5 mm", True, partial(thick, mm=5)),
    Change("thick", "10 mm", False, partial(thick, mm=10)),
)
