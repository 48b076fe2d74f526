from __future__ import annotations

import cv2
import numpy as np
import pytest

from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.ct_slice import (
    LUNG_GREY,
    TISSUE_GREY,
    SlicePreprocess,
    grey_levels,
    harmonised,
    opened,
)
from pulmoscope.segment.slice_lungs import lung_hulls, slice_lungs
from slices import COLUMNS, LEFT, LUNG, LUNG_AXES, RIGHT, ROWS, TISSUE, slice_hu, windowed

LUNG_WINDOW = (-600.0, 1500.0)
WHITE = (-850.0, 700.0)
"""A window in which soft tissue is as white as can be."""
SOFT = (40.0, 400.0)
"""A window in which lung is as black as the air outside."""


@pytest.mark.parametrize("window", [LUNG_WINDOW, WHITE, SOFT])
def test_lungs_are_found_in_every_window(window: tuple[float, float]) -> None:
    hu = slice_hu()
    found = slice_lungs(windowed(hu, *window))
    assert found is not None
    true = hu == LUNG
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.95


def test_lungs_cut_off_by_a_crop_are_found() -> None:
    hu = slice_hu()[30:120, 34:166]  # no air around the body any more, and little of the chest wall
    found = slice_lungs(windowed(hu, *LUNG_WINDOW))
    assert found is not None
    assert 2 * (found & (hu == LUNG)).sum() / (found.sum() + (hu == LUNG).sum()) > 0.95


def test_neither_the_table_nor_the_gap_above_it_is_a_lung() -> None:
    hu = slice_hu()
    with_table = np.full((ROWS + 40, COLUMNS), -1000, dtype=np.float32)
    with_table[:ROWS] = hu
    cv2.rectangle(with_table, (0, ROWS - 8), (COLUMNS, ROWS + 20), -200, thickness=2)
    found = slice_lungs(windowed(with_table, *LUNG_WINDOW))
    assert found is not None
    assert not found[ROWS - 9 :].any()
    assert found[:ROWS].sum() == pytest.approx((hu == LUNG).sum(), rel=0.05)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((60, 80)), np.full((60, 80), 0.7), np.tile(np.linspace(0, 1, 80), (60, 1)), np.ones((3, 3))],
    ids=["black", "grey", "ramp", "tiny"],
)
def test_where_there_are_no_lungs_the_centre_is_taken(pixels: np.ndarray) -> None:
    pixels = pixels.astype(np.float32)
    assert slice_lungs(pixels) is None
    framed = SlicePreprocess(size=32).frame(pixels)
    assert not framed.lungs_found
    assert framed.box.height == framed.box.width == min(pixels.shape)
    assert framed.image.shape == (32, 32)
    assert np.isfinite(framed.image).all()


def test_the_box_lies_around_both_lungs() -> None:
    framed = SlicePreprocess(size=64, margin=0).frame(windowed(slice_hu(), *LUNG_WINDOW))
    box = framed.box
    assert framed.lungs_found
    assert box.left == pytest.approx(LEFT[0] - LUNG_AXES[0], abs=2)
    assert box.left + box.width == pytest.approx(RIGHT[0] + LUNG_AXES[0] + 1, abs=2)
    assert box.top == pytest.approx(LEFT[1] - LUNG_AXES[1], abs=2)
    assert box.top + box.height == pytest.approx(LEFT[1] + LUNG_AXES[1] + 1, abs=2)


def test_a_square_box_keeps_the_shape() -> None:
    box = SlicePreprocess(size=64, margin=0, shape="keep").frame(windowed(slice_hu(), *LUNG_WINDOW)).box
    assert box.height == box.width == pytest.approx(RIGHT[0] - LEFT[0] + 2 * LUNG_AXES[0] + 1, abs=3)
    assert box.top + box.height / 2 == pytest.approx(LEFT[1], abs=2)


def test_a_letter_and_a_border_change_nothing() -> None:
    plain = windowed(slice_hu(lesion=True), *LUNG_WINDOW)
    letters = np.zeros(plain.shape, dtype=np.uint8)
    cv2.putText(letters, "R", (4, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    bordered = np.pad(np.maximum(plain, letters / np.float32(255)), 7, constant_values=1.0)
    preprocess = SlicePreprocess(size=64)
    there = preprocess.frame(bordered)
    assert (there.box.top - 7, there.box.left - 7) == (
        preprocess.frame(plain).box.top,
        preprocess.frame(plain).box.left,
    )
    np.testing.assert_allclose(there.image, preprocess.frame(plain).image, atol=0.02)


def test_one_slice_in_two_windows_looks_alike() -> None:
    hu = slice_hu(lesion=True)
    preprocess = SlicePreprocess(size=64)
    lung, narrow = (preprocess.frame(windowed(hu, *window)).image for window in (LUNG_WINDOW, (-500, 1200)))
    assert np.abs(lung - narrow).mean() < 0.01
    raw = [SlicePreprocess(size=64, window=False).frame(windowed(hu, *w)).image for w in (LUNG_WINDOW, WHITE)]
    mapped = [preprocess.frame(windowed(hu, *window)).image for window in (LUNG_WINDOW, WHITE)]
    assert np.abs(mapped[0] - mapped[1]).mean() < 0.5 * np.abs(raw[0] - raw[1]).mean()


def test_lung_and_tissue_get_their_greys() -> None:
    pixels = windowed(slice_hu(), *LUNG_WINDOW)
    lung, tissue = grey_levels(pixels, slice_hu() == LUNG)
    assert lung == pytest.approx((LUNG + 1350) / 1500, abs=0.01)
    assert tissue == pytest.approx((TISSUE + 1350) / 1500, abs=0.01)
    ends = np.array([[lung, tissue, 0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(harmonised(ends, lung, tissue)[0, :2], (LUNG_GREY, TISSUE_GREY), atol=1e-6)
    assert harmonised(ends, 0.5, 0.55) is ends


def test_greys_are_those_of_a_small_picture_however_large_it_came() -> None:
    picture = windowed(slice_hu(lesion=True), -600, 1500)
    noisy = picture + np.random.default_rng(3).normal(0, 0.05, picture.shape).astype(np.float32)
    large = np.repeat(np.repeat(noisy, 4, axis=0), 4, axis=1)  # 800 px wide; levels are measured on 256
    lungs = slice_lungs(noisy)
    assert lungs is not None
    of_large = grey_levels(large, np.repeat(np.repeat(lungs, 4, axis=0), 4, axis=1))
    assert of_large == pytest.approx(grey_levels(noisy, lungs), abs=0.01)


def test_what_lies_outside_the_lungs_is_hidden() -> None:
    preprocess = SlicePreprocess(size=64, margin=0.1, hidden=0.4)
    image = preprocess.frame(windowed(slice_hu(lesion=True), *LUNG_WINDOW)).image
    assert image[0, 0] == image[0, -1] == image[32, 32] == np.float32(0.4)
    assert image[32, 16] == pytest.approx(LUNG_GREY, abs=0.02)
    assert SlicePreprocess(size=64, hull=False).frame(windowed(slice_hu(), *LUNG_WINDOW)).image[
        32, 32
    ] == pytest.approx(TISSUE_GREY, abs=0.02)


def test_a_given_mask_takes_the_place_of_the_search() -> None:
    hu = slice_hu(lesion=True)
    pixels = windowed(hu, *LUNG_WINDOW)
    one = np.zeros(hu.shape, dtype=bool)
    one[:, : COLUMNS // 2] = (hu == LUNG)[:, : COLUMNS // 2]
    preprocess = SlicePreprocess(size=64, margin=0)
    framed = preprocess.frame(pixels, one)
    assert framed.box.left + framed.box.width == pytest.approx(LEFT[0] + LUNG_AXES[0] + 1, abs=1)
    coarse = cv2.resize(one.astype(np.float32), (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA)
    assert preprocess.frame(pixels, coarse).box.width == pytest.approx(framed.box.width, abs=3)
    assert not preprocess.frame(pixels, np.zeros(hu.shape, dtype=bool)).lungs_found


def test_lungs_that_touch_are_parted() -> None:
    both = slice_hu() == LUNG
    bridged = both.copy()
    bridged[70:73, LEFT[0] : RIGHT[0]] = True
    parted = lung_hulls(bridged)
    assert len(parted) == len(lung_hulls(both)) == 2
    widths = [np.ptp(hull[:, 0]) for hull in parted]
    assert max(widths) < 1.6 * (2 * LUNG_AXES[0])
    assert len(lung_hulls(both[:, : COLUMNS // 2])) == 1
    assert lung_hulls(np.zeros((5, 5), dtype=bool)) == []


def test_a_volumes_slice_is_rendered_in_the_lung_window() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 3000]], dtype=np.float32)
    picture = SlicePreprocess().render(hu)
    np.testing.assert_allclose(picture, [[0, 0, 0.5, 1, 1]])
    assert picture.dtype == np.float32


def test_the_tensor_is_the_toned_image_normalised() -> None:
    pixels = windowed(slice_hu(), *LUNG_WINDOW)
    preprocess = SlicePreprocess(size=48, mean=0.4, std=0.2)
    tensor, framed = preprocess(pixels)
    assert tensor.shape == (3, 48, 48)
    expected: FloatArray = (preprocess.tone(framed.image) - 0.4) / 0.2
    np.testing.assert_allclose(tensor, np.stack([expected] * 3), rtol=1e-5, atol=1e-5)


def test_the_other_channels_are_without_vessels_and_keep_what_is_large() -> None:
    image = np.full((112, 112), 0.2, dtype=np.float32)
    image[20:22, 10:100] = 0.8  # a vessel of two pixels
    image[60:90, 40:70] = 0.5  # an opacity
    tensor = SlicePreprocess(size=112, mean=0.0, std=1.0, others="opened").tensor(image)
    np.testing.assert_array_equal(tensor[0], image)
    for channel in tensor[1:]:
        assert channel[20:22].max() == np.float32(0.2)
        assert channel[75, 55] == np.float32(0.5)
    thick = image.copy()
    thick[20:24] = 0.8  # four pixels: a disc of three fits in, one of seven does not
    assert opened(thick, 0.027)[21:23].max() == np.float32(0.8)
    assert opened(thick, 0.062)[20:24].max() == np.float32(0.2)
