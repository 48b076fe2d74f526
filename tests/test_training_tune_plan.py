"""What is searched, and which recipes can be: nothing is trained here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from typer.testing import CliRunner

from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Named
from pulmoscope.recipes.rules import check
from pulmoscope.training.tune.plan import (
    TRIALS,
    Search,
    as_settings,
    plan_of,
    tunable,
)

LISTED = [line.split()[0] for line in CliRunner().invoke(app, ["recipes", "list"]).stdout.splitlines()]


def test_the_published_grids_are_whole() -> None:
    cnn, transfer = (plan_of(find(name), Search()) for name in ("xray-binary-cnn", "xray-binary-resnet50v2"))
    for plan, size in ((cnn, 3 * 3 * 3 * 2), (transfer, 3 * 3 * 3)):
        assert len({tuple(point.values()) for point in plan.points()}) == plan.trials == size


def test_the_last_setting_changes_fastest() -> None:
    recipe = find("xray-binary-cnn")
    point = plan_of(recipe, Search()).points()[1]
    assert point == {
        "model.filters": 8,
        "model.dropout": 0.4,
        "phases.train.learning_rate": 1e-3,
        "phases.train.optimizer": "sgd",
    }
    changed = settings.apply(recipe, as_settings(point))
    assert (changed.model.filters, changed.model.dropout) == (8, 0.4)
    assert (changed.phases[0].learning_rate, changed.phases[0].optimizer) == (1e-3, "sgd")


@pytest.mark.parametrize("name", LISTED)
def test_every_recipe_is_searched_or_refused_for_a_reason_that_lies_in_its_data(name: str) -> None:
    measured = ("xray-view", "xray-severity", "xray-severity-densenet121")
    refused = {
        **dict.fromkeys(measured, "no images are left to compare settings by"),
        "outcome-clinical": "it compares its settings by itself",
    }
    if name in refused:
        with pytest.raises(RecipeError, match=refused[name]):
            tunable(find(name, Named))
        return
    recipe = tunable(find(name, Named))
    points = plan_of(recipe.shortened(None), Search()).points()
    assert len(points) >= 4
    for point in points:  # as `train --set` takes them
        check(settings.apply(recipe, as_settings(point)))


def test_all_recipes_are_listed() -> None:
    assert {"ct-three-level", "ct-three-level-light", "ct-severity-resnet18", "xray-lungs"} < {*LISTED}
    assert len(LISTED) == 19


def test_only_phases_that_hold_val_out_are_tried() -> None:
    short = find("xray-binary-resnet50v2").shortened(7)
    assert [(phase.name, phase.epochs) for phase in short.phases] == [("frozen", 7)]


def test_a_limit_of_epochs_only_shortens() -> None:
    assert find("xray-binary-cnn").shortened(1000).phases[0].epochs == 60
    levels = find("ct-three-level-light").shortened(2)
    assert [phase.epochs for phase in levels.phases] == [2, 1, 2, 2]
    assert find("ct-severity-resnet18").shortened(3).phases[0].epochs == 3


def test_ranges_take_the_place_of_the_grids_values() -> None:
    ranges = ("model.filters=4:32:log", "phases.0.learning_rate=1e-4:0.1:log", "label_smoothing=0:0.2")
    plan = plan_of(find("xray-binary-cnn"), Search("tpe", 7, ranges))
    assert plan.trials == 7
    assert plan.space == {
        "model.filters": IntDistribution(4, 32, log=True),
        "model.dropout": CategoricalDistribution((0.4, 0.3, 0.2)),
        "phases.train.learning_rate": CategoricalDistribution((1e-3, 1e-4, 1e-5)),
        "phases.train.optimizer": CategoricalDistribution(("adam", "sgd")),
        "phases.0.learning_rate": FloatDistribution(1e-4, 0.1, log=True),
        "label_smoothing": FloatDistribution(0.0, 0.2),
    }
    assert plan_of(find("xray-binary-cnn"), Search("tpe")).trials == TRIALS


@pytest.mark.parametrize(
    "text",
    [
        *("batch_size", "batch_size=4", "batch_size=4:8:linear", "batch_size=8:4", "batch_size=4:4"),
        *("batch_size=4:8.5", "batchsize=4:8", "batch_size=0:8", "mixup=0:1:log", "mixup=0:11", "mixup=a:b"),
        *("class_weights=0:1", "precision=32:bf16", "phases.train.learning_rate=0.1:inf"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        plan_of(find("xray-binary-cnn"), Search("tpe", ranges=(text,)))


def test_what_cannot_be_compared_is_refused() -> None:
    recipe = find("xray-binary-cnn")
    with pytest.raises(RecipeError):
        plan_of(replace(recipe, grid={}), Search())
    with pytest.raises(RecipeError):
        settings.apply(recipe, ["phases.0.train_on=train,val"]).shortened(None)
    for search in (Search(trials=3), Search(ranges=("mixup=0:1",))):
        with pytest.raises(RecipeError):
            plan_of(recipe, search)


@pytest.mark.parametrize("name", ["ct-severity-resnet18", "xray-lungs"])
def test_where_no_epoch_has_a_figure_nothing_is_pruned(name: str) -> None:
    with pytest.raises(RecipeError, match="no epoch has a figure"):
        plan_of(tunable(find(name, Named)), Search(pruner="median"))
