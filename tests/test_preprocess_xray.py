from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import Box
from pulmoscope.preprocess.framing import centre_square, crop, only_within, resample
from pulmoscope.preprocess.xray import HULL_ROOM, XrayPreprocess

SIDES = st.integers(1, 90)


def ramp(rows: int, columns: int) -> np.ndarray:
    return np.arange(rows * columns, dtype=np.float32).reshape(rows, columns) / (rows * columns)


@pytest.mark.parametrize(
    ("rows", "columns", "edge", "expected"),
    [
        (100, 100, 0.0, Box(0, 0, 100, 100)),
        (100, 160, 0.0, Box(0, 30, 100, 100)),
        (160, 100, 0.1, Box(40, 10, 80, 80)),
        (3, 3, 0.49, Box(1, 1, 1, 1)),
    ],
)
def test_centre_square_by_hand(rows: int, columns: int, edge: float, expected: Box) -> None:
    assert centre_square(rows, columns, edge) == expected


def test_what_a_crop_takes_from_outside_is_black() -> None:
    pixels = np.array([[1, 2], [3, 4]], dtype=np.float32)
    found = crop(pixels, Box(-1, 1, 4, 2))
    assert found.tolist() == [[0, 0], [2, 0], [4, 0], [0, 0]]


@given(SIDES, SIDES, st.integers(-60, 120), st.integers(-60, 120), st.integers(1, 100), st.integers(1, 100))
def test_a_crop_is_a_window_on_the_image_in_endless_black(
    rows: int, columns: int, top: int, left: int, height: int, width: int
) -> None:
    pixels = ramp(rows, columns) + 1
    endless = np.pad(pixels, 250)[250 + top :, 250 + left :][:height, :width]
    np.testing.assert_array_equal(crop(pixels, Box(top, left, height, width)), endless)


def test_shrinking_averages_areas() -> None:
    pixels = np.zeros((4, 4), dtype=np.float32)
    pixels[::2, ::2] = 1
    np.testing.assert_allclose(resample(pixels, 2), np.full((2, 2), 0.25))


@given(st.integers(8, 80), st.integers(8, 80), st.floats(0, 1, width=32), st.integers(4, 64))
def test_a_constant_image_stays_so_at_every_size(rows: int, columns: int, value: float, size: int) -> None:
    found = resample(np.full((rows, columns), value, dtype=np.float32), size)
    assert found.shape == (size, size)
    np.testing.assert_allclose(found, value, atol=1e-5)


@pytest.mark.parametrize("region", ["full", "square", "lungs"])
def test_the_frame_is_its_box_resampled(region: str) -> None:
    pixels = ramp(120, 200)
    framed = XrayPreprocess(size=32, region=region, edge=0.1).frame(pixels)  # type: ignore[arg-type]
    np.testing.assert_array_equal(framed.image, resample(crop(pixels, framed.box), 32))
    assert framed.box == (Box(0, 0, 120, 200) if region == "full" else Box(12, 52, 96, 96))
    assert framed.lungs_found == (region != "lungs")


def test_the_tensor_is_normalised_and_repeated() -> None:
    image = np.array([[0.0, 0.5], [0.75, 1.0]], dtype=np.float32)
    tensor = XrayPreprocess(size=2, mean=0.5, std=0.25, channels=3).tensor(image)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    for channel in tensor:
        assert channel.tolist() == [[-2, 0], [1, 2]]
    assert XrayPreprocess(size=2, channels=1).tensor(image).shape == (1, 2, 2)


@given(st.integers(0, 2**32 - 1))
def test_clahe_stays_in_range_and_spreads_a_flat_image(seed: int) -> None:
    flat = 0.5 + 0.05 * np.random.default_rng(seed).random((64, 64), dtype=np.float32)
    toned = XrayPreprocess(size=64, contrast="clahe").tone(flat)
    assert toned.dtype == np.float32
    assert toned.min() >= 0
    assert toned.max() <= 1
    assert toned.std() > flat.std()


def test_without_contrast_the_image_is_left_alone() -> None:
    image = ramp(8, 8)
    assert XrayPreprocess(size=8).tone(image) is image


@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from(["full", "square", "lungs"]))
def test_one_call_is_all_steps(rows: int, columns: int, region: str) -> None:
    preprocess = XrayPreprocess(size=24, region=region, contrast="clahe")  # type: ignore[arg-type]
    pixels = ramp(rows, columns)
    tensor, framed = preprocess(pixels)
    np.testing.assert_array_equal(tensor, preprocess.tensor(preprocess.tone(preprocess.frame(pixels).image)))
    assert tensor.shape == (3, 24, 24)
    assert framed.image.shape == (24, 24)


def test_what_lies_outside_the_hull_can_say_nothing() -> None:
    triangle = np.array([[0.5, 0.1], [0.9, 0.9], [0.1, 0.9]], dtype=np.float32)
    image = np.random.default_rng(1).random((100, 100), dtype=np.float32)
    image[70, 50] = 7
    shown = only_within(image, [triangle], HULL_ROOM)
    assert shown[70, 50] == pytest.approx(7)
    far = np.zeros((100, 100), dtype=bool)
    far[:50, :15] = far[:50, 85:] = True
    assert np.ptp(shown[far]) == 0
    assert shown[0, 0] == pytest.approx(0.5, abs=0.02)  # the mean inside
    other = np.where(far, 1 - image, image)
    np.testing.assert_array_equal(only_within(np.asarray(other), [triangle], HULL_ROOM), shown)


def test_hidden_is_only_what_lies_beyond_the_lungs() -> None:
    lungs = np.zeros((50, 50), dtype=np.float32)
    lungs[10:40, 8:20] = lungs[10:40, 30:42] = 1
    pixels = ramp(200, 200)
    box = XrayPreprocess(size=64, region="lungs").frame(pixels, lungs)
    hull = XrayPreprocess(size=64, region="lungs", hull=True).frame(pixels, lungs)
    assert box.box == hull.box
    np.testing.assert_allclose(hull.image[8:56, 8:56], box.image[8:56, 8:56], atol=1e-6)
    assert abs(hull.image[0, 0] - box.image[0, 0]) > 0.1
    unfound = XrayPreprocess(size=64, region="lungs", hull=True).frame(pixels, np.zeros_like(lungs))
    assert not unfound.lungs_found
    np.testing.assert_array_equal(unfound.image, resample(crop(pixels, unfound.box), 64))


def test_the_hull_is_shown_with_room_on_every_side_alike() -> None:
    hull = np.array([[0.301, 0.101], [0.699, 0.101], [0.699, 0.599], [0.301, 0.599]], dtype=np.float32)
    stripes = np.zeros((200, 200), dtype=np.float32)
    stripes[::2] = 1
    kept = np.isclose(only_within(stripes, [hull], HULL_ROOM), stripes, atol=1e-3)
    across, down = np.flatnonzero(kept[70]), np.flatnonzero(kept[:, 100])
    assert across[0] + across[-1] == 199  # as far from the middle of 0.301 … 0.699 on both sides
    assert down[0] + down[-1] == 139  # and of 0.101 … 0.599
    assert 60 - across[0] == pytest.approx(200 * HULL_ROOM, abs=4)


def test_the_edge_of_the_hull_is_soft() -> None:
    hull = np.array([[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]], dtype=np.float32)
    image = np.zeros((200, 200), dtype=np.float32)
    image[80:120, 80:120] = 1
    row = only_within(image, [hull], HULL_ROOM)[70]
    steps = np.abs(np.diff(row))
    assert np.count_nonzero(steps > 1e-4) >= 6  # not from all to nothing within one pixel


def test_the_hull_of_a_tall_film_lies_where_its_lungs_are() -> None:
    lungs = np.zeros((80, 60), dtype=np.float32)
    lungs[30:75, 4:20] = lungs[30:75, 26:42] = 1
    pixels = np.random.default_rng(0).random((160, 120), dtype=np.float32)
    box = XrayPreprocess(size=128, region="lungs", margin=0.3)
    shown, hull = box.frame(pixels, lungs), replace(box, hull=True).frame(pixels, lungs)
    kept = np.abs(shown.image - hull.image) < 1e-3
    rows, columns = (np.flatnonzero(kept.mean(axis=axis) > 0.5) for axis in (1, 0))
    left, right = ((8 - shown.box.left) / shown.box.width, (84 - shown.box.left) / shown.box.width)
    top, bottom = ((60 - shown.box.top) / shown.box.height, (150 - shown.box.top) / shown.box.height)
    expected = np.array([left, right, top, bottom]) * 128
    np.testing.assert_allclose([columns[0], columns[-1], rows[0], rows[-1]], expected, atol=6)
