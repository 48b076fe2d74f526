from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chests import SPACING_MM, Chest, chest
from pulmoscope.core.types import Box, Units
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.segment.ct_lungs import LungMask, lung_mask

PREPARE = CtPreprocess(size=64)


@cache
def drawn() -> Chest:
    return chest(noise=0)


@pytest.mark.parametrize(
    ("hu", "grey"),
    [(-3024, 0), (-1024, 0), (-1019, 1), (40, 107), (238, 128), (1500, 255), (3071, 255)],
)  # 255 * (40 + 1024) / 2524 = 107.5 less a bit
def test_hounsfield_units_become_grey_by_hand(hu: float, grey: int) -> None:
    assert PREPARE.to_uint8(np.array([hu], dtype=np.float32), Units.HU) == [grey]


def test_pictures_keep_their_grey() -> None:
    pixels = np.array([0, 0.2, 1], dtype=np.float32)
    assert PREPARE.to_uint8(pixels, Units.GREY).tolist() == [0, 51, 255]


@given(st.lists(st.floats(-4000, 4000, width=32), min_size=2, max_size=20))
def test_denser_is_never_darker(values: list[float]) -> None:
    hu = np.sort(np.array(values, dtype=np.float32))
    grey = PREPARE.brighten(PREPARE.to_uint8(hu, Units.HU), Units.HU).astype(int)
    assert (np.diff(grey) >= 0).all()


def test_brightness_doubles_and_saturates() -> None:
    images = np.array([[0, 1, 107, 127, 128, 255]], dtype=np.uint8)
    assert PREPARE.brighten(images, Units.HU).tolist() == [[0, 2, 214, 254, 255, 255]]
    assert PREPARE.brighten(images, Units.GREY) is images


def test_everything_but_the_body_is_black() -> None:
    plane = drawn().hu[30]
    image = PREPARE.to_uint8(plane, Units.HU)
    body = PREPARE.body(image, Units.HU)
    outside = ~drawn().body[30]
    assert image[drawn().table[30] & outside].min() > 100
    assert (body ^ drawn().body[30]).mean() < 0.01
    assert not body[drawn().table[30] & outside].any()
    assert body[drawn().lungs[30]].all()


def test_a_whole_study_by_hand() -> None:
    images = CtPreprocess(size=128).slices(drawn().hu, Units.HU)
    assert images.shape == drawn().hu.shape
    assert images.dtype == np.uint8
    lung, heart = drawn().left[30], (slice(50, 52), slice(70, 75))
    assert np.median(images[30][lung]) == 2 * 18  # 255 * (1024 - 850) / 2524 = 17.6
    assert (images[30][heart] == 214).all()
    assert not images[:, -4:].any()


def test_slices_are_resized_by_averaging() -> None:
    stripes = np.zeros((1, 128, 128), dtype=np.float32)
    stripes[:, :, ::2] = 1
    images = CtPreprocess(size=64, blur=20).slices(stripes, Units.GREY)
    assert np.unique(images[0, 20:40, 20:40]).tolist() == [128]


def test_a_picture_is_not_brightened_and_its_cut_lung_is_kept() -> None:
    grey = np.full((100, 100), 0.75, dtype=np.float32)
    grey[20:80, :40] = grey[20:80, 55:80] = 0.2  # the right lung goes on beyond the picture
    grey[95:] = 0
    body = PREPARE.body(PREPARE.to_uint8(grey, Units.GREY), Units.GREY)
    assert body[:94].all()
    assert not body[97:].any()
    images = CtPreprocess(size=100).slices(grey[None], Units.GREY)
    assert images[0, 50, 47] == 191
    assert images[0, 50, 10] == 51


@pytest.mark.parametrize("value", [-1000.0, -3024.0])
def test_an_empty_slice_stays_black(value: float) -> None:
    assert not PREPARE.slices(np.full((2, 40, 50), value, dtype=np.float32), Units.HU).any()


def test_the_box_around_the_lungs_by_hand() -> None:
    labels = np.zeros((3, 100, 120), dtype=np.uint8)
    labels[0, 30:50, 40:60], labels[2, 40:70, 70:80] = 1, 2  # rows 30 … 69, columns 40 … 79
    lungs = LungMask(labels, 1.0, 1.0)
    prepare = CtPreprocess(region="lungs", margin=0.1)
    assert prepare.box(labels.shape, lungs) == Box(26, 36, 48, 48)
    assert CtPreprocess(region="lungs", margin=2.0).box(labels.shape, lungs) == Box(0, 10, 100, 100)
    whole = Box(0, 0, 100, 120)
    assert prepare.box(labels.shape, None) == whole
    assert prepare.box(labels.shape, LungMask(np.zeros_like(labels), 0.0, 0.0)) == whole
    assert CtPreprocess().box(labels.shape, lungs) == whole


def test_the_lungs_fill_the_picture_when_they_are_asked_for() -> None:
    lungs = lung_mask(drawn().hu, SPACING_MM)
    aired = [
        (CtPreprocess(region=region).slices(drawn().hu, Units.HU, lungs)[30] == 36).mean()
        for region in ("body", "lungs")
    ]
    assert aired[1] > 1.15 * aired[0]


def test_the_tensor_by_hand() -> None:
    images = np.array([[[0, 255], [51, 128]]], dtype=np.uint8)
    tensor = PREPARE.tensor(images)
    assert tensor.shape == (1, 3, 2, 2)
    assert tensor.dtype == np.float32
    assert tensor[0, :, 1, 0] == pytest.approx(
        [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225], rel=1e-5
    )


def test_saved_as_json_and_read_it_is_the_same_object() -> None:
    prepare = CtPreprocess(region="lungs", brightness=1.5)
    assert CtPreprocess(**json.loads(json.dumps(asdict(prepare)))) == prepare
    assert hash(CtPreprocess(**json.loads(json.dumps(asdict(prepare))))) == hash(prepare)
