from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import drawn
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.phantoms.xray.folder import write_phantoms
from pulmoscope.recipes.published import RECIPES
from pulmoscope.runtime.bundle import load

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


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of a small recipe, and what the command said."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, run("train", "xray-binary-cnn", "--data", films, "-o", folder, *SHORT)


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


def test_a_recipe_becomes_a_model_that_can_be_trained_once(trained: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = trained
    assert "held-out accuracy" in said
    assert said.endswith(f"Model: {folder}\n")
    for name in ("bundle.json", "model.onnx", "MODEL_CARD.md", "curves.png", "run.json"):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["classes"] == ["Normal", "COVID"]

    with pytest.raises(OutputExistsError, match=r"--resume .*--force"):  # told before the data are looked for
        run("train", "xray-binary-cnn", "--data", tmp_path / "nowhere", "-o", folder, *SHORT)


def test_resuming_a_finished_run_keeps_its_bundle_with_what_was_recorded(
    films: Path, trained: tuple[Path, str], tmp_path: Path
) -> None:
    finished, said_then = trained
    copy = shutil.copytree(finished, tmp_path / "run")
    said = said_then.replace(str(finished), str(copy))
    command = ["train", "xray-binary-cnn", "--data", films, "-o", copy, "--resume", *SHORT]
    recorded = replace(load(copy), metrics={"test": {"role": "internal"}}).save()

    assert run(*command) == said
    assert load(copy) == recorded

    (copy / "model.onnx").write_bytes(b"damaged")
    assert run(*command) == said
    assert "test" not in load(copy).metrics  # made again, from the run


@pytest.mark.parametrize(
    "options",
    [
        ["--leave-out", "nih"],
        ["--folds", "2"],
        ["--device", "cpu"],
        ["--workers", "1"],
        ["--processes", "2"],
        ["--terms", "free"],
        ["--release", "2.0"],
    ],
)
def test_the_lung_finder_takes_no_options_that_do_not_apply(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"xray-lungs: {options[0]} can't be given"):
        run("train", "xray-lungs", "--data", tmp_path / "nowhere", "-o", tmp_path / "run", *options)


@pytest.mark.parametrize(
    "options",
    [
        ["--processes", "2"],
        ["--folds", "2"],
        ["--device", "cpu"],
        ["--terms", "free"],
        ["--leave-out", "nih"],
    ],
)
def test_the_view_network_takes_no_options_that_do_not_apply(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"xray-view: {options[0]} can't be given"):
        run("train", "xray-view", "--data", tmp_path / "nowhere", "-o", tmp_path / "run", *options)


def test_the_view_network_is_listed_and_shown() -> None:
    assert "xray-view" in run("recipes", "list")
    assert "  steps=7\n" in run("recipes", "show", "xray-view", "--set", "steps=7")


def test_the_view_network_is_trained_and_tells_what_passes(tmp_path: Path) -> None:
    films = drawn.table(tmp_path / "films", train=20, val=20, test=2, classes=("Normal", "knee"))
    lines = [f"{s.file},{s.label},{s.split},{s.patient},{s.source}" for s in films]
    text = "\n".join(["file,label,split,patient,source", *lines, ""])
    (tmp_path / "films" / "manifest.csv").write_text(text, encoding="utf-8")
    short = ["steps=2", "more_steps=1", "fold_steps=1", "batch_size=2"]
    command = ["train", "xray-view", "--data", tmp_path / "films", "-o", tmp_path / "run"]
    said = run(*command, *(word for setting in short for word in ("--set", setting)))
    assert re.search(r"^knee, pelvis or shoulder, not learnt from: \d+ of 20 refused$", said, re.MULTILINE)
    assert re.search(r"^val, drawn, frontal: \d+ of 20 taken", said, re.MULTILINE)
    assert said.endswith(f"View network: {tmp_path / 'run' / 'view.onnx'}\n")
    with pytest.raises(OutputExistsError, match=r"view\.json"):
        run(*command)


@pytest.mark.parametrize("option", ["--terms", "--release"])
def test_folds_take_no_options_of_a_model(option: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--folds: gives no model"):
        run(
            "train",
            "xray-binary-cnn",
            "--data",
            tmp_path,
            "-o",
            tmp_path / "run",
            "--folds",
            "2",
            option,
            "x",
        )


def test_the_lung_finder_is_shown_and_trained(tmp_path: Path) -> None:
    assert "steps=1200\n" in run("recipes", "show", "xray-lungs")
    assert "steps=3\n" in run("recipes", "show", "xray-lungs", "--set", "steps=3")

    write_phantoms(tmp_path / "films", count=8, size=96, masks=True)
    command = ["train", "xray-lungs", "--data", tmp_path / "films", "-o", tmp_path / "run"]
    command += ["--set", "steps=1", "--set", "batch_size=2"]
    said = run(*command)
    assert "test: Dice" in said
    assert said.endswith(f"Lung finder: {tmp_path / 'run' / 'lungs.onnx'}\n")
    with pytest.raises(OutputExistsError, match=r"lungs\.json"):
        run(*command)
    assert run(*command, "--resume") == said


@pytest.mark.parametrize("recipe", ["ct-three-level", "ct-severity-resnet18"])
def test_studies_are_learnt_by_one_process(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{recipe}: --processes can't be given"):
        run("train", recipe, "--data", tmp_path / "nowhere", "-o", tmp_path / "run", "--processes", "2")


def test_hospitals_left_out_by_a_setting_and_by_the_option_add_up(films: Path, tmp_path: Path) -> None:
    rows = (films / "manifest.csv").read_text(encoding="utf-8").splitlines()
    sources = [f"{row.rpartition(',')[0]},{'abc'[at % 3]}" for at, row in enumerate(rows[1:])]
    (films / "hospitals.csv").write_text("\n".join([rows[0], *sources, ""]), encoding="utf-8")
    command = ["train", "xray-binary-cnn", "--data", films / "hospitals.csv", "-o", tmp_path / "run", *SHORT]
    run(*command, "--set", "left_out=b", "--leave-out", "a", "--leave-out", "b")
    made = load(tmp_path / "run")
    assert made.recipe["left_out"] == ["b", "a"]
    assert list(made.training_data["classes_by_hospital"]) == ["c"]


@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_hospital_that_is_not_there_is_told(command: str, films: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nhi: must be a hospital of the data"):
        run(command, "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", "--set", "left_out=nhi")


def test_folds_are_runs_of_their_own(films: Path, tmp_path: Path) -> None:
    said = run("train", "xray-binary-cnn", "--data", films, "-o", tmp_path / "run", "--folds", "2", *SHORT)
    assert "fold 2: accuracy" in said
    assert (tmp_path / "run" / "fold-2" / "run.json").is_file()
    assert len(json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["folds"]) == 2


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("setting", "says"),
    [("batchsize=3", "no setting batchsize"), ("model.dropout=2", r"dropout=2\.0: must be")],
)
def test_a_wrong_setting_is_told_before_anything_is_read(
    command: str, setting: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=says):
        run(command, "xray-binary-cnn", "--data", tmp_path / "nowhere", "-o", tmp_path, "--set", setting)


def test_recipes_of_three_levels_are_listed_and_shown() -> None:
    assert "ct-three-level-light" in run("recipes", "list")
    said = run("recipes", "show", "ct-three-level", "--set", "phases.tune.epochs=3")
    assert "Garg" in said
    assert "test_accuracy 0.8889" in said
    assert "  phases.tune.epochs=3\n" in said
    assert "  ensemble.scores=train\n" in said
    shown = [line.strip() for line in said.split("Settings:")[1].splitlines() if "=" in line]
    again = run("recipes", "show", "ct-three-level", *(part for line in shown for part in ("--set", line)))
    assert again == said.replace("rotate_deg=25\n", "rotate_deg=25.0\n")


@pytest.mark.parametrize("option", [("--processes", "3"), ("--workers", "2")])
def test_options_that_studies_do_not_know_are_refused(option: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"ct-three-level: {option[0]} can't be given"):
        run("train", "ct-three-level", "--data", tmp_path, "-o", tmp_path / "run", *option)


def test_a_table_of_labels_says_what_is_learnt(films: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label,class\nTuberculosis,COVID\n", encoding="utf-8")
    options = ["--data", films, "--labels", tmp_path / "labels.csv", "-o", tmp_path / "run", *SHORT]
    assert "labels: Tuberculosis → COVID: 14\n" in run("train", "xray-binary-cnn", *options)
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text(encoding="utf-8"))["recipe"]
    assert kept["labels"] == {"Tuberculosis": "COVID"}
    with pytest.raises(RecipeError, match="xray-lungs: --labels can't be given"):
        run("train", "xray-lungs", "--data", films, "--labels", films, "-o", tmp_path / "lungs")
