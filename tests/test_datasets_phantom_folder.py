from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets import load
from pulmoscope.io import read_xray
from pulmoscope.phantoms.xray.draw import FINDINGS
from pulmoscope.phantoms.xray.folder import DESCRIPTION, SINGLE, write_phantoms


def test_one_picture_lies_beside_its_manifest(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path, seed=7, size=96)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.csv", SINGLE]
    assert load(tmp_path).samples == table.samples
    scan = read_xray(tmp_path / SINGLE)
    assert scan.pixels.shape == (1, 96, 96)
    assert [flag.code for flag in scan.remarks] == ["synthetic"]


def test_a_data_set_of_all_classes(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path, 40, FINDINGS, seed=1, size=64, masks=True)
    assert load(tmp_path).samples == table.samples
    assert Counter(sample.label for sample in table) == dict.fromkeys(FINDINGS, 10)
    assert table.splits == ("train", "val", "test")
    assert {sample.source for sample in table} == {"phantom"}
    assert len({sample.patient for sample in table}) == 40
    for sample in table:
        with Image.open(table.path(sample)) as image, Image.open(tmp_path / sample.mask) as mask:
            assert image.text["Description"] == DESCRIPTION
            assert (image.mode, image.size) == ("L", mask.size)
            assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_equal_seeds_give_equal_bytes_and_more_pictures_change_none(tmp_path: Path) -> None:
    for name, count, seed in (("a", 4, 1), ("b", 8, 1), ("c", 4, 2)):
        write_phantoms(tmp_path / name, count, ["COVID", "Normal"], seed=seed, size=64)
    first = "COVID/images/COVID-0001.png"
    assert (tmp_path / "a" / first).read_bytes() == (tmp_path / "b" / first).read_bytes()
    assert (tmp_path / "a" / first).read_bytes() != (tmp_path / "c" / first).read_bytes()


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    write_phantoms(tmp_path, size=64)
    before = (tmp_path / SINGLE).read_bytes()
    with pytest.raises(OutputExistsError):
        write_phantoms(tmp_path, seed=1, size=64)
    assert (tmp_path / SINGLE).read_bytes() == before
    write_phantoms(tmp_path, seed=1, size=64, force=True)
    assert (tmp_path / SINGLE).read_bytes() != before


@pytest.mark.parametrize(("count", "classes"), [(1, ["Flu"]), (1, []), (0, ["COVID"])])
def test_what_can_not_be_drawn_leaves_nothing_behind(tmp_path: Path, count: int, classes: list[str]) -> None:
    with pytest.raises(DatasetError):
        write_phantoms(tmp_path / "out", count, classes)
    assert not (tmp_path / "out").exists()


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_phantoms(tmp_path, 3, size=64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
