"""Whether a CT's values are Hounsfield units, by what every chest holds: air around it, fat, and muscle or blood.

Each shows as a peak of the histogram, and their distances tell them apart whatever the scale: from fat to muscle it is
about 0.15 of that from air to muscle. The peaks' places against where they belong give the values as ``stretch * HU +
shift``. Contrast medium, calcium, metal and lung disease add values, but move none of these peaks by much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.quality.ct.grid import CoarseCt

AIR_HU, FAT_HU, MUSCLE_HU = -997.0, -104.0, 48.0
"""Where the peaks lie, on average, in four real series and 60 simulated ones."""
SHIFTED_HU, WRONG_HU = 35.0, 80.0
"""A peak may lie so far from where it belongs before it is told, and before the study is referred. In correct studies
it is up to 25 HU: noise that is cut off at -1024 lifts air, a kernel or contrast medium muscle."""
STRETCHED, STRETCHED_PER_HU = 0.045, 0.001
"""So much longer or shorter than usual may the way from air to muscle be, and so much more for every HU of noise on the
grid: where noise is cut off at -1024, it lifts air."""
FAT_TO_MUSCLE = (0.105, 0.185)
"""Of the way from air to muscle."""
FAT_MUSCLE_HU = (115.0, 200.0)
"""What lies between fat and muscle where there is no air to compare with; further apart or nearer, it is something
else."""
SMOOTHED_HU, MOST_NOISE_HU = 12.0, 90.0
"""Noise on the grid from which on it is smoothed, and beyond which nothing is told: the peaks run into each other."""
LEAST_OUTSIDE, MOST_CUT = 0.03, 0.3
"""The least fraction of all pixels that is air around the body, and how much of the image's border may be body: in a
narrower field of view, what looks like air around the body may be lung that the border cuts open."""
LEAST_PEAK, LEAST_MAIN, LEAST_AIR = 0.06, 0.5, 0.2
"""Of the highest peak of tissue, what another has, and what that of fat or that of muscle has; of the highest around
the body, what that of air has: padding may be more, table and mattress are less."""
_BIN_HU, _SMOOTH_HU = 4.0, 12.0


@dataclass(frozen=True)
class Scale:
    """How the values of a study follow from Hounsfield units: ``stretch * HU + shift``.

    Attributes:
        anchors: what was found, as name → (its value, where it belongs).
    """

    stretch: float
    shift: float
    anchors: dict[str, tuple[float, float]]

    @property
    def mean(self) -> float:
        """The mean deviation of the anchors, HU."""
        return float(np.mean([value - right for value, right in self.anchors.values()]))

    @property
    def error(self) -> float:
        """The deviation of the anchor that is farthest off, HU."""
        return max((value - right for value, right in self.anchors.values()), key=abs)


def scale_flags(ct: CoarseCt) -> Iterator[Flag]:
    """What a study's scale says, if anything."""
    scale = scale_of(ct)
    if scale is None:
        return
    stretched = abs(scale.stretch - 1) > STRETCHED + STRETCHED_PER_HU * ct.noise
    if not stretched and abs(scale.mean) <= SHIFTED_HU:
        return
    found = ", ".join(f"{name} at {value:.0f}" for name, (value, _) in scale.anchors.items())
    right = ", ".join(f"{name} {right:.0f}" for name, (_, right) in scale.anchors.items())
    off = scale.error if stretched else scale.mean
    level = FlagLevel.REFUSE if abs(off) > WRONG_HU else FlagLevel.WARN
    if stretched:
        how = f"the values are stretched to {100 * scale.stretch:.0f} %, and off by up to {off:+.0f} HU"
        yield Flag("hu-scale", level, f"{how}: {found}", f"in HU {right}")
    else:
        yield Flag("hu-shift", level, f"the values are shifted by {off:+.0f} HU: {found}", f"in HU {right}")


def scale_of(ct: CoarseCt) -> Scale | None:
    """How a study's values follow from Hounsfield units; None where too little is found to tell, or noise hides it."""
    if ct.threshold is None or ct.noise > MOST_NOISE_HU:
        return None
    values, dense = ct.values, ct.tissue
    if ct.noise > SMOOTHED_HU:
        values = np.stack([cv2.blur(plane, (3, 3)) for plane in values])
        dense = np.stack([cv2.erode(plane, np.ones((3, 3), np.uint8)) for plane in dense.view(np.uint8)]) > 0
    tissue = _peaks(values[ct.body & dense & ~ct.constant])
    outside = values[ct.outside]
    seen = outside.size >= LEAST_OUTSIDE * ct.values.size and ct.cut <= MOST_CUT
    air = {at: high for at, high in _peaks(outside).items() if high >= LEAST_AIR} if seen else {}
    if not air:
        return _without_air(tissue)
    triples = {
        (dark, low, high): air[dark] * min(tissue[low], tissue[high]) * _likely((high - low) / (high - dark))
        for dark in air
        for low, high in combinations(sorted(tissue), 2)
        if FAT_TO_MUSCLE[0] <= (high - low) / (high - dark) <= FAT_TO_MUSCLE[1]
        and max(tissue[low], tissue[high]) >= LEAST_MAIN
    }
    if triples:
        dark, fat, muscle = max(triples, key=lambda triple: triples[triple])
        return _fitted({"air": (dark, AIR_HU), "fat": (fat, FAT_HU), "muscle": (muscle, MUSCLE_HU)})
    if not tissue or ct.cut > MOST_CUT / 3 or ct.noise > 3 * SMOOTHED_HU:
        return None
    # One of the two only: it is taken for what makes the scale right.
    dark, most = max(air, key=lambda value: air[value]), max(tissue, key=lambda value: tissue[value])
    name, right = min(
        (("fat", FAT_HU), ("muscle", MUSCLE_HU)), key=lambda one: abs((most - dark) / (one[1] - AIR_HU) - 1)
    )
    return _fitted({"air": (dark, AIR_HU), name: (most, right)})


def _likely(ratio: float) -> float:
    """How well a way from fat to muscle fits the one from air to muscle: 1 at the usual ratio, less away from it."""
    usual = (MUSCLE_HU - FAT_HU) / (MUSCLE_HU - AIR_HU)
    return float(np.exp(-0.5 * ((ratio - usual) / 0.015) ** 2))


def _without_air(peaks: dict[float, float]) -> Scale | None:
    """By fat and muscle alone: their distance is too short to tell a stretch by, so only a shift is."""
    pairs = [
        (low, high)
        for low, high in combinations(sorted(peaks), 2)
        if FAT_MUSCLE_HU[0] <= high - low <= FAT_MUSCLE_HU[1] and max(peaks[low], peaks[high]) >= LEAST_MAIN
    ]
    if not pairs:
        return None
    fat, muscle = max(pairs, key=lambda pair: min(peaks[pair[0]], peaks[pair[1]]))
    shift = ((fat - FAT_HU) + (muscle - MUSCLE_HU)) / 2
    return Scale(1.0, shift, {"fat": (fat, FAT_HU), "muscle": (muscle, MUSCLE_HU)})


def _fitted(anchors: dict[str, tuple[float, float]]) -> Scale:
    """The line through the anchors."""
    values, right = np.array(list(anchors.values())).T
    stretch, offset = np.polyfit(right, values, 1)
    return Scale(float(stretch), float(offset), anchors)


def _peaks(values: npt.NDArray[np.float32]) -> dict[float, float]:
    """The peaks of the values' histogram: where → how high, as a fraction of the highest."""
    if values.size < 1000:
        return {}
    low, high = np.percentile(values, [0.2, 99.8])
    low, high = low - 2 * _SMOOTH_HU, high + 2 * _SMOOTH_HU
    counts, edges = np.histogram(values, bins=max(8, int((high - low) / _BIN_HU)), range=(low, high))
    reach = np.arange(-3 * _SMOOTH_HU, 3 * _SMOOTH_HU + 1, _BIN_HU)
    smooth = np.convolve(counts, np.exp(-0.5 * np.square(reach / _SMOOTH_HU)), "same")
    inner = smooth[1:-1]
    tops = (
        np.flatnonzero((inner >= smooth[:-2]) & (inner > smooth[2:]) & (inner > LEAST_PEAK * smooth.max()))
        + 1
    )
    middles = (edges[1:] + edges[:-1]) / 2
    return {float(middles[top]): float(smooth[top] / smooth.max()) for top in tops}
