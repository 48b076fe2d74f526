from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drawn
from pulmoscope.core.errors import DatasetError, RecipeError, ResourceError, UnreadableError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.rules import check
from pulmoscope.training import frame_cache, frames
from pulmoscope.training.frame_cache import FrameCache, FramedSample, frame_cache_of, prune
from pulmoscope.training.frames import load_frames

SMALL = XrayPreprocess(size=32)


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    return drawn.table(tmp_path / "images", train=2, val=1)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    real = frames.read_xray

    def counted(path: Path) -> object:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(frames, "read_xray", counted)
    return names


def framed(table: SampleTable, cache: Path | None, preprocess: XrayPreprocess = SMALL) -> frames.Frames:
    return load_frames(table, preprocess, drawn.CLASSES, progress=False, cache=cache)


def packs(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npz"))


def test_what_was_framed_is_not_read_again(table: SampleTable, tmp_path: Path, read: list[str]) -> None:
    plain = framed(table, None)
    first = framed(table, tmp_path / "cache")
    assert len(read) == 24
    second = framed(table, tmp_path / "cache")
    assert len(read) == 24
    for found in (first, second):
        np.testing.assert_array_equal(found.images, plain.images)
        assert found.images.dtype == np.uint8
        assert (found.files, found.splits) == (plain.files, plain.splits)
        np.testing.assert_array_equal(found.labels, plain.labels)


def test_of_a_shared_cache_no_other_data_sets_images_are_loaded(
    table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_cache, "PACKED", 6)
    one, other = (table.with_samples(part) for part in (table.samples[:6], table.samples[6:]))
    first, second = (FrameCache(tmp_path / "cache", SMALL, maps=False, finder=None) for _ in range(2))
    nothing = np.empty((0, 0), dtype=np.uint8)
    made = FramedSample(np.ones((32, 32), dtype=np.uint8), nothing, nothing, boxed=False)
    for cache, part in ((first, one), (second, other)):
        for sample in part:
            cache.through(part, lambda _: made)(sample)
    loaded, real = [], frame_cache._framed

    def counted(arrays: Mapping[str, Any]) -> dict[str, FramedSample]:
        loaded.append(len(arrays["keys"]))
        return real(arrays)

    monkeypatch.setattr(frame_cache, "_framed", counted)
    again = FrameCache(tmp_path / "cache", SMALL, maps=False, finder=None).through(one, pytest.fail)
    assert all(np.array_equal(again(sample).image, made.image) for sample in one)
    assert loaded == [6]


def test_maps_are_kept_with_the_images(table: SampleTable, tmp_path: Path, read: list[str]) -> None:
    def mapped(cache: Path | None, boxes: tuple[tuple[float, float, float, float], ...]) -> frames.Frames:
        boxed = table.with_samples(dataclasses.replace(sample, boxes=boxes) for sample in table)
        return load_frames(boxed, SMALL, drawn.CLASSES, progress=False, maps=True, cache=cache)

    plain, made, kept = (mapped(cache, ((8, 9, 30, 31),)) for cache in (None, *[tmp_path / "cache"] * 2))
    assert len(read) == 24
    for found in (made, kept):
        for name in ("lungs", "opacities", "known"):
            np.testing.assert_array_equal(getattr(found.maps, name), getattr(plain.maps, name))
    other = mapped(tmp_path / "cache", ((8, 9, 30, 50),))  # a reader has drawn another box
    assert len(read) == 36
    assert other.maps is not None
    assert plain.maps is not None
    assert not np.array_equal(other.maps.opacities, plain.maps.opacities)


def test_a_file_of_other_content_is_read(table: SampleTable, tmp_path: Path, read: list[str]) -> None:
    framed(table, tmp_path / "cache")
    one, other = table.path(table.samples[0]), table.path(table.samples[1])
    one.write_bytes(other.read_bytes())  # its content is known, under another name
    moved = framed(table, tmp_path / "cache")
    np.testing.assert_array_equal(moved.images[0], moved.images[1])
    assert len(read) == 12
    one.write_bytes(one.read_bytes() + b"more")
    framed(table, tmp_path / "cache")
    assert read[12:] == [one.name]


@pytest.mark.parametrize("change", [{"size": 48}, {"region": "square"}, {"edge": 0.1}])
def test_another_setting_finds_nothing(
    table: SampleTable, tmp_path: Path, read: list[str], change: dict[str, object]
) -> None:
    framed(table, tmp_path / "cache")
    other = dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
    found = framed(table, tmp_path / "cache", other)
    assert len(read) == 24
    np.testing.assert_array_equal(found.images, framed(table, None, other).images)


def test_mean_and_deviation_frame_nothing(table: SampleTable, tmp_path: Path, read: list[str]) -> None:
    framed(table, tmp_path / "cache")
    framed(table, tmp_path / "cache", dataclasses.replace(SMALL, mean=0.31, std=0.2))
    assert len(read) == 12


def test_other_code_finds_nothing(
    table: SampleTable, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    framed(table, tmp_path / "cache")
    monkeypatch.setattr(frame_cache, "_code", lambda: "changed")
    framed(table, tmp_path / "cache")
    assert len(read) == 24


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "method"])
def test_a_damaged_pack_is_made_anew(
    table: SampleTable, tmp_path: Path, read: list[str], damage: str
) -> None:
    plain = framed(table, tmp_path / "cache")
    (pack,) = packs(tmp_path / "cache")
    content = pack.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    listing = content.index(
        b"PK\x01\x02"
    )  # a zip's central directory, ten bytes on how its file is compressed
    method = content[: listing + 10] + b"\x63" + content[listing + 11 :]
    pack.write_bytes(
        {
            "cut": content[:middle],
            "flipped": flipped,
            "empty": b"",
            "foreign": b"something else",
            "method": method,
        }[damage]
    )
    np.testing.assert_array_equal(framed(table, tmp_path / "cache").images, plain.images)
    assert len(read) == 24
    framed(table, tmp_path / "cache")
    assert len(read) == 24


def test_an_interrupted_build_goes_on(
    table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill loses the pack that was not full; an unfinished file of a pack is no pack."""
    monkeypatch.setattr(frame_cache, "PACKED", 4)
    cache = FrameCache(tmp_path / "cache", SMALL, maps=False, finder=None)
    image = np.zeros((32, 32), dtype=np.uint8)
    nothing = np.empty((0, 0), dtype=np.uint8)
    asked: list[str] = []

    def made(sample: Sample) -> FramedSample:
        asked.append(sample.file)
        return FramedSample(image + len(asked), nothing, nothing, boxed=False)

    through = cache.through(table, made)
    for sample in table.samples[:6]:  # and the process is gone
        through(sample)
    (pack,) = packs(tmp_path / "cache")
    pack.with_name(".pulmoscope-1.part").write_bytes(pack.read_bytes()[:50])

    again = FrameCache(tmp_path / "cache", SMALL, maps=False, finder=None)
    found = [again.through(table, made)(sample) for sample in table.samples]
    again.close()
    files = [sample.file for sample in table]
    assert asked == files[:6] + files[4:]
    assert [int(one.image[0, 0]) for one in found[:4]] == [1, 2, 3, 4]


def test_good_images_of_a_bad_data_set_are_kept(table: SampleTable, tmp_path: Path, read: list[str]) -> None:
    bad = table.path(table.samples[3])
    content = bad.read_bytes()
    bad.write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(UnreadableError):
        framed(table, tmp_path / "cache")
    bad.unlink()
    with pytest.raises((UnreadableError, DatasetError)):
        framed(table, tmp_path / "cache")
    bad.write_bytes(content)
    read.clear()
    framed(table, tmp_path / "cache")
    assert read == [bad.name]


def test_a_full_disk_ends_the_keeping_and_not_the_run(
    table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frame_cache, "PACKED", 2)
    plain = framed(table, tmp_path / "cache")  # six packs, of which the disk will have lost four
    for pack in packs(tmp_path / "cache")[2:]:
        pack.unlink()
    tried = []

    def full(handle: int, mode: str) -> object:
        tried.append(handle)
        os.close(handle)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    found = load_frames(table, SMALL, drawn.CLASSES, progress=True, cache=tmp_path / "cache")
    np.testing.assert_array_equal(found.images, plain.images)
    assert tried
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert len(list((tmp_path / "cache").rglob("*.*"))) == 2  # those that were there, and no half of another


def test_a_cache_is_for_its_owner_alone(table: SampleTable, tmp_path: Path) -> None:
    framed(table, tmp_path / "deep" / "cache")
    (pack,) = packs(tmp_path)
    for folder in (tmp_path / "deep" / "cache", pack.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    pack.parent.chmod(0o755)
    framed(table, tmp_path / "deep" / "cache")
    assert stat.S_IMODE(pack.parent.stat().st_mode) == 0o700


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    mine = tmp_path / "notes"
    folders = [tmp_path / (letter * 32) for letter in "abc"]
    for age, folder in enumerate([*folders, mine]):
        folder.mkdir()
        (folder / "0.npz").write_bytes(bytes(100))
        os.utime(folder, (1000 - age, 1000 - age))
    prune(tmp_path, folders[2], limit=250)  # the oldest is in use
    assert [folder.exists() for folder in (*folders, mine)] == [True, False, True, True]
    prune(tmp_path, folders[2], limit=0)
    assert [folder.exists() for folder in (*folders, mine)] == [False, False, True, True]


def test_where_images_are_kept(tmp_path: Path) -> None:
    recipe = find("xray-binary-cnn")
    assert isinstance(recipe, Recipe)
    for given, own, place in (
        ("", tmp_path, tmp_path),
        ("", None, None),
        ("none", tmp_path, None),
        (str(tmp_path / "shared"), None, tmp_path / "shared"),
    ):
        assert frame_cache_of(dataclasses.replace(recipe, cache=given), own) == place
    studies = find("ct-severity-resnet18")
    assert isinstance(studies, Recipe)
    with pytest.raises(RecipeError, match="cache=none"):
        check(dataclasses.replace(studies, cache="none"))


def test_a_file_is_no_cache(table: SampleTable, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine", encoding="utf-8")
    with pytest.raises(ResourceError, match="cache"):
        framed(table, tmp_path / "cache")
