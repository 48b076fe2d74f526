from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drawn
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.frames import MAP_SIDE, Frames, Maps, load_frames, read_frames, write_frames
from pulmoscope.training.run import measured
from pulmoscope.training.tune.head import (
    FEATURES,
    VARIANTS,
    fit_head,
    frozen_throughout,
    write_features,
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    small = [
        "preprocess.size=32",
        "preprocess.channels=1",
        "batch_size=8",
        "model.backbone=cnn",
        "phases.frozen.epochs=6",
    ]
    return settings.apply(find("xray-binary-resnet50v2"), small).shortened(None)


@pytest.fixture(scope="module")
def frames(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Frames:
    table = drawn.table(tmp_path_factory.mktemp("drawn"), train=12, val=6, classes=("COVID", "Normal"))
    return load_frames(table, recipe.preprocess, recipe.classes, progress=False)


@pytest.fixture(scope="module")
def cache(recipe: Recipe, frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_features(measured(recipe, frames), frames, folder, progress=False)
    return folder


def test_only_a_backbone_that_never_moves_can_be_cached(recipe: Recipe) -> None:
    assert frozen_throughout(recipe)
    assert not frozen_throughout(find("xray-binary-resnet50v2"))
    assert not frozen_throughout(find("xray-binary-cnn"))


@pytest.mark.parametrize(
    "change",
    [
        *("mixup=0.2", "balance=0.5", "robust=0.1", "locate=0.3", "loss.beta=0.9", "unread.Normal=0.1"),
        *("augment.mixing=0.3", "augment.opacities=0.2", "labels.Unsure=COVID 0.4, Normal 0.6"),
    ],
)
def test_what_a_head_alone_would_not_learn_is_not_cached(recipe: Recipe, change: str) -> None:
    assert frozen_throughout(settings.apply(recipe, ["labels.Typical=COVID"]))
    assert not frozen_throughout(settings.apply(recipe, [change]))


def test_every_image_has_its_variants_and_val_is_as_it_is(frames: Frames, cache: Path) -> None:
    with np.load(cache / FEATURES) as found:
        features = {name: found[name] for name in found.files}
    assert features["train"].shape == (VARIANTS, 24, 64)
    assert features["val"].shape == (12, 64)
    assert not np.allclose(features["train"][0], features["train"][1])
    np.testing.assert_array_equal(features["train_labels"], frames.labels[frames.places("train")])
    np.testing.assert_array_equal(features["val_labels"], frames.labels[frames.places("val")])


def test_a_head_stops_early_and_reports_its_best_epoch(recipe: Recipe, cache: Path) -> None:
    patient = replace(recipe, phases=(replace(recipe.phases[0], epochs=40, patience=3, learning_rate=0.3),))
    found = fit_head(patient, cache)
    assert found["epochs"] == min(40, found["best_epoch"] + 3)
    assert 0 <= found["val_accuracy"] <= 1


def test_the_same_head_is_trained_again(recipe: Recipe, cache: Path) -> None:
    assert fit_head(recipe, cache) == fit_head(recipe, cache)
    assert fit_head(recipe, cache) != fit_head(replace(recipe, seed=recipe.seed + 1), cache)


def test_a_head_learns_what_can_be_told_apart(recipe: Recipe, tmp_path: Path) -> None:
    """Two classes a unit apart in one feature: a linear head must tell them apart."""
    rng = np.random.default_rng(1)
    labels = np.arange(64) % 2
    features = rng.normal(0, 0.1, (64, 4)).astype(np.float32)
    features[:, 2] += labels
    np.savez(
        tmp_path / FEATURES,
        train=np.stack([features, features]),
        train_labels=labels,
        val=features,
        val_labels=labels,
    )
    phase = replace(recipe.phases[0], epochs=30, learning_rate=0.05)
    model = replace(recipe.model, hidden=0, dropout=0.0)
    found = fit_head(replace(recipe, phases=(phase,), model=model), tmp_path)
    assert found["val_accuracy"] == 1.0
    assert found["val_loss"] < 0.5


def test_mixed_images_have_no_features_of_their_own(recipe: Recipe) -> None:
    assert frozen_throughout(recipe)
    assert not frozen_throughout(replace(recipe, mixup=0.2))
    assert not frozen_throughout(replace(recipe, augment=replace(recipe.augment, mixing=0.1)))


def test_features_have_one_label_each(recipe: Recipe) -> None:
    assert frozen_throughout(replace(recipe, labels={"CAP": "COVID"}))
    assert not frozen_throughout(replace(recipe, labels={"?": "COVID 0.5, Normal 0.5"}))


def test_shared_frames_come_back_the_same(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    frames = Frames(images, np.array([0, 1, 1]), ("train", "train", "val"), ("a.png", "b.png", "ü.png"))
    write_frames(frames, tmp_path)
    found = read_frames(tmp_path)
    np.testing.assert_array_equal(found.images, frames.images)
    np.testing.assert_array_equal(found.labels, frames.labels)
    assert (found.splits, found.files) == (frames.splits, frames.files)
    assert found.targets is None
    assert found.maps is None


def test_all_that_is_known_of_shared_frames_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8)
    shares = np.array([[0.7, 0.3], [0, 1]], dtype=np.float32)
    lungs, opacities = rng.integers(0, 256, (2, 2, MAP_SIDE, MAP_SIDE), dtype=np.uint8)
    maps = Maps(lungs, opacities, np.array([True, False]))
    frames = Frames(
        images, np.array([0, 1]), ("train", "val"), ("a", "b"), shares, ("St Märy", "north"), maps
    )
    write_frames(frames, tmp_path)
    found = read_frames(tmp_path)
    assert found.hospitals == frames.hospitals
    assert found.groups == frames.groups
    np.testing.assert_array_equal(found.targets, shares)
    assert found.maps is not None
    for name, value in vars(maps).items():
        np.testing.assert_array_equal(getattr(found.maps, name), value)
        assert getattr(found.maps, name).dtype == value.dtype
