from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import drawn
from pulmoscope.core.errors import DatasetError, UnreadableError
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.training.data import EpochOrder, Example, FramedImages, Key, Loader, Painting, balanced
from pulmoscope.training.frames import MAP_SIDE, Frames, Maps, load_frames
from refusals import refused

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
    with refused(UnreadableError, "not-an-image") as caught:
        load_frames(table, SMALL, drawn.CLASSES, progress=False)
    assert Path(caught.value.file).name == "COVID-train-0.png"


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

    order = EpochOrder(frames.places("train"), 8, phase=0, seed=1, shuffle=True)
    plain = [images.batch(keys) for keys in order]
    for loader in (Loader(images, order), Loader(images, order, threads=3), Loader(images, order, workers=1)):
        for batch, expected in zip(loader.epoch(), plain, strict=True):
            assert all(torch.equal(own, other) for own, other in zip(batch, expected, strict=True))
            assert batch.image.is_contiguous(memory_format=torch.channels_last)


def test_preparing_stops_where_no_one_takes_any_more(frames: Frames) -> None:
    class Counted(FramedImages):
        asked = 0

        def batch(self, keys: Sequence[Key]) -> Example:
            Counted.asked += 1
            return super().batch(keys)

    order = EpochOrder(frames.places("train"), 2, phase=0, seed=1, shuffle=True)
    batches = Loader(Counted(frames, SMALL, AUGMENT, seed=1), order).epoch()
    next(batches)
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert len(order) == 10
    assert Counted.asked <= 3


def test_an_image_that_cannot_be_prepared_is_told(frames: Frames) -> None:
    order = EpochOrder(np.array([0, 999]), 1, phase=0, seed=1, shuffle=False)
    batches = Loader(FramedImages(frames, SMALL, None, seed=1), order).epoch()
    assert next(batches).place.tolist() == [0]
    with pytest.raises(IndexError):
        next(batches)


def mapped(frames: Frames, known: bool = True) -> Frames:
    """The frames with a map of two lungs each, and a reader's map that says where their first row is."""
    count = len(frames.labels)
    lungs = np.zeros((count, MAP_SIDE, MAP_SIDE), dtype=np.uint8)
    lungs[:, 8:32, 4:16] = lungs[:, 8:32, 24:36] = 255
    opacities = np.zeros_like(lungs)
    opacities[:, 0] = 255
    return dataclasses.replace(frames, maps=Maps(lungs, opacities, np.full(count, known)))


NORMAL = drawn.CLASSES.index("Normal")
PAINTING = Painting(1.0, frozenset([NORMAL]), typical=0, other=3)


def test_shares_of_classes_are_what_is_learnt(frames: Frames) -> None:
    shares = np.tile(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32), (len(frames.labels), 1))
    example = FramedImages(dataclasses.replace(frames, targets=shares), SMALL, AUGMENT, seed=1)[0, 0, 5]
    torch.testing.assert_close(example.target, torch.tensor([0.4, 0.3, 0.2, 0.1]))


def test_opacities_are_told_of_where_they_are_known(frames: Frames) -> None:
    assert FramedImages(frames, SMALL, None, seed=1)[0, 0, 3].opacities.shape == (0, 0)
    unknown = FramedImages(mapped(frames, known=False), SMALL, None, seed=1)[0, 0, 3].opacities
    assert unknown.shape == (MAP_SIDE, MAP_SIDE)
    assert bool(unknown.isnan().all())
    known = FramedImages(mapped(frames), SMALL, None, seed=1)[0, 0, 3].opacities
    assert known[0].tolist() == [1.0] * MAP_SIDE
    assert float(known[1:].max()) == 0


def test_opacities_move_along_with_the_image(frames: Frames) -> None:
    shown = frames.images.copy()
    shown[:] = 0
    shown[:, 10:18, 4:12] = 255
    maps = mapped(frames).maps
    assert maps is not None
    maps.opacities[:] = 0
    maps.opacities[:, 12:22, 5:15] = 255  # the same place: 10 / 32 of a side is 12.5 / 40
    marked = dataclasses.replace(frames, images=shown, maps=maps)
    plain = dataclasses.replace(SMALL, mean=0.0, std=1.0)
    moved = []
    for epoch in range(5):
        example = FramedImages(marked, plain, AUGMENT, seed=1)[0, epoch, 3]
        centres = []
        for grey in (example.image[0].numpy(), example.opacities.numpy()):
            line = (np.arange(len(grey)) + 0.5) / len(grey)
            down, across = (float((grey.sum(axis=axis) * line).sum() / grey.sum()) for axis in (1, 0))
            centres.append((down, across))
        assert centres[1] == pytest.approx(centres[0], abs=0.03)  # a pixel of either is as large
        moved.append(centres[0])
    assert len(set(moved)) == 5


def test_painted_normal_images_are_labelled_as_what_they_show(frames: Frames) -> None:
    marked = mapped(frames)
    bare = FramedImages(marked, SMALL, Augmentation(), seed=1)
    painting = FramedImages(marked, SMALL, Augmentation(opacities=1), seed=1, painting=PAINTING)
    seen = set()
    for place, label in enumerate(frames.labels):
        before, after = bare[0, 0, place], painting[0, 0, place]
        if label != NORMAL:
            assert torch.equal(after.image, before.image)
            assert torch.equal(after.target, before.target)
            continue
        seen.add(int(after.target.argmax()))
        assert sorted(after.target.tolist()) == [0, 0, 0, 1]
        assert not torch.equal(after.image, before.image)
        assert (
            float(after.opacities[0].max()) < 0.1 < float(after.opacities.max())
        )  # no lung is in the first row
        halves = [float(half.max()) > 0.05 for half in (after.opacities[:, :20], after.opacities[:, 20:])]
        assert sum(halves) == (2 if after.target[PAINTING.typical] else 1)
    assert seen == {PAINTING.typical, PAINTING.other}


def test_painting_has_its_probability_and_needs_lungs(frames: Frames) -> None:
    marked, often = mapped(frames), dataclasses.replace(PAINTING, probability=0.25)
    images = FramedImages(marked, SMALL, Augmentation(opacities=0.25), seed=1, painting=often)
    place = int(np.flatnonzero(frames.labels == NORMAL)[0])
    painted = sum(int(images[0, epoch, place].target.argmax()) != NORMAL for epoch in range(120))
    assert painted == pytest.approx(30, abs=15)  # three standard deviations
    assert marked.maps is not None
    marked.maps.lungs[:] = 0
    always = FramedImages(marked, SMALL, Augmentation(opacities=1), seed=1, painting=PAINTING)
    assert int(always[0, 0, place].target.argmax()) == NORMAL


def test_only_images_that_may_be_are_blended_in(frames: Frames) -> None:
    white = dataclasses.replace(frames, images=frames.images.copy())
    white.images[frames.places("val")] = 255
    blended = Augmentation(mixing=1)
    train, val = frames.places("train"), frames.places("val")
    plain = dataclasses.replace(SMALL, mean=0.0, std=1.0)

    def image(others: np.ndarray | None, epoch: int = 0) -> torch.Tensor:
        return FramedImages(white, plain, blended, seed=1, others=others)[0, epoch, int(train[0])].image[0]

    before = torch.from_numpy(white.images[train[0]].astype(np.float32) / 255)
    torch.testing.assert_close(image(None), before)
    assert max(float((image(train, epoch) - before).abs().max()) for epoch in range(5)) > 0.05
    # White has one amplitude, its mean: only the brightness and the strength of all else change.
    found = image(val)
    assert np.corrcoef(found.numpy().ravel(), before.numpy().ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (0.0, [0.25, 0.25, 0.25, 0.25]),
        (1.0, [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        (0.5, [(1 / 3) ** 0.5, (1 / 3) ** 0.5, (1 / 3) ** 0.5, 1.0]),
    ],
)
def test_rare_groups_are_drawn_more_often(power: float, expected: list[float]) -> None:
    groups = ("unused", "a", "a", "b", "a", "b", "b")
    found = balanced(groups, np.array([1, 2, 4, 3]), power)  # of b one image only is here
    np.testing.assert_allclose(found, np.array(expected) / np.sum(expected), rtol=1e-6)


def test_an_epoch_draws_by_weight_as_many_as_there_are() -> None:
    places = np.arange(100, 300)
    weights = np.where(places < 150, 3.0, 1.0)
    weights /= weights.sum()
    order = EpochOrder(places, 16, phase=1, seed=4, shuffle=True, weights=weights)
    first = [place for _, _, place in keys(order)]
    assert len(first) == 200
    assert len(set(first)) < 200  # with replacement
    # 50 of weight 3 and 150 of weight 1: half of what is drawn is of the first.
    drawn_often = list(first)
    for epoch in range(1, 20):
        order.set_epoch(epoch)
        drawn_often += [place for _, _, place in keys(order)]
    assert np.mean(np.array(drawn_often) < 150) == pytest.approx(0.5, abs=0.03)
    order.set_epoch(0)
    assert [place for _, _, place in keys(order)] == first
    in_turn = EpochOrder(places, 16, phase=1, seed=4, shuffle=False, weights=weights)
    assert [place for _, _, place in keys(in_turn)] == places.tolist()


def test_groups_are_hospitals_and_classes() -> None:
    frames = Frames(
        np.zeros((3, 2, 2), np.uint8),
        np.array([0, 1, 1]),
        ("train",) * 3,
        ("a", "b", "c"),
        hospitals=("n", "n", "s"),
    )
    assert len(set(frames.groups)) == 3
    twice = dataclasses.replace(frames, hospitals=("n", "s", "s"))
    assert len(set(twice.groups)) == 2
