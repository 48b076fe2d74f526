"""The table of light models: what is complete is not done again, and what is missing is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drawn
import light_models
import light_speed
from bundles import tiny_bundle
from light_table import Plan, Table, numbers_of
from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes.published import find
from pulmoscope.training.state import begin

SPEED = {"size_mib": 4.25, "p50_ms": 2.0, "images_per_s": 421.0, "cpu_ms": 3.0}


def plan(**changes: Any) -> Plan:
    usual = {
        "weights": None,
        "architectures": ("MobileNetV2", "ResNet18"),
        "epochs": 12,
        "left_out_epochs": 6,
    }
    return Plan(**{**usual, "short": 2, "images": 0, **changes})


def test_what_is_missing_is_not_run(tmp_path: Path) -> None:
    table = Table(plan(), tmp_path)
    (tmp_path / "speed.json").write_text(json.dumps({"MobileNetV2, fp32": SPEED}), encoding="utf-8")
    done = table.run("MobileNetV2", "pruned", "shenzhen")
    done.mkdir(parents=True)
    figure = {"value": 0.9, "low": 0.85, "high": 0.95, "images": 210}
    (done / "figures.json").write_text(json.dumps({"fp32": figure}), encoding="utf-8")

    table.write()

    rows = {
        (row["architecture"], row["variant"]): row
        for row in json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
    }
    assert len(rows) == 10
    assert rows["MobileNetV2", "fp32"]["speed"] == rows["MobileNetV2", "distilled"]["speed"] == SPEED
    assert rows["MobileNetV2", "int8"]["speed"] is None
    assert rows["MobileNetV2", "pruned"]["auroc"] == {
        "inside": None,
        "siim_covid19": None,
        "shenzhen": figure,
    }
    assert rows["MobileNetV2", "pruned + int8"]["auroc"]["shenzhen"] is None
    assert rows["ResNet18", "fp32"]["weights"] == "from scratch"
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    assert "0.900 (0.850–0.950), 210" in lines[4]
    assert lines[4].count("not run") == 6  # four of speed, two hospitals


def test_weights_at_hand_are_begun_with(tmp_path: Path) -> None:
    file = tmp_path / "mobilenetv2_100_imagenet.safetensors"
    file.touch()
    with_weights = plan(weights=tmp_path)

    recipe = with_weights.recipe("MobileNetV2", "fp32", "inside")
    assert (recipe.model.weights, recipe.phases[0].frozen) == (str(file), "early")
    pruned = with_weights.recipe("MobileNetV2", "pruned", "siim_covid19", prune="0.5")
    assert (pruned.light.prune, pruned.phases[0].frozen, pruned.phases[0].epochs) == (0.5, "none", 6)
    assert (pruned.left_out, pruned.locate) == (("siim_covid19",), 0)
    scratch = with_weights.recipe("ResNet18", "fp32", "inside")
    assert (scratch.model.pretrained, scratch.phases[0].frozen, scratch.phases[0].epochs) == (
        False,
        "none",
        2,
    )


def test_a_network_that_is_trained_is_measured_once(tmp_path: Path) -> None:
    films = drawn.table(tmp_path / "films", train=2, val=1, test=3)
    lines = [f"{s.file},{s.label},{s.split},{s.patient},{s.source}" for s in films]
    text = "\n".join(["file,label,split,patient,source", *lines, ""])
    (tmp_path / "films" / "manifest.csv").write_text(text, encoding="utf-8")
    table = Table(plan(), tmp_path / "out")
    run = table.run("MobileNetV2", "distilled", "inside")
    recipe = find("xray-covid")
    classes = ("COVID", "Normal", "Other pneumonia", "Tuberculosis")
    tiny_bundle(run, classes, preprocess=recipe.preprocess)

    training = light_models.Training(table, [tmp_path / "films"])
    training.cell("MobileNetV2", "distilled", "inside")

    figures = json.loads((run / "figures.json").read_text(encoding="utf-8"))
    assert figures["fp32"]["images"] == 12
    assert 0 <= figures["fp32"]["low"] <= figures["fp32"]["value"] <= figures["fp32"]["high"] <= 1
    shutil.rmtree(tmp_path / "out" / "frames")
    for film in (tmp_path / "films").glob("*.png"):
        film.unlink()
    training.cell("MobileNetV2", "distilled", "inside")  # would need the images
    assert json.loads((run / "figures.json").read_text(encoding="utf-8")) == figures


def test_another_plan_needs_another_folder(tmp_path: Path) -> None:
    numbers = numbers_of(plan())
    begin(tmp_path / "plan.json", numbers)
    begin(tmp_path / "plan.json", numbers_of(plan(architectures=("ResNet50",))))
    with pytest.raises(RecipeError, match="epochs"):
        begin(tmp_path / "plan.json", numbers_of(plan(epochs=3)))


def test_sizes_and_speeds_are_of_the_file(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    speed = light_speed.measured({"tiny": tmp_path / "model.onnx"}, rounds=1, seconds=0.01)["tiny"]

    assert speed.size_mib * 2**20 == (bundle.folder / "model.onnx").stat().st_size
    assert min(speed.p50_ms, speed.images_per_s, speed.cpu_ms) > 0
    assert np.isfinite(speed.cpu_ms)
