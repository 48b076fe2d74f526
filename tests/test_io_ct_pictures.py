"""Slices that were saved as pictures: one scan in grey, in the order of their numbers, and marked so."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.core.types import Modality, Units
from pulmoscope.io import read, read_scan
from radiographs import chest, encoded
from refusals import figures, refused


def pictures(folder: Path, names: list[str]) -> list[Path]:
    """A picture of its own for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(encoded(chest(seed=seed), "PNG"))
    return [folder / name for name in names]


def test_a_folder_is_one_scan_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    names = ["s1.png", "s2.png", "s9.png", "s10.png", "s11.png", "s100.png"]
    paths = pictures(tmp_path / "a", names)
    (result,) = read([tmp_path], wanted="ct")
    scan = result.scan
    assert scan is not None
    assert [file.path for file in scan.files] == [str(path) for path in paths]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert [file.name for file in scan.files] == [f"{checksum[:12]}.png" for checksum in sums]
    np.testing.assert_allclose(scan.pixels, [chest(seed=seed) / 255 for seed in range(6)], atol=1e-6)
    assert (scan.modality, scan.units, scan.geometry, scan.spacing_mm, scan.z_mm) == (
        Modality.CT, Units.GREY, None, None, None,
    )  # fmt: skip
    (flag,) = scan.remarks
    assert flag.code == "pictures"
    whole = hashlib.sha256("\n".join(sums).encode()).hexdigest()
    assert scan.name == result.content == f"ct-{whole[:12]}"


def test_each_folder_is_a_scan_and_otherwise_each_picture(tmp_path: Path) -> None:
    pictures(tmp_path / "a", ["1.png", "2.png"])
    pictures(tmp_path / "b" / "c", ["1.jpg", "2.jpg", "3.png"])
    found = [(Path(r.name).name, len(r.scan.pixels)) for r in read([tmp_path], wanted="ct") if r.scan]
    assert found == [("a", 2), ("c", 3)]
    assert len(list(read([tmp_path]))) == len(list(read([tmp_path], wanted="xray"))) == 5


def test_pictures_of_several_sizes_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, ["1.png", "2.png"])
    (tmp_path / "3.png").write_bytes(encoded(chest(96), "PNG"))
    with refused(UnsuitableError, "sizes-differ") as caught:
        read_scan(tmp_path, wanted="ct")
    assert figures(caught.value.finding) == (96, 96, 128, 128)


def test_a_bad_picture_is_left_out_and_more_than_a_quarter_refused(tmp_path: Path) -> None:
    paths = pictures(tmp_path, [f"{number}.png" for number in range(8)])
    for path in paths[2:4]:
        path.write_bytes(path.read_bytes()[:500])
    scan = read_scan(tmp_path, wanted="ct")
    assert [flag.code for flag in scan.remarks] == ["pictures", "bad-slice"]
    assert figures(scan.remarks[1].finding)[0] == 2
    assert str(tmp_path) not in scan.remarks[1].message
    assert paths[2].name not in scan.remarks[1].message
    assert len(scan.pixels) == len(scan.files) == 6
    paths[6].write_bytes(paths[6].read_bytes()[:500])
    with refused(UnreadableError, "too-many-bad-slices") as caught:
        read_scan(tmp_path, wanted="ct")
    assert figures(caught.value.finding)[:2] == (3, 8)


def test_too_many_pictures_are_refused_before_memory_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path, [f"{number}.png" for number in range(4)])
    monkeypatch.setattr("pulmoscope.io.ct.pictures.MOST_VOXELS", 3 * 128 * 128)
    with refused(UnsuitableError, "too-many-pixels"):
        read_scan(tmp_path, wanted="ct")


def test_every_format_and_depth(tmp_path: Path) -> None:
    grey = chest()
    for number, data in enumerate(
        [
            encoded(grey, "PNG"),
            encoded(grey, "BMP"),
            encoded(grey, "TIFF"),
            encoded(grey.astype(np.uint16) * 257, "PNG"),
            encoded(Image.fromarray(grey).convert("RGB"), "PNG"),
        ]
    ):
        (tmp_path / f"{number}.img").write_bytes(data)
    for pixels in read_scan(tmp_path, wanted="ct").pixels:
        np.testing.assert_allclose(pixels, grey / 255, atol=0.01)


def test_what_is_no_picture_beside_them_is_its_own_refusal(tmp_path: Path) -> None:
    pictures(tmp_path, ["1.png", "2.png"])
    (tmp_path / "note.dcm").write_bytes(b"text")
    results = list(read([tmp_path], wanted="ct"))
    assert len([result for result in results if result.scan]) == 1
    (refused,) = [result.error for result in results if result.error]
    assert isinstance(refused, InputError)
