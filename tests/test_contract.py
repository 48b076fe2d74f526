"""What every recipe of a system can do, whatever it is made of: one suite, run by the commands that a user types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import drawn
import grades
import volumes
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.manifest import write_table
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes.published import find, named
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.settings import changed
from pulmoscope.runtime.bundle import MANIFEST, load

RUNNER = CliRunner()
SYSTEMS = tuple(named(Recipe))


def tiny(recipe: Recipe) -> list[str]:
    """Settings that make a recipe small enough for a test, as ``--set`` takes them; what it consists of stays."""
    if recipe.grades:
        return [*grades.TINY, *grades.TINY_ANOGAN]
    if recipe.slices is not None:
        return changed(volumes.recipe(), find("ct-three-level-light"))
    small = ["preprocess.size=32", "batch_size=4", "model.pretrained=false", "model.weights="]
    small += ["model.filters=4"] if recipe.model.backbone == "cnn" else ["model.backbone=mobilenetv2_035"]
    for phase in recipe.phases:
        small.append(f"phases.{phase.name}.frozen=none")
        small += [] if phase.epochs_of else [f"phases.{phase.name}.epochs=1"]
    return small


def data(recipe: Recipe, folder: Path) -> Path:
    """A data set that the recipe can learn from, with a split to test it on."""
    table: SampleTable
    if recipe.grades:
        table = grades.table(folder, splits=("train", "val", "test"), each=1)
    elif recipe.slices is not None:
        table = volumes.table(folder, train=1, val=1, test=1)
    else:
        table = drawn.table(folder, train=4, val=2, test=2, classes=recipe.classes or drawn.CLASSES)
    write_table(folder / "manifest.csv", table)
    return folder


def run(*arguments: str | Path) -> Result:
    return RUNNER.invoke(app, list(map(str, arguments)))


def done(*arguments: str | Path) -> Result:
    ended = run(*arguments)
    assert ended.exit_code == 0, (arguments, ended.output, ended.exception)
    return ended


def contents(folder: Path) -> set[str]:
    """The files of a folder, and of those in it."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*")}


def settings(changes: Sequence[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_keeps_the_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, model = find(name), tmp_path / "run"
    table = data(recipe, tmp_path / "data")
    done("recipes", "show", name)
    train = ["train", name, "--data", table, "-o", model, "--device", "cpu", *settings(tiny(recipe))]
    done(*train)
    made = load(model).sha256
    assert run(*train).exit_code != 0  # a run is not overwritten unasked
    before = contents(model)
    done(*train, "--resume")
    assert load(model).sha256 == made  # and a finished one stays
    assert contents(model) == before

    done("models", "show", model)
    done("models", "check", model)
    scored = tmp_path / "scored"
    done("evaluate", model, "--data", table, "--split", "test", "-o", scored, "--bootstrap", "0")
    done("models", "record", model, "--metrics", scored / "metrics.json", "--as", "test")
    assert load(model).metrics["test"]["role"] == "internal"

    monkeypatch.setattr("pulmoscope.pipeline.calibrate.LEAST", 2)
    calibrated = tmp_path / "calibrated"
    done("models", "calibrate", model, "--data", table, "--split", "test", "-o", calibrated)
    assert load(calibrated).files == load(model).files
    again = tmp_path / "again"
    done("evaluate", calibrated, "--data", table, "--split", "test", "-o", again, "--bootstrap", "0")
    done("models", "record", calibrated, "--metrics", again / "metrics.json", "--as", "test")
    assert load(calibrated).metrics["test"]["role"] == "calibration"  # it is no new data any more

    audited = tmp_path / "audit"
    done("audit", model, "--data", table, "--split", "test", "-o", audited, "--bootstrap", "0")
    parts = json.loads((audited / "audit.json").read_text(encoding="utf-8"))["parts"]
    assert {"hospitals", "erasure", "robustness", "calibration", "groups", "duplicates"} <= set(parts)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_setting_that_does_nothing_or_is_none_is_refused_before_data_are_read(
    name: str, tmp_path: Path
) -> None:
    nothing = {"drop": "CT-4", "positive": "CT-1"}  # in recipes of images, in those of studies
    idle = next(f"{setting}={value}" for setting, value in nothing.items() if setting in find(name).idle)
    for change in ("phases.none.epochs=3", "seed=early", "oracle=1", idle):
        ended = run("train", name, "--data", tmp_path / "none", "-o", tmp_path / "run", "--set", change)
        assert isinstance(ended.exception, RecipeError)
        assert not (tmp_path / "run" / MANIFEST).exists()
