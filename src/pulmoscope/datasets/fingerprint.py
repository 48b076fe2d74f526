"""Which images are the same picture: a perceptual hash, and all pairs that it calls near-duplicates."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray

SIDE = 16
BITS = SIDE * SIDE
NEAR_BITS = 14
"""Two pictures are near-duplicates when their hashes differ in at most this many of the 256 bits."""

_BLOCK = 512


def dhash(pixels: FloatArray) -> BoolArray:
    """The difference hash: is each cell of a 16 x 16 grid darker than its right neighbour?

    It does not change with size, brightness or contrast, and little with compression.
    After N. Krawetz, «Kind of Like That» (2013), with 256 bits instead of 64.

    Args:
        pixels: float32 (rows, columns).

    Returns:
        bool (256,).
    """
    small = cv2.resize(pixels, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, 1:] > small[:, :-1]).reshape(-1)


def near_duplicates(hashes: BoolArray, max_bits: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """All pairs of hashes that differ in at most ``max_bits`` bits.

    With bits as -1 and +1 the dot product of two hashes is 256 less twice their distance, so the comparison of all
    pairs is a matrix product: seconds for 20,000 images, with one block of rows in memory at a time.

    Args:
        hashes: bool (images, 256).

    Returns:
        (first, second, bits that differ), first < second, in order.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(signs), _BLOCK):
        product = signs[start : start + _BLOCK] @ signs[start:].T
        first, second = np.nonzero(product >= BITS - 2 * max_bits)
        later = second > first
        distance = (BITS - product[first[later], second[later]]) / 2
        pairs.extend(
            (int(one) + start, int(other) + start, int(bits))
            for one, other, bits in zip(first[later], second[later], distance, strict=True)
        )
    return pairs


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the groups that the pairs connect: for each of ``count`` items the lowest item of its group."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return [root(item) for item in range(count)]
