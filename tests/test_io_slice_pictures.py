from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ct_series import drawn_hu
from films import film, save
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import FlagLevel
from pulmoscope.io import Entry, entries, read, read_scan, sources, studies
from pulmoscope.io.slice_pictures import is_slice, likeness, slice_flag
from refusals import figures, refused

HU = drawn_hu(16, side=96)
WINDOWS = {"lung": (-600, 1500), "soft": (40, 400), "wide": (-300, 1400)}


def shown(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """HU in a window, as grey in [0, 1]."""
    return np.clip((hu - centre) / width + 0.5, 0, 1).astype(np.float32)


def ct_folder(folder: Path, count: int = 16, window: str = "lung") -> Path:
    """Slices as pictures whose names have no leading zeros, head first."""
    for number, pixels in enumerate(HU[::-1][:count]):
        save(folder / f"slice{number}.png", shown(pixels, *WINDOWS[window]))
    return folder


def film_folder(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder / f"film{number}.png", film(number))
    return folder


@pytest.mark.parametrize("window", list(WINDOWS))
def test_a_slice_is_told_from_a_film_in_every_window(window: str) -> None:
    assert is_slice(shown(HU[8], *WINDOWS[window]))
    assert not is_slice(film(1))
    assert not is_slice(1 - shown(HU[8], *WINDOWS[window]))


def test_a_body_without_lungs_is_no_slice_through_them() -> None:
    whole = np.where(HU[8] > -950, 40, HU[8])  # the lungs, at -850, are filled
    assert not is_slice(shown(whole, *WINDOWS["lung"]))


def test_a_framed_film_is_no_slice() -> None:
    framed = np.zeros((192, 192), dtype=np.float32)
    framed[48:144, 48:144] = np.maximum(film(2), 0.35)
    assert not is_slice(framed)


def test_likeness_is_the_correlation() -> None:
    ramp = np.tile(np.linspace(0, 1, 48, dtype=np.float32), (48, 1))
    assert likeness(ramp, ramp) == pytest.approx(1)
    assert likeness(ramp, 0.2 + ramp / 2) == pytest.approx(1)
    assert likeness(ramp, 1 - ramp) == pytest.approx(-1)
    assert likeness(ramp, ramp.T) == pytest.approx(0, abs=1e-6)
    assert likeness(ramp, np.zeros_like(ramp)) == 0


@pytest.mark.parametrize("window", list(WINDOWS))
def test_every_picture_of_a_folder_of_slices_is_referred_and_told_of_the_option(
    tmp_path: Path, window: str
) -> None:
    results = list(read([ct_folder(tmp_path / "ct", window=window)]))
    assert len(results) == 16
    for result in results:
        assert result.scan is not None
        (flag,) = [flag for flag in result.scan.remarks if flag.code == "ct-slice"]
        assert flag.level is FlagLevel.REFUSE
        assert "--modality ct" in flag.message


def test_said_to_be_radiographs_they_are_believed_to_be(tmp_path: Path) -> None:
    folder = ct_folder(tmp_path / "ct")
    assert [result.scan and result.scan.remarks for result in read([folder], "xray")] == [()] * 16
    (one,) = read([folder], "ct")
    assert one.scan is not None
    assert "ct-slice" not in [flag.code for flag in one.scan.remarks]


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_folder_of_films_is_none_of_slices(tmp_path: Path, count: int) -> None:
    results = list(read([film_folder(tmp_path / "films", count)]))
    assert [result.scan and result.scan.remarks for result in results] == [()] * count


def test_slices_of_different_patients_are_not_alike(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    for number in range(12):
        pixels = shown(drawn_hu(9, side=96, seed=number)[8], *WINDOWS["lung"])
        turned = np.rot90(pixels, number % 2 * 2)  # neighbours lie on their back and on their belly
        shifted = np.roll(turned, 10 * (number % 2), axis=0)
        assert is_slice(shifted)
        save(folder / f"{number:02}.png", shifted)
    assert slice_flag(list(entries([folder]))) is None


def test_pictures_of_several_sizes_are_none_of_slices(tmp_path: Path) -> None:
    folder = tmp_path / "sizes"
    for number, pixels in enumerate(HU):
        side = 96 + number % 2
        save(folder / f"{number:02}.png", cv2.resize(shown(pixels, *WINDOWS["lung"]), (side, side)))
    assert slice_flag(list(entries([folder]))) is None


def test_what_is_larger_than_a_slice_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = list(entries([ct_folder(tmp_path / "ct")]))
    assert slice_flag(listed) is not None
    monkeypatch.setattr("pulmoscope.io.slice_pictures.LARGEST_SIDE", 96)
    assert slice_flag(listed) is not None
    monkeypatch.setattr("pulmoscope.io.slice_pictures.LARGEST_SIDE", 95)
    assert slice_flag(listed) is None


def test_few_pictures_tell_nothing(tmp_path: Path) -> None:
    folder = ct_folder(tmp_path / "ct")
    listed = list(entries([folder]))
    assert slice_flag(listed[4:9]) is not None
    assert slice_flag(listed[4:8]) is None


def test_only_a_few_pictures_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    reading = Entry.read_bytes

    def counted(entry: Entry) -> bytes:
        asked.append(entry.name)
        return reading(entry)

    monkeypatch.setattr(Entry, "read_bytes", counted)
    list(studies(entries([film_folder(tmp_path / "films", 40)])))
    assert len(asked) == 2
    asked.clear()
    list(studies(entries([ct_folder(tmp_path / "ct")])))
    assert 4 <= len(asked) <= 6


def test_damaged_pictures_are_passed_over(tmp_path: Path) -> None:
    folder = ct_folder(tmp_path / "ct")
    whole = (folder / "slice7.png").read_bytes()
    (folder / "slice7.png").write_bytes(whole[: len(whole) // 2])  # the middle one
    assert slice_flag(list(entries([folder]))) is not None
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert slice_flag(list(entries([folder]))) is None


def test_each_folder_is_looked_at_by_itself(tmp_path: Path) -> None:
    ct_folder(tmp_path / "a")
    film_folder(tmp_path / "b", 6)
    marked = {Path(study.name).parent.name: bool(study.remarks) for study in studies(entries([tmp_path]))}
    assert marked == {"a": True, "b": False}


def test_what_a_killed_run_compares_names_it_too(tmp_path: Path) -> None:
    study = next(studies(entries([ct_folder(tmp_path / "ct")])))
    assert [flag.code for flag in sources(study).remarks] == ["ct-slice"]


def test_one_scan_is_asked_for(tmp_path: Path) -> None:
    with refused(UnsuitableError, "several-scans") as caught:
        read_scan(ct_folder(tmp_path / "ct"))
    assert figures(caught.value.finding) == (16,)
    assert len(read_scan(tmp_path / "ct", "ct").pixels) == 16
