"""What is no lung: described, and exchanged between images, by hand-made images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pulmoscope.evaluation.audit.traits import Picture, Trait, blockiness, control, letters, traits

BY_CODE: dict[str, Trait] = {trait.code: trait for trait in traits(framed=False)}


def picture(seed: int = 0, rows: int = 100, columns: int = 120, level: float = 0.4) -> Picture:
    pixels = np.random.default_rng(seed).normal(level, 0.02, (rows, columns)).astype(np.float32)
    lungs = np.zeros((rows, columns), dtype=bool)
    lungs[20:80, 15:50] = lungs[20:80, 70:105] = True
    return Picture(np.clip(pixels, 0, 1), lungs, (rows, columns))


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("corner-top-left", (slice(0, 22), slice(0, 26))),
        ("corner-top-right", (slice(0, 22), slice(94, 120))),
        ("corner-bottom-left", (slice(78, 100), slice(0, 26))),
        ("corner-bottom-right", (slice(78, 100), slice(94, 120))),
    ],
)
def test_a_corner_is_exchanged_but_for_the_lungs(code: str, place: tuple[slice, slice]) -> None:
    one, other = picture(0), picture(1)
    given = BY_CODE[code].given
    assert given is not None
    expected = one.pixels.copy()
    outside = ~one.lungs[place]
    expected[place][outside] = other.pixels[place][outside]
    np.testing.assert_array_equal(given(one, other), expected)


def test_the_border_is_exchanged_and_the_inside_of_a_corner_is_not_the_borders() -> None:
    one, other = picture(0), picture(1)
    inside = np.zeros((100, 120), dtype=bool)
    inside[8:92, 10:110] = True
    given = BY_CODE["border"].given
    assert given is not None
    np.testing.assert_array_equal(given(one, other), np.where(inside, one.pixels, other.pixels))
    framed = {trait.code: trait for trait in traits(framed=True)}["corner-top-left"]
    assert framed.given is not None
    changed = framed.given(one, other) != one.pixels
    assert not changed[~inside].any()
    assert changed[10:20, 12:24].any()


@pytest.mark.parametrize("code", ["border", "corner-top-left", "brightness", "letters"])
def test_lungs_do_not_enter_a_description(code: str) -> None:
    one, other = picture(0), picture(0)
    other.pixels[other.lungs] = 0.9
    np.testing.assert_allclose(
        BY_CODE[code].described(one), BY_CODE[code].described(other), rtol=1e-5, atol=1e-6
    )


def test_a_mark_at_the_side_moves_neither_border_nor_brightness_nor_compression() -> None:
    one, other = picture(0), picture(0)
    other.pixels[2:14, 50:60] = 1.0
    for code in ("border", "brightness"):
        difference = np.abs(BY_CODE[code].described(one) - BY_CODE[code].described(other)).max()
        assert difference < 0.03
    framed = picture(0)
    framed.pixels[:6] = 1.0
    assert np.abs(BY_CODE["border"].described(one) - BY_CODE["border"].described(framed)).max() > 0.3
    assert blockiness(other.pixels) == pytest.approx(blockiness(one.pixels), rel=0.05)


def lettered(seed: int, at: tuple[int, int]) -> Picture:
    made = picture(seed)
    drawn = np.zeros(made.pixels.shape, dtype=np.uint8)
    cv2.putText(drawn, "L", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 2)
    np.maximum(made.pixels, drawn / np.float32(255), out=made.pixels)
    return made


def test_letters_are_found_taken_away_and_put_in() -> None:
    plain, with_letter = picture(0), lettered(1, (54, 60))
    assert not letters(plain).any()
    found = letters(with_letter)
    assert found.any()
    assert not found[:, :50].any()
    assert not found[:, 70:].any()
    given = BY_CODE["letters"].given
    assert given is not None
    without = given(with_letter, plain)
    assert without.max() < 0.7
    put_in = given(plain, with_letter)
    assert (put_in[found] == with_letter.pixels[found]).all()
    far = ~cv2.dilate(found.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    np.testing.assert_array_equal(put_in[far], plain.pixels[far])


def test_letters_within_lungs_and_large_bright_areas_are_none() -> None:
    assert not letters(lettered(0, (25, 60))).any()
    block = picture(0)
    block.pixels[2:20, 50:70] = 1.0
    assert not letters(block).any()


def test_brightness_and_size_become_the_others() -> None:
    one, other = picture(0, level=0.3), picture(1, level=0.6)
    brightness = BY_CODE["brightness"]
    assert brightness.given is not None
    changed = Picture(brightness.given(one, other), one.lungs, one.size)
    np.testing.assert_allclose(brightness.described(changed), brightness.described(other), atol=0.005)
    size = BY_CODE["size"]
    assert size.given is not None
    assert size.given(one, picture(1, 60, 90)).shape == (60, 90)


def test_blocks_of_jpeg_are_seen() -> None:
    smooth = cv2.resize(np.random.default_rng(0).random((12, 12)), (256, 256), interpolation=cv2.INTER_CUBIC)
    image = np.clip(smooth * 255, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])
    pressed = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    before, after = (blockiness(one.astype(np.float32) / 255) for one in (image, pressed))
    assert min(after) > 1.2 * max(before)


def test_controls_lie_within_the_border_between_the_corners() -> None:
    one = Picture(picture(0).pixels, np.zeros((100, 120), dtype=bool), (100, 120))
    other = Picture(picture(1).pixels, one.lungs, one.size)
    corners = [np.s_[:22, :26], np.s_[:22, 94:], np.s_[78:, :26], np.s_[78:, 94:]]
    for shifts in ([(0.0, 0.0), (0.0, 0.9)], [(1.0, 0.9), (1.0, 0.0)]):
        for given in control(shifts):
            changed = given(one, other) != one.pixels
            assert 0.8 * 22 * 26 < changed.sum() <= 23 * 27
            assert changed[8:92, 10:110].sum() >= changed.sum() - 30
            assert max(changed[corner].sum() for corner in corners) <= 30
