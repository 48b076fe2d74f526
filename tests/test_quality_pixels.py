from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import FlagLevel
from pulmoscope.quality.pixels import check, sharpness


def structured(rows: int = 256, columns: int = 256, seed: int = 3) -> np.ndarray:
    """Structure of every size: noise whose amplitude falls with frequency as a radiograph's does."""
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    frequency[0, 0] = 1
    noise = np.random.default_rng(seed).standard_normal((rows, columns))
    image = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.5, (rows, columns))
    return np.asarray((image - image.min()) / (image.max() - image.min()), dtype=np.float32)


def codes(pixels: np.ndarray) -> list[str]:
    flags = check(np.asarray(pixels, dtype=np.float32))
    for flag in flags:
        assert flag.level is FlagLevel.REFUSE
        assert "%" in flag.finding
        assert "%" in flag.rule
        assert "\n" not in flag.message
    return [flag.code for flag in flags]


def enlarged(pixels: np.ndarray, side: int, how: int) -> np.ndarray:
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, pixels.shape[::-1], interpolation=how)


@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (200, 256), (640, 512)])
def test_structure_of_every_size_passes(rows: int, columns: int) -> None:
    assert codes(structured(rows, columns)) == []


@pytest.mark.parametrize("percent", [1, 2, 3])
@pytest.mark.parametrize("side", [256, 512])
def test_blur_is_found_whatever_the_number_of_pixels(percent: int, side: int) -> None:
    assert codes(cv2.GaussianBlur(structured(side, side), (0, 0), percent / 100 * side)) == ["blurred"]


def test_noise_does_not_hide_blur_nor_is_it_taken_for_it() -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, (256, 256))
    assert codes(cv2.GaussianBlur(structured(), (0, 0), 5) + noise) == ["blurred"]
    assert codes(structured() + noise) == []


@pytest.mark.parametrize("how", [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC])
def test_an_enlarged_thumbnail_is_found(how: int) -> None:
    assert codes(enlarged(structured(), 32, how)) == ["blurred"]


def test_contrast_does_not_change_what_is_found() -> None:
    sharp, soft = structured(), cv2.GaussianBlur(structured(), (0, 0), 4)
    assert codes(0.3 + 0.1 * sharp) == []
    assert codes(0.3 + 0.1 * soft) == ["blurred"]


def test_the_edge_of_a_dark_frame_is_not_taken_for_blur() -> None:
    framed = np.pad(0.2 + 0.8 * structured(), 40)
    turned = cv2.getRotationMatrix2D((168, 168), 10, 1)
    assert codes(framed) == []
    assert codes(cv2.warpAffine(framed, turned, (336, 336), flags=cv2.INTER_CUBIC)) == []
    assert codes(cv2.GaussianBlur(framed, (0, 0), 6)) == ["blurred"]


def test_a_letter_does_not_make_a_blurred_picture_sharp() -> None:
    soft = cv2.GaussianBlur(structured(), (0, 0), 5)
    soft[10:30, 10:16] = soft[24:30, 10:24] = 1
    assert codes(soft) == ["blurred"]


@pytest.mark.parametrize("pixels", [np.full((256, 256), 0.4), np.eye(64), np.zeros((30, 300))])
def test_of_a_flat_or_a_small_picture_nothing_can_be_told(pixels: np.ndarray) -> None:
    assert sharpness(pixels.astype(np.float32)) is None
    assert codes(pixels) == []


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("deviation", [0.1, 0.3])
@pytest.mark.parametrize("side", [256, 1400])
def test_a_band_of_noise_is_found(axis: int, deviation: float, side: int) -> None:
    pixels = structured(side, side)
    lying = pixels if axis == 0 else pixels.T
    noise = np.random.default_rng(2).normal(0.5, deviation, (side // 10, side))
    lying[side // 3 : side // 3 + side // 10] = np.clip(noise, 0, 1)
    assert "noise-band" in codes(pixels)


def test_single_rows_of_noise_are_found_as_well() -> None:
    random = np.random.default_rng(4)
    pixels = structured()
    pixels[random.choice(256, 26, replace=False)] = random.random((26, 256))
    assert "noise-band" in codes(pixels)


def test_an_evenly_noisy_picture_and_lines_of_text_have_no_band() -> None:
    pixels = structured()
    assert "noise-band" not in codes(pixels + np.random.default_rng(5).normal(0, 0.1, pixels.shape))
    letters = np.zeros((256, 256), np.uint8)
    cv2.putText(letters, "PORTATIL 12", (4, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    pixels[letters > 127] = 1
    assert codes(pixels) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.integers(3, 120))
def test_any_noise_is_judged_without_an_error(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    assert set(codes(random.random((max(3, rows), columns)) ** 3)) <= {"blurred", "noise-band"}


def test_real_radiographs_pass_and_blurred_ones_do_not(shared: Path) -> None:
    folder = shared / "data" / "cxr_lungs"
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    films = [cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE) / 255 for row in rows]
    assert sum(codes(film) != [] for film in films) <= 1
    assert sum("blurred" in codes(cv2.GaussianBlur(film, (0, 0), 5)) for film in films) >= len(films) - 1
