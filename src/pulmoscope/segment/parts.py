"""Connected parts of a mask in three dimensions, found slice by slice and joined where slices touch."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, Bytes

_Numbers = npt.NDArray[np.int64]
_Plane = npt.NDArray[np.int32]


def in_slice(plane: BoolArray) -> _Plane:
    """The connected parts of one slice, numbered from 1 (neighbours share an edge)."""
    return np.asarray(cv2.connectedComponents(plane.view(np.uint8), connectivity=4)[1])


def areas_in_slice(plane: BoolArray | Bytes) -> tuple[_Plane, _Numbers]:
    """The same, of bool or 0 and 1; and how many pixels each has, 0 (none of them) included."""
    count, labels = cv2.connectedComponents(plane.view(np.uint8), connectivity=4)
    return labels, np.bincount(labels.ravel(), minlength=count)


def numbered(mask: BoolArray) -> tuple[npt.NDArray[np.int32], int]:
    """The connected parts of a mask, bool (slices, rows, columns), numbered from 1 (neighbours share a face).

    Returns:
        int32 (slices, rows, columns), and how many parts there are.
    """
    join, parts = _Join(), np.zeros(mask.shape, dtype=np.int32)
    for index, first, labels in join.slices(mask):
        np.add(labels, first, out=parts[index], where=mask[index])
    part = join.parts()
    return part.astype(np.int32)[parts], int(part.max())


def large(mask: BoolArray, least: float) -> BoolArray:
    """The connected parts of at least so many voxels; takes no more memory than the mask does."""
    join, sizes = _Join(), [np.zeros(1, dtype=np.int64)]
    firsts: dict[int, tuple[int, int]] = {}
    for index, first, labels in join.slices(mask):
        sizes.append(np.bincount(labels.ravel())[1:])
        firsts[index] = first, len(sizes[-1])
    part = join.parts()
    keep = np.bincount(part, weights=np.concatenate(sizes)) >= least
    keep[0] = False
    kept = np.zeros(mask.shape, dtype=np.bool_)
    for index, (first, count) in firsts.items():
        wanted = keep[part[first : first + count + 1]]
        wanted[0] = False
        if wanted[1:].all():
            kept[index] = mask[index]
        elif wanted.any():
            kept[index] = wanted[in_slice(mask[index])]
    return kept


class _Join:
    """Which parts of single slices belong together; all slices' parts are numbered one after the other, from 1.

    Attributes:
        parent: of each number one that it belongs to, never a higher one (union and find); 0 is no part.
    """

    def __init__(self) -> None:
        self.parent = [0]

    def slices(self, mask: BoolArray) -> Iterator[tuple[int, int, _Plane]]:
        """Of every slice that has any: its index, the number before its first part, and its parts by themselves."""
        below: tuple[int, int, _Plane] | None = None
        for index, plane in enumerate(mask):
            if not plane.any():
                continue
            count, labels = cv2.connectedComponents(plane.view(np.uint8), connectivity=4)
            first = len(self.parent) - 1
            self.parent.extend(range(first + 1, first + count))
            if below is not None and below[0] == index - 1:
                both = mask[index - 1] & plane
                self._join(below[1] + below[2][both].astype(np.int64), first + labels[both].astype(np.int64))
            below = index, first, labels
            yield below

    def parts(self) -> _Numbers:
        """Of each number the part that it belongs to, numbered from 1; 0 → 0."""
        roots = np.array([self._root(number) for number in range(len(self.parent))], dtype=np.int64)
        return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int64)

    def _join(self, ones: _Numbers, others: _Numbers) -> None:
        """Join two numbers each, of pixels in order: neighbours mostly are the same two."""
        changes = np.flatnonzero((np.diff(ones) != 0) | (np.diff(others) != 0)) + 1
        at = np.concatenate(([0], changes)) if len(ones) else changes
        for one, other in set(zip(ones[at].tolist(), others[at].tolist(), strict=True)):
            low, high = sorted((self._root(one), self._root(other)))
            self.parent[high] = low

    def _root(self, number: int) -> int:
        parent = self.parent
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number
