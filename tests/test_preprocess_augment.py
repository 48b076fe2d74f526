from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.augment import Augmentation

EVERYTHING = Augmentation(
    shift=0.06, rotate_deg=12, zoom=0.15, squeeze=0.1, flip=0.5, film=3, mixing=1, clutter=1, contrast=0.5
)


def spot(side: int, row: float, column: float, radius: float = 0.08) -> FloatArray:
    """A soft bright spot on black; centre and radius in sides."""
    centres = (np.arange(side) + 0.5) / side
    apart = np.hypot(centres[:, None] - row, centres[None] - column)
    return np.exp(-((apart / radius) ** 2)).astype(np.float32)


def place(image: FloatArray) -> tuple[float, float]:
    """Where the bright mass lies: row and column in sides."""
    rows, columns = image.shape
    mass = image.sum()
    down = (image.sum(axis=1) * (np.arange(rows) + 0.5)).sum() / mass / rows
    across = (image.sum(axis=0) * (np.arange(columns) + 0.5)).sum() / mass / columns
    return float(down), float(across)


def noise(side: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).random((side, side), dtype=np.float32)


def test_zeros_leave_image_and_region_alone() -> None:
    image, region = noise(32, 0), noise(8, 1)
    found, moved = Augmentation()(image, np.random.default_rng(2), region=region)
    np.testing.assert_array_equal(found, image)
    assert moved is not None
    np.testing.assert_array_equal(moved, region)
    assert Augmentation()(image, np.random.default_rng(2))[1] is None


@pytest.mark.parametrize(
    "settings",
    [
        Augmentation(shift=0.15),
        Augmentation(rotate_deg=40),
        Augmentation(zoom=0.4),
        Augmentation(squeeze=0.4),
        Augmentation(flip=1),
        Augmentation(shift=0.1, rotate_deg=25, zoom=0.2, squeeze=0.2, flip=0.5),
    ],
    ids=["shifted", "turned", "zoomed", "squeezed", "flipped", "all"],
)
@pytest.mark.parametrize("side", [160, 40, 25])
def test_a_region_lands_where_the_images_own_marks_land(settings: Augmentation, side: int) -> None:
    """The region may have fewer pixels than the image; places are compared in sides."""
    seen = []
    for seed in range(6):
        image, region = spot(160, 0.4, 0.62), spot(side, 0.4, 0.62)
        found, moved = settings(image, np.random.default_rng(seed), region=region)
        assert moved is not None
        assert moved.shape == region.shape
        assert place(moved) == pytest.approx(place(found), abs=0.2 / side)
        seen.append(place(found))
    assert max(np.hypot(down - 0.4, across - 0.62) for down, across in seen) > 0.02  # it did move


def test_a_flip_is_numpys() -> None:
    image, region = noise(32, 0), noise(8, 1)
    found, moved = Augmentation(flip=1)(image, np.random.default_rng(2), region=region)
    np.testing.assert_allclose(found, image[:, ::-1], atol=1e-6)
    assert moved is not None
    np.testing.assert_allclose(moved, region[:, ::-1], atol=1e-6)


def test_outside_a_region_there_is_nothing_whatever_is_drawn_outside_the_image() -> None:
    whole = np.ones((40, 40), dtype=np.float32)
    settings = Augmentation(shift=0.3, clutter=1.0)
    greys = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, moved = settings(whole, rng, region=np.ones((10, 10), dtype=np.float32))
        assert moved is not None
        greys.append(moved)
    corners = np.stack(greys)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() == 0
    assert corners.max() == 1


def test_another_images_amplitude_is_blended_in_with_its_probability() -> None:
    image, other = spot(48, 0.5, 0.5), noise(48, 3)
    asked: list[int] = []

    def another() -> FloatArray:
        asked.append(1)
        return other

    always, _ = Augmentation(mixing=1)(image, np.random.default_rng(0), another)
    assert asked == [1]
    assert np.abs(always - image).max() > 0.01
    np.testing.assert_array_equal(Augmentation(mixing=1)(image, np.random.default_rng(0))[0], image)
    asked.clear()
    rng = np.random.default_rng(1)
    for _ in range(200):
        Augmentation(mixing=0.25)(image, rng, another)
    assert len(asked) == pytest.approx(50, abs=20)  # three standard deviations


@given(seed=st.integers(0, 2**32 - 1), side=st.integers(32, 70))
def test_whatever_is_drawn_an_image_stays_an_image(seed: int, side: int) -> None:
    image, other, region = noise(side, 1), noise(side, 2), noise(20, 3)
    found, moved = EVERYTHING(image, np.random.default_rng(seed), lambda: other, region)
    assert (found.shape, found.dtype) == (image.shape, np.float32)
    assert moved is not None
    assert (moved.shape, moved.dtype) == (region.shape, np.float32)
    for drawn in (found, moved):
        assert 0 <= drawn.min() <= drawn.max() <= 1
    again, _ = EVERYTHING(image, np.random.default_rng(seed), lambda: other, region)
    np.testing.assert_array_equal(again, found)


def test_contrast_is_changed_with_its_probability() -> None:
    rng = np.random.default_rng(4)
    assert {Augmentation().contrast_factor(rng) for _ in range(20)} == {1.0}
    factors = [Augmentation(contrast=1).contrast_factor(rng) for _ in range(300)]
    assert 0 <= min(factors) < 0.1
    assert 1.9 < max(factors) <= 2
