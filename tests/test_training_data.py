from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import drawn
from pulmoscope.core.errors import DatasetError, UnreadableError
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.training.data import EpochOrder, FramedImages, loader
from pulmoscope.training.frames import Frames, load_frames

SMALL = XrayPreprocess(size=32, mean=0.4, std=0.2, channels=3)
AUGMENT = Augmentation(shift=0.1, rotate_deg=20, zoom=0.2, flip=0.5)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    table = drawn.table(tmp_path_factory.mktemp("films"), train=5, val=2)
    return load_frames(table, SMALL, drawn.CLASSES, progress=False)


def keys(order: EpochOrder) -> list[tuple[int, int, int]]:
    return [key for batch in order for key in batch]


def test_frames_follow_the_table(frames: Frames) -> None:
    assert frames.images.shape == (28, 32, 32)
    assert frames.images.dtype == np.uint8
    assert np.bincount(frames.labels).tolist() == [7, 7, 7, 7]
    for file, split, label in zip(frames.files, frames.splits, frames.labels, strict=True):
        assert file.startswith(f"{drawn.CLASSES[label]}-{split}-")
    assert len(frames.places("train")) == 20
    assert len(frames.places("train", "val")) == 28


def test_only_images_of_the_classes_are_read(tmp_path: Path) -> None:
    table = drawn.table(tmp_path, train=2, val=1)
    chosen = load_frames(table, SMALL, ("Normal", "COVID"), progress=False)
    assert len(chosen.labels) == 6
    assert {file.split("-")[0] for file in chosen.files} == {"COVID", "Normal"}
    with pytest.raises(DatasetError, match="no sample of class Flu"):
        load_frames(table, SMALL, ("Normal", "Flu"), progress=False)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    table = drawn.table(tmp_path, train=1, val=1)
    (tmp_path / "COVID-train-0.png").write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(UnreadableError, match=r"COVID-train-0\.png"):
        load_frames(table, SMALL, drawn.CLASSES, progress=False)


def test_all_damaged_images_are_named_at_once(tmp_path: Path) -> None:
    table = drawn.table(tmp_path, train=6, val=1)
    bad = [sample.file for sample in table][::11]
    for file in bad:
        (tmp_path / file).write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(DatasetError, match="3 of 28 images can't be read") as told:
        load_frames(table, SMALL, drawn.CLASSES, progress=False)
    lines = str(told.value).splitlines()
    assert len(lines) == 1 + 3
    assert all(file in line for file, line in zip(bad, lines[1:], strict=True))


def test_no_more_than_twenty_damaged_images_are_named(tmp_path: Path) -> None:
    table = drawn.table(tmp_path, train=5, val=1)
    for sample in table:
        table.path(sample).unlink()
    with pytest.raises(DatasetError) as told:
        load_frames(table, SMALL, drawn.CLASSES, progress=False)
    lines = str(told.value).splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1].strip() == "and 4 more"


def test_statistics_are_those_of_all_pixels(frames: Frames) -> None:
    mean, spread = frames.statistics()
    assert mean == pytest.approx(float((frames.images / 255.0).mean()), abs=1e-9)
    assert spread == pytest.approx(float((frames.images / 255.0).std()), abs=1e-9)


def test_without_augmentation_an_image_is_what_diagnosis_sees(frames: Frames) -> None:
    image, target, _, place = FramedImages(frames, SMALL, None, seed=1)[0, 0, 9]
    expected = (frames.images[9].astype(np.float64) / 255 - 0.4) / 0.2
    assert image.shape == (3, 32, 32)
    np.testing.assert_allclose(image.numpy(), np.broadcast_to(expected, (3, 32, 32)), rtol=0, atol=1e-5)
    assert place == 9
    assert target.tolist() == [float(number == frames.labels[9]) for number in range(len(drawn.CLASSES))]


def test_an_image_varies_with_seed_phase_and_epoch_only(frames: Frames) -> None:
    images = FramedImages(frames, SMALL, AUGMENT, seed=1)
    base = images[0, 0, 3][0]
    assert torch.equal(images[0, 0, 3][0], base)
    others = [
        images[0, 1, 3][0],
        images[1, 0, 3][0],
        FramedImages(frames, SMALL, AUGMENT, seed=2)[0, 0, 3][0],
    ]
    assert not any(torch.equal(other, base) for other in others)


def test_the_contrast_is_harmonised_after_augmentation(frames: Frames) -> None:
    toned = dataclasses.replace(SMALL, contrast="clahe", mean=0.0, std=1.0, channels=1)
    varied, *_ = FramedImages(frames, toned, AUGMENT, seed=1)[0, 0, 3]
    raw, _ = AUGMENT(
        frames.images[3].astype(np.float32) / np.float32(255), np.random.default_rng([1, 0, 0, 3])
    )
    np.testing.assert_allclose(varied.numpy()[0], toned.tone(raw), rtol=0, atol=1e-6)


def test_an_epoch_takes_every_image_once_in_an_order_of_its_own(frames: Frames) -> None:
    order = EpochOrder(frames.places("train"), 8, phase=2, seed=4, shuffle=True)
    first = keys(order)
    order.set_epoch(1)
    second = keys(order)
    again = EpochOrder(frames.places("train"), 8, phase=2, seed=4, shuffle=True)
    again.set_epoch(1)

    assert sorted(place for _, _, place in first) == sorted(place for _, _, place in second)
    assert sorted(place for _, _, place in first) == frames.places("train").tolist()
    assert [place for _, _, place in first] != [place for _, _, place in second]
    assert {key[:2] for key in first} == {(2, 0)}
    assert keys(again) == second


def test_batches_are_of_nearly_one_size() -> None:
    order = EpochOrder(np.arange(33), 16, phase=0, seed=0, shuffle=True)
    assert [len(batch) for batch in order] == [11, 11, 11]
    assert len(order) == 3


def test_workers_change_nothing(frames: Frames) -> None:
    images = FramedImages(frames, SMALL, AUGMENT, seed=1)

    def batches(workers: int) -> list[torch.Tensor]:
        order = EpochOrder(frames.places("train"), 8, phase=0, seed=1, shuffle=True)
        return [batch.image for batch in loader(images, order, workers)]

    for alone, helped in zip(batches(0), batches(1), strict=True):
        assert torch.equal(alone, helped)
