from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.io.xray.picture import check_content, check_size, grey_of_colour
from radiographs import chest, ramp
from refusals import figures, refused


@pytest.mark.parametrize(
    ("rows", "columns", "code"),
    [
        (63, 100, "too-small"),
        (100, 63, "too-small"),
        (10_001, 10_000, "too-many-pixels"),
        (64, 193, "too-long"),
        (400, 100, "too-long"),
    ],
)
def test_sizes_that_are_refused(rows: int, columns: int, code: str) -> None:
    with refused(UnsuitableError, code) as caught:
        check_size("a.png", rows, columns)
    assert caught.value.file == "a.png"
    assert figures(caught.value.finding) == (rows, columns)


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (64, 192), (10_000, 10_000)])
def test_sizes_on_the_border_are_accepted(rows: int, columns: int) -> None:
    check_size("a.png", rows, columns)


def test_constant_and_nearly_empty_images_are_refused() -> None:
    constant = np.full((100, 100), 0.5, dtype=np.float32)
    with refused(UnsuitableError, "blank") as caught:
        check_content("a.png", constant)
    assert figures(caught.value.finding) == (98, 0)  # per cent of the pixels, of the grey range
    speck = np.zeros((100, 100), dtype=np.float32)
    speck[:5, :10] = 1  # half a percent of the pixels
    with refused(UnsuitableError, "blank"):
        check_content("a.png", speck)
    check_content("a.png", chest().astype(np.float32) / 255)


def test_equal_channels_are_grey_to_the_last_bit() -> None:
    grey = ramp()
    found, flags = grey_of_colour(Image.fromarray(np.stack([grey] * 3, axis=2)))
    np.testing.assert_array_equal(found, grey)
    assert flags == ()


def test_colour_becomes_luminance_and_is_flagged() -> None:
    red = np.zeros((80, 80, 3), dtype=np.uint8)
    red[..., 0] = 255
    found, flags = grey_of_colour(Image.fromarray(red))
    assert np.all(found == 76)  # 0.299 * 255 = 76.2 (ITU-R BT.601)
    assert [flag.code for flag in flags] == ["colour"]


def test_a_small_coloured_mark_is_no_colour_image() -> None:
    image = np.stack([chest()] * 3, axis=2)
    image[:9, :9] = (255, 0, 0)  # 81 of 16,384 pixels
    assert grey_of_colour(Image.fromarray(image))[1] == ()
