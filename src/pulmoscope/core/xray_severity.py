"""How ill the lungs of a radiograph are: what an estimate of its severity comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

ZONES = ("A", "B", "C", "D", "E", "F")
"""Of the Brixia score: A to C the patient's right lung from the top to the base, D to F the left."""

MOST_EXTENT, MOST_OPACITY, MOST_BRIXIA, MOST_ZONE = 8.0, 6.0, 18.0, 3.0
"""The highest scores; the lowest are 0."""


@dataclass(frozen=True)
class Estimate:
    """A score and between what the readers' own score lies.

    Attributes:
        value: the estimate.
        low, high: the ends of the prediction interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Zone:
    """A third of a lung's height, and its score.

    Attributes:
        score: 0 none, 1 interstitial, 2 interstitial and alveolar, 3 mostly alveolar (Brixia score: Borghesi and
            Maroldi, La Radiologia Medica 125, 2020).
        top, left, height, width: where it lies, px of the scan.
    """

    score: Estimate
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class XraySeverity:
    """How much of the lungs a frontal radiograph shows affected, and how dense that is, as readers score it.

    Attributes:
        extent: geographic extent, 0 to 8 (Cohen et al., arXiv 2005.11856: 0 to 4 a lung, by how much is affected).
        opacity: 0 to 6 (likewise: 0 to 3 a lung, from none to white-out).
        brixia: 0 to 18, over six zones.
        zones: one of :data:`ZONES` → where it lies and its score.
        coverage: the fraction of radiographs like those that the intervals were fitted on whose score lies within.
        model: name, version and sha256 of what estimates them.
        cells: float32 (rows, columns), the probability of an opacity in each cell of ``box``, which they fill evenly.
        box: top, left, height, width in px of the scan; may reach beyond it.
        limits: why the figures are worth less here, as sentences; empty where they are not.
    """

    extent: Estimate
    opacity: Estimate
    brixia: Estimate
    zones: Mapping[str, Zone]
    coverage: float
    model: Mapping[str, str]
    cells: npt.NDArray[np.float32] = field(repr=False)
    box: tuple[int, int, int, int]
    limits: tuple[str, ...] = ()
