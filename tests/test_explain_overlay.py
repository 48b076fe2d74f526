from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from pulmoscope.explain.overlay import overlay, png


def test_without_heat_the_image_is_untouched() -> None:
    pixels = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    picture = overlay(pixels, np.zeros_like(pixels), 1.0)
    assert picture.dtype == np.uint8
    expected = np.arange(256).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(picture, expected)


def test_full_heat_at_full_opacity_is_the_map_s_last_colour() -> None:
    picture = overlay(np.zeros((2, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32), 1.0)
    red, green, blue, _ = colormaps["inferno"](255, bytes=True)
    np.testing.assert_allclose(picture[0, 0].astype(int), [int(red), int(green), int(blue)], atol=2)


def test_half_opacity_is_half_way_between_image_and_colour() -> None:
    pixels, heat = np.full((1, 1), 0.2, dtype=np.float32), np.ones((1, 1), dtype=np.float32)
    colour = overlay(pixels, heat, 1.0)[0, 0].astype(float)
    assert overlay(pixels, heat, 0.5)[0, 0] == pytest.approx((51 + colour) / 2, abs=1)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_heat_hides_more_of_the_image(low: float, high: float, opacity: float) -> None:
    """How much of the image shines through is seen from two images, one black and one white."""
    low, high = sorted((low, high))
    heat = np.array([[low, high]], dtype=np.float32)
    black = overlay(np.zeros_like(heat), heat, opacity).astype(int)
    white = overlay(np.ones_like(heat), heat, opacity).astype(int)
    through = white - black
    assert (through[0, 0] >= through[0, 1] - 1).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_keeps_every_pixel_and_the_order_of_colours(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)
