"""A phase whose backbone is frozen learns from what the backbone made of the images, computed once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import drawn
from pulmoscope.core.errors import RecipeError
from pulmoscope.models.classifier import Classifier, build
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.rules import check
from pulmoscope.training.frames import Frames, load_frames
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.image_stage import image_stage
from pulmoscope.training.loop import fit
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState

CPU = fabric_of(torch.device("cpu"))
STILL = ["augment.shift=0", "augment.rotate_deg=0", "augment.zoom=0"]


def recipe_of(*changes: str) -> Recipe:
    chosen = settings.apply(
        find("xray-binary-resnet50v2"),
        [
            "model.backbone=cnn",
            "model.filters=4",
            "model.hidden=8",
            "preprocess.size=32",
            "batch_size=8",
            *changes,
        ],
    )
    assert isinstance(chosen, Recipe)
    return chosen


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    classes = ("COVID", "Normal")
    table = drawn.table(tmp_path_factory.mktemp("images"), 10, val=4, classes=classes)
    return load_frames(table, recipe_of().framing, classes, progress=False)


def network_of(recipe: Recipe) -> Classifier:
    torch.manual_seed(4)
    return build(recipe.model, 1, recipe.framing.channels)


def trained(
    recipe: Recipe, frames: Frames, epochs: int, folder: Path | None = None
) -> tuple[PhaseState, dict[str, torch.Tensor]]:
    network = network_of(recipe)
    stage = image_stage(network, recipe, 0, epochs, frames, CPU)
    return fit(dataclasses.replace(stage, patience=0), folder, CPU, Reporter()), network.state_dict()


def test_unaugmented_images_teach_the_same_by_their_features(frames: Frames) -> None:
    (state, plain), (other, pooled) = (
        trained(recipe_of(*STILL, f"phases.frozen.variants={variants}"), frames, 3) for variants in (0, 1)
    )
    for name, value in plain.items():
        torch.testing.assert_close(pooled[name], value, rtol=1e-3, atol=1e-5)
    for one, two in zip(state.rows, other.rows, strict=True):
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-4)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert two["val_accuracy"] == one["val_accuracy"]


def test_the_backbone_sees_each_variant_once(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = recipe_of("phases.frozen.variants=2"), [0]
    real = Classifier.stages

    def counted(self: Classifier, image: torch.Tensor) -> list[torch.Tensor]:
        seen[0] += len(image)
        return real(self, image)

    monkeypatch.setattr(Classifier, "stages", counted)
    trained(recipe, frames, 5)
    assert seen[0] == 2 * 20 + 8


def test_epochs_take_variants_by_turns(frames: Frames) -> None:
    recipe = recipe_of("phases.frozen.variants=2")
    network = network_of(recipe)
    stage = image_stage(network, recipe, 0, 5, frames, CPU)
    network.eval()

    def inputs(epoch: int) -> dict[int, torch.Tensor]:
        return {
            int(place): features
            for batch in stage.batches(epoch)
            for place, features in zip(batch.sample, batch.inputs[0], strict=True)
        }

    first, second, third = (inputs(epoch) for epoch in range(3))
    assert sorted(first) == frames.places("train").tolist()
    assert all(torch.equal(first[place], third[place]) for place in first)
    assert not any(torch.equal(first[place], second[place]) for place in first)


def test_a_resumed_phase_ends_with_the_same_weights(frames: Frames, tmp_path: Path) -> None:
    recipe = recipe_of("phases.frozen.variants=2")
    _, alone = trained(recipe, frames, 4)
    trained(recipe, frames, 2, tmp_path)
    state = PhaseState.load(tmp_path / "0-frozen.ckpt")
    state.finished = False
    state.save(tmp_path / "0-frozen.ckpt")
    _, resumed = trained(recipe, frames, 4, tmp_path)
    assert all(torch.equal(alone[name], value) for name, value in resumed.items())


@pytest.mark.parametrize(
    "changes",
    [["phases.frozen.frozen=none"], ["mixup=0.2"], ["locate=0.3"]],
)
def test_features_are_kept_only_where_they_stay(changes: list[str]) -> None:
    check(settings.apply(find("xray-binary-resnet50v2"), ["phases.frozen.variants=4"]))
    with pytest.raises(RecipeError, match=r"phases\.frozen\.variants=4"):
        check(settings.apply(find("xray-binary-resnet50v2"), ["phases.frozen.variants=4", *changes]))
