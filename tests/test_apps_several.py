"""Commands that are given several data sets, as a user types them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import drawn
from bundles import quadrants, tiny_bundle
from pulmoscope.apps.cli import main
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets import SampleTable, load, manifest
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.runtime.bundle import load as load_bundle
from pulmoscope.training.tune import search

SHORT = [
    *("--set", "model.filters=4", "--set", "preprocess.size=32", "--set", "batch_size=8"),
    *("--set", "phases.train.epochs=1", "--set", "classes=Normal,COVID", "--device", "cpu"),
    *("--set", "labels.Typical=COVID"),
]


def invoke(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """``--data`` twice: films of the north, of which some are the south's; and the south's, in other words."""
    root = tmp_path_factory.mktemp("data")
    for name, words in (("north", {}), ("south", {"COVID": "Typical", "Viral Pneumonia": "Flu"})):
        classes = ("COVID", "Normal") if name == "north" else ("COVID", "Normal", "Viral Pneumonia")
        seed = 3 if name == "north" else 4
        table = drawn.table(root / name, train=6, val=3, test=1, classes=classes, seed=seed)
        rows = [
            replace(own, label=words.get(own.label, own.label), source=name, patient=f"{name} {number}")
            for number, own in enumerate(table)
        ]
        manifest.write_table(root / name / "manifest.csv", table.with_samples(rows))
    (root / "south" / "north_films.csv").write_text(
        "file,patient,appearance\nnorth/COVID-train-0.png,south 100,Typical\n", encoding="utf-8"
    )
    return ["--data", root / "north", "--data", root / "south"]


@pytest.fixture(scope="module")
def trained(hospitals: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, invoke("train", "xray-binary-cnn", *hospitals, "-o", run, *SHORT)


def test_a_model_learns_from_both(trained: tuple[Path, Result]) -> None:
    data = load_bundle(trained[0]).training_data
    assert data["counts"] == {"train": {"Normal": 12, "COVID": 12}, "val": {"Normal": 6, "COVID": 6}}
    # A film that the south knows again is the south's, in whatever folder it lies.
    assert data["classes_by_hospital"] == {
        "north": {"COVID": 8, "Normal": 9},
        "south": {"COVID": 10, "Normal": 9},
    }
    assert data["classes_by_source"]["north"] == {"COVID": 9, "Normal": 9}


def test_labels_that_stand_for_no_class_are_told(trained: tuple[Path, Result]) -> None:
    lines = [line for line in trained[1].stderr.splitlines() if "stand for no class" in line]
    assert len(lines) == 1
    assert lines[0].startswith("pulmoscope: ")
    assert lines[0].endswith("labels that stand for no class are left out: Flu 10")


def test_the_images_of_a_run_are_a_data_set(trained: tuple[Path, Result], tmp_path: Path) -> None:
    run, _ = trained
    kept = load(run / "images.csv")
    assert len(kept.split("train", "val")) == 36
    assert set(kept.classes) == {"COVID", "Normal"}
    assert {own.hospital for own in kept} == {"north", "south"}
    known_again = [own for own in kept if own.file.endswith("north/COVID-train-0.png")]
    assert [(own.hospital, own.patient, own.source) for own in known_again] == [
        ("south", "south 100", "north")
    ]
    again = tmp_path / "again"
    invoke("train", "xray-binary-cnn", "--data", run / "images.csv", "-o", again, *SHORT)
    weights = [(own / "weights.safetensors").read_bytes() for own in (run, again)]
    assert weights[0] == weights[1]


def test_a_hospital_left_out_is_left_out_of_every_folder(hospitals: list[str | Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    invoke("train", "xray-binary-cnn", *hospitals, "-o", run, *SHORT, "--leave-out", "south")
    data = load_bundle(run).training_data
    assert data["classes_by_hospital"] == {"north": {"COVID": 8, "Normal": 9}}
    assert load_bundle(run).recipe["left_out"] == ["south"]
    assert {own.hospital for own in load(run / "images.csv")} == {"north"}


def test_a_hospital_that_is_not_there_gives_one_line(
    hospitals: list[str | Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "xray-binary-cnn", *hospitals, "-o", tmp_path / "run", *SHORT]
    arguments = [*command, "--leave-out", "north", "--leave-out", "Atlantis"]
    monkeypatch.setattr(sys, "argv", ["pulmoscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "pulmoscope: --leave-out Atlantis: must be a hospital of the data (found: north, south)"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["xray-lungs", "xray-view"])
def test_recipes_that_know_no_hospitals_leave_none_out(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{recipe}: --leave-out can't be given"):
        invoke("train", recipe, "--data", tmp_path, "-o", tmp_path / "run", "--leave-out", "south")


def test_a_grid_is_tried_on_both(
    hospitals: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[SampleTable] = []

    def tried(recipe: object, table: SampleTable, out: Path, **_: object) -> dict[str, Any]:
        given.append(table)
        return {"trial": 1, "val_accuracy": 1.0, "settings": {}}

    monkeypatch.setattr(search, "tune", tried)
    words = ["--set", "classes=Normal,COVID", "--set", "labels.Typical=COVID"]
    done = invoke("tune", "xray-binary-cnn", *hospitals, "-o", tmp_path, *words)
    assert "stand for no class are left out: Flu 10" in done.stderr
    (table,) = given
    assert {own.source for own in table} == {"north", "south"}
    assert {"COVID", "Normal", "Typical", "Flu"} == set(table.classes)  # tuning maps them itself


def quadrant_images(root: Path, name: str, disease: str, count: int) -> Path:
    """Images that the tiny model reads rightly, half of them of a disease, half normal; one in four to learn from."""
    (root / name).mkdir()
    lines = ["file,label,split,patient,source"]
    for number in range(count):
        levels = (0.4 + 0.005 * number, 0.2) if number % 2 else (0.2, 0.4 + 0.005 * number)
        image = np.rint(quadrants(levels, 96) * 255).astype(np.uint8)
        image[0, 0] = len(name) + ord(name[0])  # no two data sets share a file
        assert cv2.imwrite(str(root / name / f"{number}.png"), image)
        split = "val" if number % 4 == 3 else "test"
        lines.append(f"{number}.png,{disease if number % 2 else 'Normal'},{split},{name} {number},{name}")
    (root / name / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / name


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A model, two data sets of which one has words of its own, and a table of those words."""
    root = tmp_path_factory.mktemp("judged")
    east, west = quadrant_images(root, "east", "COVID", 40), quadrant_images(root, "west", "Typical", 40)
    (root / "labels.csv").write_text("label,class\nTypical,COVID\n", encoding="utf-8")
    model = tiny_bundle(root / "model").folder
    return [model, "--data", east, "--data", west, "--labels", root / "labels.csv"]


def test_a_model_is_evaluated_on_both(judged: list[str | Path], tmp_path: Path) -> None:
    invoke("evaluate", *judged, "-o", tmp_path / "mapped", "--bootstrap", "0")
    found = json.loads((tmp_path / "mapped" / "metrics.json").read_text(encoding="utf-8"))
    assert found["data"]["labels"] == {"COVID": 20, "Normal": 40}
    assert found["data"]["sources"] == {"east": 30, "west": 30}
    assert found["overall"]["scores"]["accuracy"]["value"] == 1
    rows = (tmp_path / "mapped" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert {row.split("/")[0] for row in rows[1:]} == {"east", "west"}

    invoke("evaluate", *judged[:-2], "-o", tmp_path / "bare", "--bootstrap", "0")
    found = json.loads((tmp_path / "bare" / "metrics.json").read_text(encoding="utf-8"))
    assert found["data"]["labels"] == {"COVID": 10, "Normal": 40, "Typical": 10}
    assert [row["label"] for row in found["outside_classes"]] == ["Typical"]


def test_without_a_table_labels_are_those_of_the_models_recipe(
    judged: list[str | Path], tmp_path: Path
) -> None:
    model = replace(tiny_bundle(tmp_path / "model"), recipe={"labels": {"Typical": "COVID"}}).save()
    invoke("evaluate", model.folder, *judged[1:-2], "-o", tmp_path / "out", "--bootstrap", "0")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert found["data"]["labels"] == {"COVID": 20, "Normal": 40}


def test_a_model_is_audited_on_both(judged: list[str | Path], tmp_path: Path) -> None:
    invoke("audit", *judged, "-o", tmp_path, "--bootstrap", "0", "--split", "val")
    found = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert found["data"]["labels"] == {"COVID": 20}
    assert found["data"]["sources"] == {"east": 10, "west": 10}


def test_a_model_is_calibrated_on_both(judged: list[str | Path], tmp_path: Path) -> None:
    bare = tiny_bundle(tmp_path / "own")
    recipe = settings.to_plain(settings.apply(find("xray-binary-cnn"), ["classes=COVID,Normal"]))
    own = replace(bare, recipe=recipe, thresholds=replace(bare.thresholds, by_class={"COVID": 0.9})).save()
    done = invoke("models", "calibrate", own.folder, *judged[1:], "-o", tmp_path / "new", "--split", "all")
    made = load_bundle(tmp_path / "new")
    assert made.calibration.fitted_on == "all of east, west, 80 images"
    assert made.thresholds.by_class == {"COVID": 0.7, "Normal": 0.7}  # all are right, in both hospitals
    assert "  COVID         0.900 -> 0.700" in done.stdout
