from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.errors import RecipeError
from pulmoscope.training import settings
from pulmoscope.training.frames import MAP_SIDE, Frames, Maps
from pulmoscope.training.recipes import find
from pulmoscope.training.trial import as_settings, grid, read_cache, write_cache


def test_the_published_grids_are_whole() -> None:
    cnn, transfer = grid(find("xray-binary-cnn")), grid(find("xray-binary-resnet50v2"))
    assert len({tuple(trial.settings.values()) for trial in cnn}) == len(cnn) == 3 * 3 * 3 * 2
    assert len({tuple(trial.settings.values()) for trial in transfer}) == len(transfer) == 3 * 3 * 3
    assert [trial.number for trial in cnn] == list(range(1, 55))


def test_a_trial_has_its_settings() -> None:
    trial = grid(find("xray-binary-cnn"))[1]
    assert trial.settings == {
        "model.filters": 8,
        "model.dropout": 0.4,
        "phases.train.learning_rate": 1e-3,
        "phases.train.optimizer": "sgd",
    }
    assert trial.recipe.model.filters == 8
    assert trial.recipe.model.dropout == 0.4
    assert trial.recipe.phases[0].learning_rate == 1e-3
    assert trial.recipe.phases[0].optimizer == "sgd"
    assert settings.apply(find("xray-binary-cnn"), as_settings(trial.settings)) == trial.recipe


def test_only_phases_that_hold_val_out_are_tried() -> None:
    trial = grid(find("xray-binary-resnet50v2"), epochs=7)[0]
    assert [(phase.name, phase.epochs) for phase in trial.recipe.phases] == [("frozen", 7)]


def test_a_limit_of_epochs_only_shortens() -> None:
    assert grid(find("xray-binary-cnn"), epochs=1000)[0].recipe.phases[0].epochs == 60


def test_what_cannot_be_judged_is_refused() -> None:
    recipe = find("xray-binary-cnn")
    with pytest.raises(RecipeError, match="no grid"):
        grid(replace(recipe, grid={}))
    with pytest.raises(RecipeError, match="learns from val"):
        grid(settings.apply(recipe, ["phases.0.train_on=train,val"]))


def test_cached_frames_come_back_the_same(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    frames = Frames(images, np.array([0, 1, 1]), ("train", "train", "val"), ("a.png", "b.png", "ü.png"))
    write_cache(frames, tmp_path)
    found = read_cache(tmp_path)
    np.testing.assert_array_equal(found.images, frames.images)
    np.testing.assert_array_equal(found.labels, frames.labels)
    assert (found.splits, found.files) == (frames.splits, frames.files)
    assert found.targets is None
    assert found.maps is None


def test_all_that_is_known_of_cached_frames_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8)
    shares = np.array([[0.7, 0.3], [0, 1]], dtype=np.float32)
    lungs, opacities = rng.integers(0, 256, (2, 2, MAP_SIDE, MAP_SIDE), dtype=np.uint8)
    maps = Maps(lungs, opacities, np.array([True, False]))
    frames = Frames(
        images, np.array([0, 1]), ("train", "val"), ("a", "b"), shares, ("St Märy", "north"), maps
    )
    write_cache(frames, tmp_path)
    found = read_cache(tmp_path)
    assert found.hospitals == frames.hospitals
    assert found.groups == frames.groups
    np.testing.assert_array_equal(found.targets, shares)
    assert found.maps is not None
    for name, value in vars(maps).items():
        np.testing.assert_array_equal(getattr(found.maps, name), value)
        assert getattr(found.maps, name).dtype == value.dtype
