from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.preprocess.ct_augment import SYSTEM_B, CtAugmentation


def picture(side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray(50 + rows + 2 * columns * (rows > side / 2), dtype=np.uint8)


def test_the_published_strengths() -> None:
    assert CtAugmentation(25, 20 / 224, 0.2, 0.2, 0.2, 0.5) == SYSTEM_B


def test_equal_generators_give_equal_slices() -> None:
    one, same, other = (SYSTEM_B(picture(), np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_no_strength_no_change(kind: type) -> None:
    image = (picture() / (1 if kind is np.uint8 else 255)).astype(kind)
    after = CtAugmentation()(image, np.random.default_rng(0))
    assert after.dtype == image.dtype
    assert np.abs(after.astype(float) - image).max() < 1e-6


@given(st.integers(0, 2**32 - 1))
def test_type_size_and_range_are_kept(seed: int) -> None:
    for image in (picture(), picture().astype(np.float32) / 255):
        after = SYSTEM_B(image, np.random.default_rng(seed))
        assert after.dtype == image.dtype
        assert after.shape == image.shape
        assert after.min() >= 0
        assert after.max() <= (255 if image.dtype == np.uint8 else 1)


@given(st.integers(0, 2**32 - 1))
def test_every_draw_is_within_its_bound(seed: int) -> None:
    """Each strength alone, read off the matrix by hand."""
    alone = {
        field.name: CtAugmentation(**{field.name: getattr(SYSTEM_B, field.name)})
        for field in fields(SYSTEM_B)
    }
    drawn = {name: one.matrix(224, 224, np.random.default_rng(seed)) for name, one in alone.items()}
    middle = np.array([111.5, 111.5, 1])
    for name, matrix in drawn.items():
        assert np.abs(matrix @ middle - middle[:2]).max() <= (20 + 1e-9 if name == "shift" else 1e-9)
    turn = drawn["rotate_deg"][:, :2]
    assert turn @ turn.T == pytest.approx(np.eye(2))
    assert abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= 25
    zoom = drawn["zoom"]
    assert 0.8 <= zoom[0, 0] == zoom[1, 1] <= 1.2
    shear = drawn["shear"]
    assert abs(shear[0, 1]) <= 0.2
    assert (shear[0, 0], shear[1, 0], shear[1, 1]) == (1, 0, 1)
    assert drawn["flip"][:, :2].tolist() in ([[1, 0], [0, 1]], [[-1, 0], [0, 1]])


def test_a_flip_mirrors() -> None:
    flipped = CtAugmentation(flip=1.0)(picture(), np.random.default_rng(0))
    assert (flipped == picture()[:, ::-1]).all()


@given(st.integers(0, 2**32 - 1))
def test_brightness_multiplies_by_at_most_a_fifth(seed: int) -> None:
    image = np.full((8, 8), 100, dtype=np.uint8)
    after = CtAugmentation(brightness=0.2)(image, np.random.default_rng(seed))
    assert len(np.unique(after)) == 1
    assert 80 <= after[0, 0] <= 120


def test_brightness_saturates() -> None:
    white = np.full((8, 8), 250, dtype=np.uint8)
    brightest = max(
        int(CtAugmentation(brightness=0.2)(white, np.random.default_rng(seed)).max()) for seed in range(9)
    )
    assert brightest == 255


def test_what_comes_in_from_outside_is_black() -> None:
    white = np.full((64, 64), 255, dtype=np.uint8)
    turned = [CtAugmentation(rotate_deg=25)(white, np.random.default_rng(seed)) for seed in range(5)]
    assert min(int(image[[0, 0, -1, -1], [0, -1, 0, -1]].max()) for image in turned) == 0
    assert all(image[32, 32] == 255 for image in turned)
