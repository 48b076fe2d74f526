from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import drawn
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.training.recipes import RECIPES

SHORT = [
    *("--set", "model.filters=4", "--set", "preprocess.size=32", "--set", "batch_size=8"),
    *("--set", "phases.train.epochs=1", "--device", "cpu"),
]


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a manifest."""
    folder = tmp_path_factory.mktemp("films")
    table = drawn.table(folder, train=8, val=4, test=2, patients=2)
    lines = [f"{s.file},{s.label},{s.split},{s.patient},{s.source}" for s in table]
    (folder / "manifest.csv").write_text(
        "\n".join(["file,label,split,patient,source", *lines, ""]), encoding="utf-8"
    )
    return folder


def test_recipes_are_listed() -> None:
    names = [line.split()[0] for line in run("recipes", "list").splitlines()]
    assert set(RECIPES) <= set(names)


def test_a_recipe_is_shown_with_its_source_and_settings() -> None:
    said = run("recipes", "show", "xray-binary-resnet50v2", "--set", "model.backbone=mobilenetv2_100")
    assert "Van Bauwel" in said
    assert "Published   accuracy 0.76" in said
    assert "run on mobilenetv2_100 instead of the published resnetv2_50" in said
    assert "  phases.frozen.learning_rate=0.001\n" in said
    assert "  classes=Normal,COVID\n" in said
    assert "  batch_size: 32, 64, 128\n" in said


def test_every_setting_shown_can_be_set() -> None:
    said = run("recipes", "show", "xray-binary-resnet50v2")
    shown = [line.strip() for line in said.split("Settings:")[1].split("Grid")[0].splitlines() if "=" in line]
    assert len(shown) > 40
    again = run(
        "recipes", "show", "xray-binary-resnet50v2", *(part for line in shown for part in ("--set", line))
    )
    assert again == said


def test_a_recipe_becomes_a_model_that_can_be_trained_once(films: Path, tmp_path: Path) -> None:
    said = run("train", "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", *SHORT)
    assert "held-out accuracy" in said
    assert said.endswith(f"Model: {tmp_path / 'run'}\n")
    for name in ("bundle.json", "model.onnx", "MODEL_CARD.md", "curves.png", "run.json"):
        assert (tmp_path / "run" / name).is_file(), name
    assert json.loads((tmp_path / "run" / "bundle.json").read_text(encoding="utf-8"))["classes"] == [
        "Normal",
        "COVID",
    ]

    with pytest.raises(OutputExistsError, match="--force"):
        run("train", "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", *SHORT)
    assert (
        run("train", "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", "--resume", *SHORT) == said
    )


def test_folds_are_runs_of_their_own(films: Path, tmp_path: Path) -> None:
    said = run("train", "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", "--folds", "2", *SHORT)
    assert "fold 2: accuracy" in said
    assert (tmp_path / "run" / "fold-2" / "run.json").is_file()
    assert len(json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["folds"]) == 2


def test_a_wrong_setting_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no setting batchsize"):
        run(
            "train", "xray-binary-cnn", "--data", tmp_path / "nowhere", "-o", tmp_path, "--set", "batchsize=3"
        )
