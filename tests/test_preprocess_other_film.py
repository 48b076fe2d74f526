from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from films import film
from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.other_film import another_film, mixed_amplitude


def grey(rows: int, columns: int, seed: int) -> FloatArray:
    """Noise in the middle of the range, so that nothing is clipped."""
    rng = np.random.default_rng(seed)
    return (0.5 + 0.02 * rng.standard_normal((rows, columns))).astype(np.float32)


@pytest.mark.parametrize("shape", [(24, 24), (25, 31), (1, 8)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_amplitudes_are_blended_and_phases_kept(shape: tuple[int, int], share: float) -> None:
    image, other = grey(*shape, 1), grey(*shape, 2)
    own, foreign = np.fft.fft2(image.astype(np.float64)), np.fft.fft2(other.astype(np.float64))
    blended = (1 - share) * np.abs(own) + share * np.abs(foreign)
    expected = np.fft.ifft2(blended * np.exp(1j * np.angle(own))).real
    found = mixed_amplitude(image, other, share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_leaves_the_range_is_clipped() -> None:
    dark, bright = np.full((8, 8), 0.2, dtype=np.float32), np.full((8, 8), 1.0, dtype=np.float32)
    bright[::2] = 0.0  # its mean is 0.5: with a stripe of amplitude 0.5 that the dark image has no phase for
    dark[0, 0] = 0.9
    found = mixed_amplitude(dark, 3 * bright, 1.0)
    assert found.min() >= 0
    assert found.max() == 1


def test_an_image_without_any_structure_keeps_none() -> None:
    flat = np.full((8, 8), 0.25, dtype=np.float32)
    found = mixed_amplitude(flat, grey(8, 8, 3), 0.5)
    # Its one amplitude is its mean; the other's mean is near 0.5, so the blend is near 0.375 everywhere.
    np.testing.assert_allclose(found, 0.125 + grey(8, 8, 3).mean() / 2, atol=1e-5)


def test_with_the_other_s_amplitude_of_itself_an_image_is_itself() -> None:
    image = film(1, 64)
    np.testing.assert_allclose(mixed_amplitude(image, image, 0.7), image, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), side=st.integers(24, 60), strength=st.floats(0, 3))
def test_another_film_is_an_image_drawn_from_the_generator_alone(
    seed: int, side: int, strength: float
) -> None:
    image = np.random.default_rng(1).random((side, side), dtype=np.float32)
    before = image.copy()
    found = another_film(image, strength, np.random.default_rng(seed))
    assert (found.shape, found.dtype) == (image.shape, np.float32)
    assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_array_equal(another_film(image, strength, np.random.default_rng(seed)), found)
    np.testing.assert_array_equal(image, before)


def test_without_strength_a_film_stays_as_it_is() -> None:
    image = film(1, 64)
    for seed in range(10):
        np.testing.assert_array_equal(another_film(image, 0.0, np.random.default_rng(seed)), image)


def test_the_stronger_the_more_films_change_and_the_anatomy_stays() -> None:
    image = film(1, 64)

    def changed(strength: float) -> list[FloatArray]:
        found = [another_film(image, strength, np.random.default_rng(seed)) for seed in range(60)]
        return [own for own in found if np.abs(own - image).max() > 0.02]

    weak, strong = changed(0.2), changed(1.0)
    assert 0 < len(weak) < len(strong)
    alike = [np.corrcoef(own.ravel(), image.ravel())[0, 1] for own in strong]
    assert np.median(alike) > 0.9
