from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from films import film
from pulmoscope.datasets.fingerprint import BITS, NEAR_BITS, connected, dhash, near_duplicates


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int((dhash(one) != dhash(other)).sum())


def test_a_ramp_to_the_right_sets_every_bit_and_its_mirror_image_none() -> None:
    ramp = np.tile(np.linspace(0, 1, 170, dtype=np.float32), (160, 1))
    assert dhash(ramp).shape == (BITS,)
    assert dhash(ramp).all()
    assert not dhash(ramp[:, ::-1].copy()).any()


def test_a_bit_stands_at_its_place() -> None:
    cells = np.zeros((16, 17), dtype=np.float32)
    cells[3, 5] = 1  # brighter than its left neighbour, so the bit between columns 4 and 5 of row 3 is set
    bits = dhash(np.kron(cells, np.ones((8, 8), dtype=np.float32)))
    assert np.flatnonzero(bits).tolist() == [3 * 16 + 4]


@given(gain=st.floats(0.3, 0.9), offset=st.floats(0, 0.1))
def test_brightness_and_contrast_hardly_matter(gain: float, offset: float) -> None:
    assert distance(film(5), film(5) * np.float32(gain) + np.float32(offset)) <= 2


@pytest.mark.parametrize("size", [64, 80, 192])
def test_size_hardly_matters(size: int) -> None:
    assert distance(film(5), cv2.resize(film(5), (size, size), interpolation=cv2.INTER_AREA)) <= NEAR_BITS


def test_jpeg_compression_hardly_matters() -> None:
    grey = np.rint(film(5) * 255).astype(np.uint8)
    packed = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_GRAYSCALE)
    assert distance(film(5), packed.astype(np.float32) / 255) <= NEAR_BITS


def test_other_chests_are_far() -> None:
    assert min(distance(film(seed), film(seed + 1)) for seed in range(20)) > NEAR_BITS


@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), flips=st.integers(0, 30))
def test_all_pairs_are_those_that_a_plain_loop_finds(seed: int, count: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.random((count, BITS)) < 0.5
    for index in range(1, count, 3):  # some neighbours differ in a few bits only
        hashes[index] = hashes[index - 1]
        hashes[index, rng.choice(BITS, flips, replace=False)] ^= True
    expected = [
        (one, other, int((hashes[one] != hashes[other]).sum()))
        for one in range(count)
        for other in range(one + 1, count)
        if (hashes[one] != hashes[other]).sum() <= NEAR_BITS
    ]
    assert near_duplicates(hashes) == expected


def test_pairs_are_found_across_blocks() -> None:
    hashes = np.random.default_rng(0).random((1500, BITS)) < 0.5
    hashes[1400] = hashes[3]
    hashes[1401] = hashes[700]
    hashes[1401, :NEAR_BITS] ^= True
    assert near_duplicates(hashes) == [(3, 1400, 0), (700, 1401, NEAR_BITS)]


def test_groups_are_connected_transitively() -> None:
    assert connected(6, [(4, 1), (1, 2), (5, 0)]) == [0, 1, 1, 3, 1, 0]
    assert connected(0, []) == []
