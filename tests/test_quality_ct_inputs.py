"""Wrong CT inputs are noticed, by code and with what was found; correct ones are not flagged. On simulated studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmoscope.core.types import Flag, FloatArray, Modality, Point, Scan, Units
from pulmoscope.inference.measure import LIMITS
from pulmoscope.io import read_scan
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.quality.ct.grid import coarse
from pulmoscope.quality.ct.rules import check
from pulmoscope.quality.ct.scale import scale_of
from pulmoscope.segment.ct_lungs import lung_mask
from refusals import figures

CHECKS = {
    "hu-shift",
    "hu-scale",
    "noise",
    "noise-slices",
    "blurred",
    "repeated-slices",
    "slice-order",
    "impossible-size",
    "orientation-turned",
    "orientation-front-back",
    "orientation-head-feet",
    "orientation-mirrored",
}
Change = Callable[[FloatArray], FloatArray]


@cache
def study(
    label: str = "COVID", kernel: str = "standard", scanner: str = "Birch 64"
) -> tuple[FloatArray, Point]:
    nuisances = {"kernel": kernel, "dose": 1.0, "scanner": scanner, "fov_mm": 400.0, "thickness_mm": 5.0}
    drawn = draw(label, (4, 2), size=160, slices=48, nuisances=nuisances)
    pixels = drawn.hu.astype(np.float32)
    pixels.flags.writeable = False
    return pixels, drawn.spacing_mm


def flags_of(pixels: FloatArray, spacing_mm: Point) -> dict[str, Flag]:
    """The flags of these checks, with lungs as they are found."""
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    scan = Scan("ct", Modality.CT, pixels, (), spacing_mm, Units.HU)
    found = check(scan, lung_mask(pixels, spacing_mm).labels).flags
    return {flag.code: flag for flag in found if flag.code in CHECKS}


def flagged(change: Change) -> dict[str, Flag]:
    pixels, spacing_mm = study()
    return flags_of(change(pixels), spacing_mm)


def noisy(hu_sd: float) -> Change:
    return lambda hu: hu + np.random.default_rng(0).normal(0, hu_sd, hu.shape).astype(np.float32)


def blurred(sigma: float) -> Change:
    return lambda hu: np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in hu])


def padded(hu: FloatArray) -> FloatArray:
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]] - (hu.shape[1] - 1) / 2
    return np.where(rows**2 + columns**2 > (hu.shape[1] / 2) ** 2, np.float32(-3024), hu)


def with_contrast(hu: FloatArray) -> FloatArray:
    """Heart, vessels and liver 120 HU denser, muscle 12."""
    body = coarse(hu, study()[1]).body
    deep = [cv2.erode(plane.astype(np.uint8), np.ones((31, 31), np.uint8)) for plane in body]
    inner = np.stack([cv2.resize(plane, hu.shape[:0:-1], interpolation=cv2.INTER_NEAREST) for plane in deep])
    blood = (hu > 0) & (hu < 120)
    return hu + np.where(blood, np.where(inner > 0, 120, 12), 0).astype(np.float32)


@pytest.mark.parametrize("label", ["Normal", "CAP", "CT-3", "CT-4"])
@pytest.mark.parametrize(("kernel", "scanner"), [("soft", "Alder 16"), ("lung", "Dogwood 40")])
def test_a_correct_study_is_not_flagged(label: str, kernel: str, scanner: str) -> None:
    assert flags_of(*study(label, kernel, scanner)) == {}


@pytest.mark.parametrize(
    "change",
    [
        noisy(50),
        padded,
        with_contrast,
        lambda hu: np.maximum(hu, -1000),
        lambda hu: hu[:, 16:-16, 16:-16],
        lambda hu: hu[20:],
        lambda hu: hu[:28],
    ],
    ids=["noise", "padding", "contrast", "cut off", "narrow", "upper part", "lower part"],
)
def test_what_is_no_mistake_is_not_flagged(change: Change) -> None:
    assert flagged(change) == {}


@given(st.floats(36.5, 250) | st.floats(-190, -50))
@settings(max_examples=12, deadline=None)
def test_a_shift_is_told_to_15_hu(shift: float) -> None:
    pixels, spacing_mm = study()
    scale = scale_of(coarse(pixels + np.float32(shift), spacing_mm))
    assert scale is not None
    assert scale.mean == pytest.approx(shift, abs=15)
    assert scale.stretch == pytest.approx(1, abs=0.03)


@given(st.floats(0.75, 1.3))
@settings(max_examples=12, deadline=None)
def test_a_stretch_is_told_to_3_percent(stretch: float) -> None:
    pixels, spacing_mm = study()
    scale = scale_of(coarse(pixels * np.float32(stretch), spacing_mm))
    assert scale is not None
    assert scale.stretch == pytest.approx(stretch, abs=0.03)
    assert scale.shift == pytest.approx(0, abs=15)


@pytest.mark.parametrize(("shift", "level"), [(-200, "refuse"), (-60, "warn"), (55, "warn"), (200, "refuse")])
def test_a_small_shift_warns_and_a_large_one_refers(shift: int, level: str) -> None:
    found = flagged(lambda hu: hu + shift)
    assert found["hu-shift"].level.value == level
    assert figures(found["hu-shift"].finding.replace("+", ""))[0] == pytest.approx(shift, abs=15)


def test_a_stretch_refers() -> None:
    flag = flagged(lambda hu: hu * np.float32(1.2))["hu-scale"]
    assert flag.level.value == "refuse"
    assert figures(flag.finding)[0] == pytest.approx(120, abs=3)


def test_a_shift_is_told_where_the_body_fills_the_image() -> None:
    flag = flagged(lambda hu: hu[:, 36:-36, 30:-30] + 150)["hu-shift"]
    assert figures(flag.finding)[0] == pytest.approx(150, abs=20)
    assert "air" not in flag.finding


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda hu: hu[::-1], {"orientation-head-feet"}),
        (lambda hu: hu[:, ::-1], {"orientation-front-back"}),
        (lambda hu: hu[:, :, ::-1], {"orientation-mirrored"}),
        (lambda hu: hu[:, ::-1, ::-1], {"orientation-turned"}),
        (lambda hu: np.rot90(hu, 1, (1, 2)), {"orientation-turned"}),
        (lambda hu: np.rot90(hu, 3, (1, 2)), {"orientation-turned"}),
        (lambda hu: hu[::-1, :, ::-1], {"orientation-head-feet", "orientation-mirrored"}),
        (lambda hu: hu[::-1, ::-1], {"orientation-head-feet", "orientation-front-back"}),
    ],
)
def test_a_body_that_lies_otherwise(change: Change, codes: set[str]) -> None:
    found = flagged(change)
    assert set(found) == codes
    assert {code: flag.level.value for code, flag in found.items()} == {
        code: "warn" if code == "orientation-mirrored" else "refuse" for code in codes
    }


@pytest.mark.parametrize(("angle", "side"), [(1, "left"), (3, "right")])
def test_the_side_of_the_spine_is_told(angle: int, side: str) -> None:
    # np.rot90 by one turn takes the last row, the back, to the last column, the patient's left.
    flag = flagged(lambda hu: np.rot90(hu, angle, (1, 2)))["orientation-turned"]
    assert flag.finding.endswith(side)
    assert figures(flag.finding) == (90,)


def test_noise_and_blur() -> None:
    found = flagged(noisy(200))
    assert set(found) == {"noise"}
    assert figures(found["noise"].finding)[0] == pytest.approx(200, abs=30)
    found = flagged(blurred(3))
    assert set(found) == {"blurred"}
    # The steepest slope of a step of 900 HU that is blurred by s is 900 / (s sqrt(2 pi)): 7.5 pixels of 2.5 mm.
    assert figures(found["blurred"].finding)[0] == pytest.approx(18.8, rel=0.15)


@pytest.mark.parametrize(("count", "level"), [(1, "warn"), (5, "refuse")])
def test_slices_of_noise_are_counted(count: int, level: str) -> None:
    def change(hu: FloatArray) -> FloatArray:
        out = hu.copy()
        out[20 : 20 + count] = np.random.default_rng(0).normal(-400, 400, (count, *hu.shape[1:]))
        return out

    flag = flagged(change)["noise-slices"]
    assert (flag.level.value, figures(flag.finding)) == (level, (count, 48))


@pytest.mark.parametrize(
    ("order", "count", "level"),
    [
        ([*range(20), 20, 20, 20, *range(23, 48)], 2, "warn"),
        ([*range(5), *[24] * 38, *range(43, 48)], 37, "refuse"),
        ([index // 2 for index in range(48)], 24, "refuse"),
        ([*range(24), *range(24)], 24, "refuse"),
    ],
)
def test_repeated_slices_are_counted(order: list[int], count: int, level: str) -> None:
    flag = flagged(lambda hu: hu[order])["repeated-slices"]
    assert (flag.level.value, figures(flag.finding)) == (level, (count, 48))


def test_a_repeated_slice_is_known_under_noise() -> None:
    rng = np.random.default_rng(0)

    def change(hu: FloatArray) -> FloatArray:
        out = hu.copy()
        out[15:30] = hu[22] + rng.normal(0, 5, (15, *hu.shape[1:]))
        return out

    assert figures(flagged(change)["repeated-slices"].finding) == (14, 48)


@pytest.mark.parametrize(
    ("order", "least", "most", "level"),
    [
        ([*range(20), 21, 20, *range(22, 48)], 2, 3, "warn"),
        ([*range(10), *range(20, 30), *range(10, 20), *range(30, 48)], 10, 10, "refuse"),
        ([*range(10), *reversed(range(10, 25)), *range(25, 48)], 15, 15, "refuse"),
        ([*range(0, 48, 2), *range(1, 48, 2)], 40, 48, "refuse"),
        (list(np.random.default_rng(1).permutation(48)), 30, 48, "refuse"),
    ],
)
def test_slices_out_of_order_are_counted(order: list[int], least: int, most: int, level: str) -> None:
    flag = flagged(lambda hu: hu[order])["slice-order"]
    count, of = figures(flag.finding)
    assert least <= count <= most
    assert (of, flag.level.value) == (48, level)


@pytest.mark.parametrize(
    ("slices", "pixels", "told"),
    [
        (1, 0.3, "mm wide"),
        (1, 2.3, "mm wide"),
        (0.3, 1, "mm high"),
        (2.5, 1, "mm high"),
        (1.7, 1.7, "litres"),
    ],
)
def test_an_impossible_size_is_told(slices: float, pixels: float, told: str) -> None:
    hu, (slice_mm, row_mm, column_mm) = study()
    flag = flags_of(hu, (slice_mm * slices, row_mm * pixels, column_mm * pixels))["impossible-size"]
    assert flag.level.value == "refuse"
    assert told in flag.finding


def test_what_holds_no_body_is_left_to_other_checks() -> None:
    assert flags_of(np.full((20, 64, 64), -1000, np.float32), (5, 5, 5)) == {}
    assert flags_of(np.zeros((12, 40, 40), np.float32), (5, 5, 5)) == {}


def test_each_flag_limits_the_measure() -> None:
    assert set(LIMITS) >= CHECKS


@pytest.mark.parametrize("series", ["COVID/P001", "CAP/cap001", "Normal/normal001"])
def test_a_real_series_is_not_flagged(series: str, shared: Path) -> None:
    scan = read_scan(shared / "data/ct_series" / series)
    assert scan.spacing_mm is not None
    lungs = lung_mask(scan.pixels, scan.spacing_mm).labels
    assert {flag.code for flag in check(scan, lungs).flags} & CHECKS == set()
    mirrored = replace(scan, pixels=np.ascontiguousarray(scan.pixels[:, :, ::-1]))
    found = {flag.code for flag in check(mirrored, np.ascontiguousarray(lungs[:, :, ::-1])).flags} & CHECKS
    assert found == {"orientation-mirrored"}
