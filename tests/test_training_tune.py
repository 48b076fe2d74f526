from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import pytest

import drawn
from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.training import settings
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.recipes import find
from pulmoscope.training.tune import tune

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"

# No network has -1 filters: half of the trials fail.
GRID = {"model.filters": (4, -1), "phases.train.learning_rate": (1e-2, 1e-3)}

KILLED_AFTER_TWO_TRIALS = """
import os, signal, sys
from pathlib import Path
import test_training_tune as own
from pulmoscope.training import tune as module

def until_two(work, jobs, processes, run_jobs=module.run_jobs):
    for number, answer in enumerate(run_jobs(work, jobs, processes), start=1):
        yield answer
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    module.run_jobs = until_two
    folder = Path(sys.argv[1])
    module.tune(own.recipe(), own.table(folder), folder / "out", jobs=1, progress=False)
"""


def recipe() -> Recipe:
    small = ["preprocess.size=32", "phases.0.epochs=2", "batch_size=8", "precision=32"]
    return replace(settings.apply(find("xray-binary-cnn"), small), grid=GRID)


def table(folder: Path) -> SampleTable:
    return drawn.table(folder / "drawn", train=6, val=4, classes=("COVID", "Normal"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was killed after two of its four trials."""
    folder = tmp_path_factory.mktemp("tune")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER_TWO_TRIALS, str(folder)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder


def test_a_killed_search_goes_on_with_the_trials_that_are_missing(folder: Path) -> None:
    out = folder / "out"
    before = {path.name: path.read_bytes() for path in (out / "trials").glob("*.json")}
    assert set(before) == {"001.json", "002.json"}
    assert not (out / "best.json").exists()

    best = tune(recipe(), table(folder), out, jobs=1, progress=False)

    after = {path.name: path.read_bytes() for path in (out / "trials").iterdir()}
    assert set(after) == {"001.json", "002.json", "003.json", "004.json"}
    assert {name: after[name] for name in before} == before
    assert not (out / "cache").exists()

    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    assert {row["model.filters"] for row in rows[:2]} == {"4"}
    assert [row["trial"] for row in rows[2:]] == ["3", "4"]
    assert all(row["error"] for row in rows[2:])
    scores = [(-float(row["val_accuracy"]), float(row["val_loss"])) for row in rows[:2]]
    assert scores == sorted(scores)

    written = json.loads((out / "best.json").read_text())
    assert (written["trials"], written["failed"]) == (4, 2)
    assert str(written["trial"]) == rows[0]["trial"] == str(best["trial"])
    chosen = settings.apply(recipe(), written["set"])
    assert chosen.phases[0].learning_rate == float(rows[0]["phases.train.learning_rate"])
    found = {
        "tune": [out / "tune.json"],
        "best": [out / "best.json"],
        "trial": (out / "trials").glob("*.json"),
    }
    for name, files in found.items():
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        for file in files:
            jsonschema.Draft202012Validator(schema).validate(json.loads(file.read_text()))
    picture = cv2.imread(str(out / "plot.png"))
    assert picture is not None
    assert picture.std() > 1
    assert (out / "table.md").read_text().count("\n| ") == 4 + 2


def test_the_same_call_again_trains_nothing(folder: Path) -> None:
    out = folder / "out"
    before = {path: path.stat().st_mtime_ns for path in (out / "trials").iterdir()}
    tune(recipe(), table(folder), out, jobs=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in (out / "trials").iterdir()} == before


@pytest.mark.parametrize("change", ["phases.0.epochs=3", "seed=1", "model.hidden=3"])
def test_another_search_in_the_same_folder_is_refused(folder: Path, change: str) -> None:
    with pytest.raises(OutputExistsError, match=r"tune\.json"):
        tune(settings.apply(recipe(), [change]), table(folder), folder / "out", progress=False)


def test_another_search_is_refused_before_the_images_are_read(folder: Path) -> None:
    gone = replace(table(folder), root=folder / "nowhere")
    with pytest.raises(OutputExistsError, match=r"tune\.json"):
        tune(settings.apply(recipe(), ["seed=1"]), gone, folder / "out", progress=False)


def test_a_damaged_search_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text("{")
    with pytest.raises(RecipeError, match=r"tune\.json: is damaged .*--force") as told:
        tune(recipe(), table(folder), tmp_path, progress=False)
    assert "\n" not in str(told.value)


def test_features_of_a_backbone_that_learns_are_not_cached(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't be cached"):
        tune(recipe(), table(folder), tmp_path, cached_features=True, progress=False)
    assert not list(tmp_path.iterdir())
