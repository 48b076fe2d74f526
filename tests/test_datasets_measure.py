from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from films import film, save
from pulmoscope.core.errors import InputError
from pulmoscope.datasets import Sample, SampleTable
from pulmoscope.datasets.check.measure import file_format, measure, measure_all


def test_hand_derived_figures(tmp_path: Path) -> None:
    pixels = np.zeros((80, 100), dtype=np.float32)
    pixels[:, 50:] = 1  # half black, half white: mean 1/2, mean of squares 1/2, s.d. 1/2
    path = save(tmp_path / "half.png", pixels)
    found = measure(path)
    assert (found.rows, found.columns, found.format) == (80, 100, "PNG")
    assert (found.mean, found.square, found.sd) == (0.5, 0.5, 0.5)
    assert found.dark_border == 0.5
    assert found.histogram[[0, 31]].tolist() == [0.5, 0.5]
    assert found.histogram.sum() == 1
    assert found.bytes_per_pixel == path.stat().st_size / 8000
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_border_is_a_twentieth_of_the_sides(tmp_path: Path) -> None:
    pixels = np.full((100, 100), 0.8, dtype=np.float32)
    pixels[:5] = 0  # of the frame, 10000 - 90 * 90 = 1900 pixels, the upper 500 are dark
    pixels[40:60, 40:60] = 0  # dark, but not at the border
    assert measure(save(tmp_path / "a.png", pixels)).dark_border == pytest.approx(500 / 1900)


@pytest.mark.parametrize(("name", "expected"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.tif", "TIFF")])
def test_the_format_comes_from_the_content(tmp_path: Path, name: str, expected: str) -> None:
    path = save(tmp_path / name, film(1))
    assert file_format(path.rename(tmp_path / "renamed.xyz")) == expected


def test_dicom_and_anything_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "b").write_bytes(b"")
    assert (file_format(tmp_path / "a"), file_format(tmp_path / "b")) == ("DICOM", "other")


def test_bad_files_give_errors_in_their_place_and_progress_goes_on(tmp_path: Path) -> None:
    save(tmp_path / "good.png", film(1))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG rubbish")
    samples = tuple(Sample(name, "x") for name in ("bad.png", "good.png", "absent.png"))
    seen: list[tuple[int, int]] = []
    results = measure_all(
        SampleTable(tmp_path, "manifest", samples), lambda done, total: seen.append((done, total))
    )
    assert isinstance(results[0], InputError)
    assert not isinstance(results[1], InputError)
    assert isinstance(results[2], InputError)
    assert (results[0].code, results[2].code) == ("not-an-image", "not-found")
    assert results[2].file == str(tmp_path / "absent.png")
    assert seen == [(1, 3), (2, 3), (3, 3)]
