"""The contract that every recipe keeps: it builds, explains itself as autograd would, and learns on any classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import drawn
from pulmoscope.models.classifier import build
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.frames import prepared
from pulmoscope.training.run import fit, logits_of, resolve

every_recipe = pytest.mark.parametrize("recipe", drawn.IMAGES.values(), ids=drawn.IMAGES)


def from_scratch(recipe: Recipe) -> Recipe:
    free = [f"phases.{number}.frozen=none" for number in range(len(recipe.phases))]
    return settings.apply(recipe, ["model.pretrained=false", "preprocess.size=64", *free])


@every_recipe
def test_its_network_builds_and_explains_itself_as_autograd_does(recipe: Recipe) -> None:
    torch.manual_seed(2)
    table = drawn.named(drawn.CLASSES)
    resolved = resolve(from_scratch(recipe), table)
    channels, logits = recipe.preprocess.channels, logits_of(resolved)
    network = build(resolved.model, logits, channels).eval()

    side = 80 if recipe.model.backbone == "inception_v3" else 64  # its convolutions have no padding
    images = torch.rand(2, channels, side, side)
    said, features, gradients, *_ = network.explainable(images)

    assert said.shape == (2, logits)
    assert gradients.shape == (2, logits, features.shape[1])
    maps = features.detach().requires_grad_()
    stages_before = network.pooled(images).detach()[:, : -features.shape[1]]
    again = network.head(torch.cat([stages_before, maps.mean(dim=(2, 3))], dim=1))
    torch.testing.assert_close(again, said)
    for k in range(logits):
        slope = torch.autograd.grad(again[:, k].sum(), maps, retain_graph=True)[0]
        torch.testing.assert_close(gradients[:, k], slope.mean(dim=(2, 3)))


@every_recipe
def test_it_says_where_it_is_from(recipe: Recipe) -> None:
    assert recipe.title
    assert recipe.paper
    assert recipe.deviations or recipe.paper.startswith("none: docs/")
    assert all(0 < figure < 1 for figure in recipe.published.values())


@every_recipe
@pytest.mark.parametrize("classes", [("COVID", "Normal"), ("healthy", "sick"), ("a", "b", "c")])
def test_it_works_on_any_class_list(recipe: Recipe, classes: tuple[str, ...]) -> None:
    resolved = resolve(dataclasses.replace(recipe, classes=classes), drawn.named(classes))
    assert sorted(resolved.classes) == sorted(classes)
    if "COVID" in classes:
        assert resolved.classes[1] == "COVID"
    assert logits_of(resolved) == (
        1 if recipe.model.output == "sigmoid" and len(classes) == 2 else len(classes)
    )


@pytest.mark.parametrize("name", ["xray-binary-cnn", "xray-4class-mobilenetv2", "xray-covid"])
def test_the_light_ones_learn_for_an_epoch(name: str, tmp_path: Path) -> None:
    recipe = settings.apply(
        from_scratch(find(name)),
        [
            *(f"phases.{phase.name}.epochs=1" for phase in find(name).phases),
            "preprocess.region=full",
            "model.hidden=0",
            *(["model.backbone=mobilenetv2_035"] if "cnn" not in name else []),
        ],
    )
    table = prepared(recipe, drawn.table(tmp_path / "films", train=6, val=2))

    run = fit(recipe, table, tmp_path / "run", device="cpu", progress=False)

    assert run.summary["epochs"] == len(recipe.phases)
    assert run.summary["val_loss"] > 0
    assert run.network()(torch.rand(1, recipe.preprocess.channels, 64, 64)).shape == (
        1,
        logits_of(run.recipe),
    )


def test_published_numbers_of_system_e() -> None:
    transfer = find("xray-binary-resnet50v2")
    frozen, all_data, tune = transfer.phases
    assert (frozen.frozen, frozen.patience, frozen.monitor, frozen.train_on) == (
        "backbone",
        5,
        "loss",
        ("train",),
    )
    assert (all_data.restart, all_data.epochs_of, all_data.train_on) == (True, "frozen", ("train", "val"))
    assert (tune.frozen, tune.epochs_of, tune.restart) == ("none", "frozen", False)
    assert (transfer.model.hidden, transfer.model.dropout, transfer.batch_size) == (128, 0.3, 64)
    assert transfer.augment.flip == 0
    assert not transfer.augment.shift_rows


def test_published_numbers_of_system_c() -> None:
    recipe = find("xray-4class-resnet50")
    phase = recipe.phases[0]
    assert (phase.learning_rate, phase.optimizer, phase.epochs) == (1e-5, "adam", 100)
    assert (recipe.model.hidden, recipe.model.dropout, recipe.preprocess.size) == (1024, 0.5, 128)
    network = build(dataclasses.replace(recipe.model, pretrained=False), 4, 3)
    assert sum(weight.numel() for weight in network.head.parameters()) == 2048 * 1024 + 1024 + 1024 * 4 + 4
