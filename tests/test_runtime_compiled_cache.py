"""Compiled networks are kept and used again, and whatever is wrong with the cache changes no answer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bundles import tiny_bundle
from pulmoscope.runtime import private_cache
from pulmoscope.runtime.network import open_network
from pulmoscope.runtime.private_cache import SWITCH, state

GAINS = (10.0, 40.0)
BATCH = np.full((1, 3, 32, 32), 0.5, dtype=np.float32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(SWITCH, str(folder))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny_bundle(tmp_path_factory.mktemp("bundle"), gain=gain).folder / "model.onnx" for gain in GAINS]


def logit(model: Path) -> float:
    return float(open_network(model)(BATCH)["logits"][0, 0])


def kept(cache: Path, model: Path) -> Path:
    """The file that a network's first opening has left."""
    before = set(cache.glob("*"))
    logit(model)
    (file,) = set(cache.glob("*")) - before
    return file


def test_what_is_kept_is_what_answers(cache: Path, models: list[Path]) -> None:
    weak, strong = (kept(cache, model) for model in models)
    assert [logit(model) for model in models] == pytest.approx([5 / 4, 20 / 4], abs=1e-5)
    assert len(list(cache.iterdir())) == 2
    assert cache.stat().st_mode & 0o777 == 0o700
    shutil.copy(strong, weak)  # so that it shows which of the two is read
    assert [logit(model) for model in models] == pytest.approx([20 / 4, 20 / 4], abs=1e-5)


@pytest.mark.parametrize("at", [0, 40, -1, None])
def test_a_damaged_file_is_written_anew(cache: Path, models: list[Path], at: int | None) -> None:
    """In the checksum of the whole, in that of the answer, in the network; empty."""
    file = kept(cache, models[0])
    damaged = bytearray() if at is None else bytearray(file.read_bytes())
    if at is not None:
        damaged[at] ^= 1
    file.write_bytes(damaged)
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)
    assert file.read_bytes() != damaged


def test_a_folder_that_others_may_read_is_left_alone(cache: Path, models: list[Path]) -> None:
    cache.mkdir()
    cache.chmod(0o755)
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)
    assert list(cache.iterdir()) == []
    assert not state().used


def test_its_state_is_told_without_anybodys_folder(
    cache: Path, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state() == (True, "the folder of PULMOSCOPE_CACHE", 0, 0)
    assert not cache.exists()
    file = kept(cache, models[0])
    assert state()[2:] == (1, file.stat().st_size)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv(SWITCH, "")
    assert state()[:2] == (True, "$XDG_CACHE_HOME/pulmoscope/compiled")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert state()[:2] == (True, "~/.cache/pulmoscope/compiled")
    monkeypatch.setenv(SWITCH, "off")
    assert state()[:2] == (False, "PULMOSCOPE_CACHE=off")


def test_a_folder_that_can_not_be_made_holds_nothing(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(SWITCH, str(tmp_path / "file" / "cache"))
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)
    assert not state().used


@pytest.mark.parametrize("by_link", [False, True])
def test_a_file_that_others_may_write_is_not_trusted(
    tmp_path: Path, cache: Path, models: list[Path], by_link: bool
) -> None:
    weak, strong = (kept(cache, model) for model in models)
    shutil.copy(strong, weak)
    assert logit(models[0]) == pytest.approx(20 / 4, abs=1e-5)  # what it would answer if it were trusted
    if by_link:
        weak.unlink()
        weak.symlink_to(strong)
    else:
        weak.chmod(0o666)
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)


def test_a_file_in_its_place_or_off_keeps_nothing(
    tmp_path: Path, cache: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_bytes(b"mine")
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)
    assert cache.read_bytes() == b"mine"
    monkeypatch.setenv(SWITCH, "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    logit(models[0])
    assert not (tmp_path / "home").exists()
    monkeypatch.delenv(SWITCH)
    logit(models[0])
    assert len(list((tmp_path / "home/pulmoscope/compiled").iterdir())) == 1


def test_what_was_not_used_for_longest_goes_first(
    cache: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept(cache, models[0])
    (cache / ".pulmoscope-killed.part").write_bytes(b"half")
    for number, file in enumerate((cache / ".pulmoscope-killed.part", first)):
        os.utime(file, (number, number))
    monkeypatch.setattr(private_cache, "MOST_FILES", 2)
    second = kept(cache, models[1])
    assert set(cache.iterdir()) == {first, second}


def test_what_is_not_the_caches_own_stays(
    cache: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(mode=0o700)
    mine = [cache / "thesis.odt", cache / "old.blob", cache / "folder"]
    for file in mine[:2]:
        file.write_bytes(b"mine")
    mine[2].mkdir()
    for path in mine:
        os.utime(path, (1, 1))
    monkeypatch.setattr(private_cache, "MOST_FILES", 1)
    kept(cache, models[0])
    second = kept(cache, models[1])
    assert set(cache.iterdir()) == {*mine, second}


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path, cache: Path, models: list[Path]) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_cache_where_there_is_no_room_for_it(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_bytes(b"no folder")
    monkeypatch.delenv(SWITCH)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert logit(models[0]) == pytest.approx(5 / 4, abs=1e-5)


def test_a_folder_is_named_from_the_home_and_a_relative_base_is_ignored(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SWITCH, "~/named")
    logit(models[0])
    assert len(list((tmp_path / "named").iterdir())) == 1
    monkeypatch.delenv(SWITCH)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    logit(models[0])
    assert len(list((tmp_path / ".cache/pulmoscope/compiled").iterdir())) == 1
    assert not (tmp_path / "relative").exists()
