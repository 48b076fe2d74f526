"""``pulmoscope audit --retrain`` as a user types it, on drawn radiographs of two hospitals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import drawn
from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.runtime.bundle import load

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "audit.schema.json"
SHORT = (
    *("--set", "model.filters=2", "--set", "preprocess.size=32", "--set", "batch_size=8"),
    *("--set", "phases.train.epochs=1", "--device", "cpu"),
)


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(9)
    lines = ["file,label,split,patient,source"]
    for hospital in ("east", "west"):
        for label in ("COVID", "Normal"):
            for split, count in (("train", 8), ("val", 3), ("test", 10)):
                for number in range(count):
                    file = f"{hospital}-{label}-{split}-{number}.png"
                    grey = np.rint(drawn.film(label, rng, 64) * 255).astype(np.uint8)
                    assert cv2.imwrite(str(root / file), grey)
                    lines.append(f"{file},{label},{split},{file},{hospital}")
    (root / "manifest.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "model"
    ended = run("train", "xray-binary-cnn", "--data", data, "-o", out, *SHORT)
    assert ended.exit_code == 0, ended.output
    return out


def test_what_needs_training_is_trained_and_shown(data: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("audit", model, "--data", data, "-o", tmp_path, "--bootstrap", "10", "--device", "cpu")
    ended = run(*arguments, "--retrain")
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(found))
    part = found["parts"]["hospitals"]
    record = part["left_out"]["--retrain"]
    assert record["images"] == 2 * 2 * 21
    assert list(record["hospitals"]) == ["east", "west"]
    without = load(tmp_path / "retrained" / "without-east")
    assert set(without.training_data["classes_by_hospital"]) == {"west"}
    recipe = load(model).recipe
    again = load(tmp_path / "retrained" / f"seed-{recipe['seed'] + 1}")
    assert again.recipe == {**recipe, "seed": recipe["seed"] + 1}
    assert 0 <= part["reproducibility"]["same_answer"]["value"] <= 1
    levels = {verdict["code"]: verdict["level"] for verdict in part["verdicts"]}
    assert levels["left-out"] != "none"
    assert levels["reproducibility"] != "none"
    # What was trained is taken as it is the second time.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "retrained").rglob("*.safetensors")}
    assert run(*arguments, "--retrain", "--force").exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    # The bundle remembers, and an audit without training shows it.
    assert (
        run("models", "record", model, "--metrics", tmp_path / "audit.json", "--as", "audit").exit_code == 0
    )
    small = ("--split", "val", "--bootstrap", "0")
    assert run("audit", model, "--data", data, "-o", tmp_path / "later", *small).exit_code == 0
    later = json.loads((tmp_path / "later" / "audit.json").read_text(encoding="utf-8"))
    assert (
        later["parts"]["hospitals"]["reproducibility"]["same_answer"]["value"]
        == part["reproducibility"]["same_answer"]["value"]
    )


def test_nothing_is_trained_for_what_makes_no_sense(data: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    arguments = ("audit", bundle.folder, "--data", data, "-o", tmp_path / "out")
    for changes, wrong in (
        (("--set", "batch_size=8"), "--retrain"),
        (("--retrain",), "recipe"),
    ):
        ended = run(*arguments, *changes)
        assert isinstance(ended.exception, RecipeError)
        assert wrong in str(ended.exception)
    assert not (tmp_path / "out").exists()


def test_weights_to_begin_with_must_be_there(data: Path, model: Path, tmp_path: Path) -> None:
    made = load(model)
    weights = {**made.recipe["model"], "weights": "gone.safetensors"}
    changed = replace(made, recipe={**made.recipe, "model": weights}).save()
    try:
        ended = run("audit", changed.folder, "--data", data, "-o", tmp_path / "out", "--retrain")
    finally:
        made.save()
    assert isinstance(ended.exception, RecipeError)
    assert "model.weights" in str(ended.exception)


def test_results_are_not_overwritten_unasked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{}", encoding="utf-8")
    ended = run("audit", "xray-covid", "--data", data, "-o", tmp_path)
    assert isinstance(ended.exception, OutputExistsError)
