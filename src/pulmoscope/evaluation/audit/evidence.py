"""Does a heat map lie where the disease is, and does it depend on what the network has learnt?

Measures of one map, float (rows, columns), none below 0, against masks of the same shape. Pointing game: Zhang et al.,
«Top-down Neural Attention by Excitation Backprop», ECCV 2016. Randomisation: Adebayo et al., «Sanity Checks for
Saliency Maps», NeurIPS 2018; Arun et al., «Assessing the Trustworthiness of Saliency Maps for Localizing Abnormalities
in Medical Imaging», Radiology: Artificial Intelligence 2021. Deletion and insertion: Petsiuk et al., «RISE», BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.evaluation.audit.verdict import Level
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units

IN_LUNGS_GOOD = 0.7
"""Fraction of a map's mass within the lungs from which on it counts as good."""
POINTING_GOOD, POINTING_GAIN = 0.6, 0.1
"""Fraction of maps whose strongest point hits a finding, and how much more than the best constant point that is."""
ALIKE = 0.1
"""By how much maps of a random network may resemble the true ones more than maps of two different images do."""
TOP = 0.1
"""Fraction of the image that counts as marked: the hottest tenth."""
GRID = 64
"""Rows and columns on which the best constant point is looked for."""

_SSIM_SIGMA = 1.5
_SSIM_STABLE = (0.01**2, 0.03**2)

FloatList = npt.NDArray[np.float64]


def strongest(heat: FloatArray) -> tuple[int, int]:
    """Row and column of a map's greatest value; the middle of all places where it is reached."""
    rows, columns = np.nonzero(heat >= heat.max())
    at = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[at]), int(columns[at])


def hits(heat: FloatArray, finding: BoolArray) -> bool:
    """The pointing game, without tolerance: does the strongest point lie in a finding? An empty map points nowhere."""
    return bool(heat.max() > 0 and finding[strongest(heat)])


def overlap(heat: FloatArray, finding: BoolArray, top: float = TOP) -> float:
    """Intersection over union of the hottest ``top`` of the image with a finding."""
    count = max(1, round(top * heat.size))
    marked = np.zeros(heat.size, dtype=bool)
    marked[np.argsort(-heat, axis=None, kind="stable")[:count]] = True
    marked &= heat.ravel() > 0
    inside = finding.ravel()
    return float((marked & inside).sum() / (marked | inside).sum())


def average_precision(heat: FloatArray, finding: BoolArray) -> float:
    """Average precision of the map as a score of every pixel; a pixel drawn by chance has the finding's area.

    Equal values are one step, as in scikit-learn's ``average_precision_score``.
    """
    order = np.argsort(-heat, axis=None, kind="stable")
    found, score = finding.ravel()[order], heat.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hit = np.cumsum(found)[last]
    return float(np.sum(np.diff(hit, prepend=0) * hit / (last + 1)) / found.sum())


def best_point(findings: Sequence[BoolArray]) -> tuple[float, float]:
    """The point of the image, in fractions of its height and width, that lies in most of these findings.

    The first on a grid of 64 x 64; whoever points there always hits as many.
    """
    middle = (np.arange(GRID) + 0.5) / GRID
    counts = np.zeros((GRID, GRID))
    for finding in findings:
        rows, columns = ((middle * side).astype(int) for side in finding.shape)
        counts += finding[np.ix_(rows, columns)]
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    return float(middle[row]), float(middle[column])


def point_hits(point: tuple[float, float], finding: BoolArray) -> bool:
    """Does a point, in fractions of height and width, lie in a finding?"""
    row, column = (int(part * side) for part, side in zip(point, finding.shape, strict=True))
    return bool(finding[row, column])


def ssim(one: FloatArray, other: FloatArray) -> float:
    """Structural similarity of two maps in [0, 1]: Wang et al. 2004, a Gaussian window of 1.5 px, the mean over all.

    It is 1 of equal maps.
    """
    first, second = one.astype(np.float64), other.astype(np.float64)

    def smooth(image: FloatList) -> FloatList:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), _SSIM_SIGMA, borderType=cv2.BORDER_REFLECT))

    mean1, mean2 = smooth(first), smooth(second)
    spread1, spread2 = smooth(first * first) - mean1**2, smooth(second * second) - mean2**2
    together = smooth(first * second) - mean1 * mean2
    stable_mean, stable_spread = _SSIM_STABLE
    likeness = (2 * mean1 * mean2 + stable_mean) * (2 * together + stable_spread)
    return float(
        (likeness / ((mean1**2 + mean2**2 + stable_mean) * (spread1 + spread2 + stable_spread))).mean()
    )


def depth(region: BoolArray) -> FloatArray:
    """How far each pixel of a region lies from its border, in pixels: strongest in the middle of the widest part."""
    return np.asarray(cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)


def area_under(curve: npt.NDArray[np.floating]) -> FloatList:
    """The area under curves whose points are evenly spaced from 0 to 1: (…, points) → (…)."""
    steps = curve.shape[-1] - 1
    return np.asarray((curve[..., 1:] + curve[..., :-1]).sum(axis=-1) / (2 * steps), dtype=np.float64)


def mean(values: Sequence[float] | FloatList, patients: Sequence[str], resamples: int, seed: int) -> Estimate:
    """The mean of one value an image, those that are NaN left out, with its interval by patient."""
    column = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(column))
    if not len(known):
        return Estimate(None)
    chosen = column[known]

    def statistics(weights: Weights) -> dict[Hashable, Values]:
        return {"mean": weights @ chosen / weights.sum(axis=1)}

    return estimates(statistics, units([patients[int(at)] for at in known]), resamples, seed)["mean"]


def lungs_level(within: float | None, uniform: float | None) -> Level:
    """How good it is that so much of the maps' mass lies in the lungs, where an even map would have ``uniform``."""
    if within is None or uniform is None:
        return "none"
    if within >= IN_LUNGS_GOOD:
        return "good"
    return "bad" if within <= uniform else "doubtful"


def pointing_level(pointed: float | None, constant: float | None) -> Level:
    """How good it is that so many maps point at a finding, where one constant point hits ``constant`` of them."""
    if pointed is None or constant is None:
        return "none"
    if pointed >= POINTING_GOOD and pointed >= constant + POINTING_GAIN:
        return "good"
    return "bad" if pointed < constant else "doubtful"


def randomised_level(likeness: float | None, chance: float | None) -> Level:
    """How good it is that maps of a network of random weights are so like the true ones (SSIM).

    Args:
        chance: the same of maps of two different images.
    """
    if likeness is None or chance is None:
        return "none"
    if likeness <= chance:
        return "good"
    return "bad" if likeness > chance + ALIKE else "doubtful"


def order_level(gain: Estimate) -> Level:
    """Does the map's order beat a random one? ``gain``: how much more of the curve's area, in the right direction."""
    if gain.value is None or gain.low is None or gain.high is None:
        return "none"
    if gain.low > 0:
        return "good"
    return "bad" if gain.high < 0 else "doubtful"
