from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.types import Flag, FlagLevel, Modality, Quality, Scan, Subject
from pulmoscope.quality.rules import check, check_slice, unlike_normal, unlike_training

SIDE = 256


def lungs_drawn(rows: int = SIDE, columns: int = SIDE) -> np.ndarray:
    """Two ellipses side by side, each a third of the image wide and well off its borders."""
    lungs = np.zeros((rows, columns), dtype=np.float32)
    for centre in (0.3, 0.7):
        axes = (round(0.15 * columns), round(0.3 * rows))
        cv2.ellipse(lungs, (round(centre * columns), round(0.45 * rows)), axes, 0, 0, 360, 1.0, -1)
    return lungs


def film(lungs: np.ndarray) -> np.ndarray:
    """A body from dark shoulders to a bright abdomen, with dark lungs, a bright spine, and structure of every size."""
    rows, columns = lungs.shape
    body = np.linspace(0.45, 0.9, rows, dtype=np.float32)[:, None].repeat(columns, axis=1)
    body[:, round(0.46 * columns) : round(0.54 * columns)] += 0.1
    body[lungs > 0.5] = 0.25
    body[: rows // 8, : columns // 5] = body[: rows // 8, -(columns // 5) :] = 0.05
    noise = np.random.default_rng(3).standard_normal(body.shape, dtype=np.float32)
    grain = max(body.shape) / 256
    structure = sum(0.03 * width * cv2.GaussianBlur(noise, (0, 0), width) for width in (grain, 1.5 * grain))
    return cv2.GaussianBlur(body, (9, 9), 0) + np.asarray(structure, dtype=np.float32)


def codes(pixels: np.ndarray, lungs: np.ndarray | None, *, remarks: tuple[Flag, ...] = ()) -> dict[str, str]:
    scan = Scan(
        "drawn", Modality.XRAY, np.ascontiguousarray(pixels, dtype=np.float32)[None], (), remarks=remarks
    )
    quality = check(scan, lungs)
    for flag in quality.flags[len(remarks) :]:
        assert flag.subject is Subject.IMAGE
        assert "\n" not in flag.message
    return {flag.code: flag.level.value for flag in quality.flags}


@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (300, 360), (512, 420)])
def test_a_good_film_passes(rows: int, columns: int) -> None:
    lungs = lungs_drawn(rows, columns)
    assert codes(film(lungs), lungs) == {}
    assert codes(film(lungs), None) == {}


@pytest.mark.parametrize(
    ("turns", "expected"),
    [(1, {"rotated": "refuse"}), (2, {"rotated": "refuse"}), (3, {"rotated": "refuse"})],
)
def test_a_turned_film_is_refused_with_or_without_a_lung_map(turns: int, expected: dict[str, str]) -> None:
    pixels, lungs = film(lungs_drawn()), lungs_drawn()
    assert codes(np.rot90(pixels, turns), None) == expected
    assert codes(np.rot90(pixels, turns), np.rot90(lungs, turns).copy())["rotated"] == "refuse"


@pytest.mark.parametrize(("degrees", "flagged"), [(10, False), (-10, False), (25, True), (-25, True)])
def test_a_strong_tilt_is_refused(degrees: float, flagged: bool) -> None:
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), degrees, 0.8)
    pixels, lungs = (
        cv2.warpAffine(image, matrix, (256, 256)) for image in (film(lungs_drawn()), lungs_drawn())
    )
    assert codes(pixels, lungs) == ({"rotated": "refuse"} if flagged else {})


def test_the_tilt_is_measured_in_the_film_s_own_geometry() -> None:
    """A map is smaller than its film, and may have been squeezed."""
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), 14, 0.8)
    pixels, lungs = (
        cv2.warpAffine(image, matrix, (256, 256)) for image in (film(lungs_drawn()), lungs_drawn())
    )
    squeezed = cv2.resize(lungs, (64, 128), interpolation=cv2.INTER_AREA)
    assert codes(pixels, squeezed) == {}


def test_a_negative_is_refused() -> None:
    lungs = lungs_drawn()
    assert codes(1 - film(lungs), lungs) == {"looks-inverted": "refuse"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda film: 0.05 + 0.37 * film, "underexposed"),
        (lambda film: np.clip(film * 1.3, 0, 1), "overexposed"),
        (lambda film: 0.5 + 0.1 * film, "low-contrast"),
        (lambda film: cv2.resize(film, (180, 240)), "low-resolution"),
    ],
    ids=["dark", "bright", "flat", "small"],
)
def test_poor_exposure_is_warned_of(change, expected: str) -> None:  # type: ignore[no-untyped-def]
    lungs = lungs_drawn()
    assert codes(change(film(lungs)), lungs) == {expected: "warn"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda film: 0.3 * film, "underexposed"),
        (lambda film: np.clip(film * 2, 0, 1), "overexposed"),
        (lambda film: np.full_like(film, 0.2) + 0.09 * film, "underexposed"),
    ],
    ids=["dark", "bright", "dark and flat"],
)
def test_an_exposure_that_can_not_be_judged_is_refused(change, expected: str) -> None:  # type: ignore[no-untyped-def]
    lungs = lungs_drawn()
    assert codes(change(film(lungs)), lungs)[expected] == "refuse"


@pytest.mark.parametrize(
    "lungs",
    [
        np.zeros((128, 128), dtype=np.float32),
        np.ones((128, 128), dtype=np.float32),
        np.pad(np.ones((90, 30), dtype=np.float32), ((20, 18), (5, 93))),
    ],
    ids=["none", "everywhere", "one narrow part at the border"],
)
def test_without_plausible_lungs_it_is_no_chest(lungs: np.ndarray) -> None:
    assert codes(film(lungs_drawn()), lungs)["not-a-chest"] == "refuse"


def test_lungs_that_run_over_the_lower_border_are_cut_off() -> None:
    lungs = lungs_drawn()[:115]
    tall = cv2.resize(lungs, (256, 256))
    assert codes(film(lungs_drawn()), tall) == {"cropped": "warn"}


@pytest.mark.parametrize(("share", "torn"), [(1.0, True), (0.5, True), (0.15, False)])
def test_a_step_across_the_film_is_torn_data(share: float, torn: bool) -> None:
    pixels = film(lungs_drawn())
    pixels[136:, : round(share * SIDE)] -= 0.1
    assert codes(pixels, lungs_drawn()) == ({"torn": "refuse"} if torn else {})


def test_a_frame_is_no_torn_data() -> None:
    pixels, lungs = film(lungs_drawn()), lungs_drawn()
    pixels[:40] = pixels[-30:] = 0
    lungs[:40] = 0
    assert "torn" not in codes(pixels, lungs)


def test_remarks_of_the_reader_come_first_and_count() -> None:
    lateral = Flag("lateral", FlagLevel.REFUSE, "the view is lateral, by the file's own words")
    assert codes(film(lungs_drawn()), None, remarks=(lateral,)) == {"lateral": "refuse"}


@given(st.floats(0, 100), st.floats(0, 100))
def test_beyond_the_limit_and_only_there_it_is_unlike_training(distance: float, limit: float) -> None:
    flags = unlike_training(distance, limit)
    assert bool(flags) == (distance > limit)
    assert all(flag.code == "out-of-distribution" for flag in flags)
    assert Quality(flags).refusals == Quality(flags).limits == flags


@given(st.floats(0, 100), st.floats(0, 100))
def test_beyond_the_limit_and_only_there_it_is_unlike_normal(distance: float, limit: float) -> None:
    flags = unlike_normal(distance, limit)
    assert [flag.code for flag in flags] == (["unlike-normal"] if distance > limit else [])
    assert Quality(flags).refusals == Quality(flags).limits == flags
    assert all(f"{limit:.2f}" in flag.rule and f"{distance:.2f}" in flag.finding for flag in flags)


def test_an_unmeasured_distance_says_nothing() -> None:
    assert unlike_training(None, 1.0) == unlike_training(5.0, None) == ()
    assert unlike_normal(None, 1.0) == unlike_normal(5.0, None) == ()


@given(st.integers(0, 2**32 - 1), st.integers(64, 90), st.integers(64, 90))
def test_noise_of_any_shape_is_judged_without_an_error(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((rows, columns), dtype=np.float32) ** rng.integers(1, 6)
    found = codes(pixels, rng.random((30, 40), dtype=np.float32))
    assert found["low-resolution"] == "warn"


def test_few_real_films_are_flagged_and_most_turned_ones_are(shared: Path) -> None:
    folder = shared / "data" / "cxr_lungs"
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    right = wrong = 0
    for row in rows:
        pixels = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        lungs = (cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE) > 127).astype(np.float32)
        wrong += codes(pixels, lungs) != {}
        right += "refuse" in codes(np.rot90(pixels), np.rot90(lungs).copy()).values()
    assert wrong <= 0.05 * len(rows)
    assert right >= 0.9 * len(rows)


def test_a_slice_is_refused_for_want_of_lungs_alone() -> None:
    white = Scan("drawn", Modality.CT, np.ones((1, 64, 64), dtype=np.float32), ())
    assert check_slice(white, lungs_found=True).flags == ()
    (flag,) = check_slice(white, lungs_found=False).flags
    assert (flag.code, flag.level) == ("not-a-chest", FlagLevel.REFUSE)
