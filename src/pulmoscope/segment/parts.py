"""Connected parts of a mask in three dimensions, found slice by slice and joined where slices touch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Joined:
    """How the parts of single slices make up those of the whole mask.

    Attributes:
        first: int64 (slices + 1,): a slice's parts have the numbers from here on, the first of them 1.
        part: int64, a slice's part → the whole one that it belongs to, from 1 on; 0 → 0.
        sizes: int64, a whole part → its voxels; of 0, 0.
    """

    first: _Numbers
    part: _Numbers
    sizes: _Numbers


def in_slice(plane: BoolArray) -> npt.NDArray[np.int32]:
    """The connected parts of one slice, numbered from 1 (neighbours share an edge)."""
    return np.asarray(cv2.connectedComponents(plane.view(np.uint8), connectivity=4)[1])


def joined(mask: BoolArray) -> Joined:
    """Join the parts of slices, bool (slices, rows, columns), to whole ones (neighbours share a face)."""
    first = np.ones(len(mask) + 1, dtype=np.int64)
    sizes: list[_Numbers] = [np.zeros(1, dtype=np.int64)]
    pairs: list[_Numbers] = []
    below = None
    for index, plane in enumerate(mask):
        labels = None
        if plane.any():
            count, labels, stats, _ = cv2.connectedComponentsWithStats(plane.view(np.uint8), connectivity=4)
            sizes.append(stats[1:, cv2.CC_STAT_AREA].astype(np.int64))
            if below is not None:
                both = mask[index - 1] & plane
                keys = np.unique(below[both].astype(np.int64) * count + labels[both])
                pairs.append(np.stack((keys // count + first[index - 1], keys % count + first[index]), 1) - 1)
        first[index + 1] = first[index] + (0 if labels is None else count - 1)
        below = labels
    roots = _roots(int(first[-1]), np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64))
    part = np.unique(roots, return_inverse=True)[1]
    return Joined(first, part, np.bincount(part, weights=np.concatenate(sizes)).astype(np.int64))


def _roots(count: int, pairs: _Numbers) -> _Numbers:
    """Of each of so many numbers the lowest that pairs lead to (union and find, each with the lower as its parent)."""
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for one, other in pairs.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(number) for number in range(count)], dtype=np.int64)


def numbered(mask: BoolArray) -> tuple[npt.NDArray[np.int32], int]:
    """The connected parts, numbered from 1, int32 (slices, rows, columns); and how many there are."""
    whole = joined(mask)
    parts = np.zeros(mask.shape, dtype=np.int32)
    for index, plane in enumerate(mask):
        if whole.first[index + 1] > whole.first[index]:
            parts[index] = _lookup(whole, index).astype(np.int32)[in_slice(plane)]
    return parts, len(whole.sizes) - 1


def large(mask: BoolArray, least: float) -> BoolArray:
    """The connected parts of at least so many voxels; no more memory than the mask has."""
    whole = joined(mask)
    keep = whole.sizes >= least
    keep[0] = False
    kept = np.zeros(mask.shape, dtype=np.bool_)
    for index, plane in enumerate(mask):
        wanted = keep[_lookup(whole, index)]
        if wanted[1:].all():
            kept[index] = plane
        elif wanted.any():
            kept[index] = wanted[in_slice(plane)]
    return kept


def _lookup(whole: Joined, index: int) -> _Numbers:
    """A slice's part → the whole one; 0 → 0."""
    own = whole.part[whole.first[index] : whole.first[index + 1]]
    return np.concatenate((np.zeros(1, dtype=np.int64), own))
