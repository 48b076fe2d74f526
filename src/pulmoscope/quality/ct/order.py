"""Whether a CT's slices follow each other as a body does: none repeated, none in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Flag, FlagLevel, FloatArray
from pulmoscope.quality.ct.grid import CoarseCt
from pulmoscope.quality.ct.texture import noise_slices

SAME_HU_PER_MM, SAME_MOST_MM = 0.7, 5.0
"""Slices that differ by less for every millimetre of their distance (of at most so many) show the same. Neighbours
differ by 8 to 40 HU a mm in real series, and by 1 at the least in simulated ones."""
SAME_LEAST_HU = 0.3
MOST_REPEATED, MOST_MISPLACED = 0.1, 0.1
"""Fraction of slices; of more the study is referred."""
CLOSER = 0.85
"""A slice is misplaced where another place makes neighbours so much more alike."""
LEAST_STEP = 0.5
"""Of the usual difference of neighbours; where they differ less, what noise adds decides which are most alike."""
FEWEST = 8
"""Slices that differ; of fewer no order can be told."""
_SIDE, _GAPS = 48, 12

Distances = npt.NDArray[np.float64]


def order_flags(ct: CoarseCt) -> Iterator[Flag]:
    """What the slices' likeness says of their order, if anything."""
    noise = set(noise_slices(ct))
    kept = [index for index in range(len(ct.values)) if index not in noise]
    if len(kept) < FEWEST:
        return
    distances = _distances([ct.values[index] for index in kept])
    repeated = _repeated(distances, ct.voxel_mm[0])
    if repeated.any():
        count, every = int(repeated.sum()), len(repeated)
        level = FlagLevel.REFUSE if count > MOST_REPEATED * every else FlagLevel.WARN
        finding = f"{count} of {every} slices repeat{'s' * (count == 1)} another one"
        yield Flag("repeated-slices", level, finding, "every slice shows another height of the body")
    unlike = np.flatnonzero(~repeated)
    if len(unlike) < FEWEST:
        return
    misplaced = _misplaced(distances[np.ix_(unlike, unlike)])
    if misplaced:
        level = FlagLevel.REFUSE if misplaced > MOST_MISPLACED * len(unlike) else FlagLevel.WARN
        finding = f"{misplaced} of {len(unlike)} slices fit another place better than the one that they have"
        yield Flag("slice-order", level, finding, "the slices follow each other from the feet to the head")


def _distances(values: Sequence[FloatArray]) -> Distances:
    """The root mean square difference of every two slices, shrunk, HU (n, n); infinite of a slice to itself."""
    small = np.stack(
        [
            cv2.resize(np.clip(plane, -1100, 400), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            for plane in values
        ]
    ).reshape(len(values), -1)
    small = small.astype(np.float64) - small.mean()
    lengths = np.square(small).sum(axis=1)
    squares = (lengths[:, None] + lengths - 2 * small @ small.T) / small.shape[1]
    distances = np.sqrt(np.maximum(squares, 0))
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances, dtype=np.float64)


def _repeated(distances: Distances, step_mm: float) -> npt.NDArray[np.bool_]:
    """Which slices show the same as one before them."""
    same = distances < max(SAME_LEAST_HU, SAME_HU_PER_MM * min(step_mm, SAME_MOST_MM))
    return np.asarray(np.tril(same).any(axis=1))


def _misplaced(distances: Distances) -> int:
    """How many slices resemble one elsewhere more than both neighbours, or would fit better with another place.

    That is so of two neighbours that changed places, and of a block.
    """
    steps = np.diagonal(distances, 1)
    near = np.minimum(np.append(steps, np.inf), np.append(np.inf, steps))
    usual = float(np.median(steps))
    alone = int(np.count_nonzero((distances.min(axis=1) < CLOSER * near) & (near > LEAST_STEP * usual)))
    over, beside = np.diagonal(distances, 2), steps[:-2] + steps[2:]
    changed = (over[:-1] + over[1:] < CLOSER * beside) & (beside > 2 * LEAST_STEP * usual)
    swapped = int(np.count_nonzero(changed))
    return max(alone, min(2 * swapped, len(distances)), _moved(distances, steps))


def _moved(distances: Distances, steps: Distances) -> int:
    """How many slices the block has that fits another place best, or the other way round; 0 where none does.

    Whole blocks keep their neighbours: only their ends tell. At the largest steps it is asked whether the slices would
    follow each other by smaller ones if what lies between two were reversed, or between three exchanged (the moves
    2-opt and 3-opt of Lin, Bell Syst Tech J 44, 1965).
    """
    gaps = sorted(int(gap) for gap in np.argsort(-steps)[:_GAPS])
    best, size = CLOSER, 0
    for first, second in combinations(gaps, 2):
        turned = distances[first, second] + distances[first + 1, second + 1]
        gain = turned / (steps[first] + steps[second])
        if second > first + 1 and gain < best:
            best, size = gain, second - first
    for first, second, third in combinations(gaps, 3):
        moved = distances[first, second + 1] + distances[third, first + 1] + distances[second, third + 1]
        gain = moved / (steps[first] + steps[second] + steps[third])
        if gain < best:
            best, size = gain, min(second - first, third - second)
    return size
