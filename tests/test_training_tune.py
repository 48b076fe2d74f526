"""Real searches, tiny ones, in processes of their own."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import pytest
import torch
from typer.testing import CliRunner

import drawn
import grades
import volumes
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.phantoms.xray.folder import write_phantoms
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find, xray_lungs
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.tune import search as module
from pulmoscope.training.tune.plan import Search
from pulmoscope.training.tune.search import tune

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"

# No network has -1 filters: half of the trials fail.
GRID = {"model.filters": (4, -1), "phases.train.learning_rate": (1e-2, 1e-3)}

KILLED_IN_THE_SECOND_TRIAL = """
import os, signal, sys
from pathlib import Path
import test_training_tune as own
from pulmoscope.training.tune import search as module

def until_second(work, jobs, processes, run_jobs=module.run_jobs):
    def cut():
        for number, job in enumerate(jobs, start=1):
            if number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield job
    return run_jobs(work, cut(), processes)

if __name__ == "__main__":
    module.run_jobs = until_second
    folder = Path(sys.argv[1])
    module.tune(own.recipe(), own.table(folder), folder / "out", jobs=1, progress=False)
"""


def recipe(*changes: str) -> Recipe:
    small = ["preprocess.size=32", "phases.0.epochs=2", "batch_size=8", "precision=32"]
    return replace(settings.apply(find("xray-binary-cnn"), [*small, *changes]), grid=GRID)


def table(folder: Path) -> SampleTable:
    return drawn.table(folder / "drawn", train=6, val=4, classes=("COVID", "Normal"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was killed in the second of its four trials."""
    folder = tmp_path_factory.mktemp("tune")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_THE_SECOND_TRIAL, str(folder)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trials run in this process, which has torch already."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(module, "run_jobs", lambda work, jobs, _: ((job, work(job)) for job in jobs))
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "table.csv").read_text().splitlines()))


def written(out: Path) -> Mapping[str, Any]:
    """The best trial; both files are as their schemas say."""
    for name in ("tune", "best"):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        content = json.loads((out / f"{name}.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(content)
    assert isinstance(content, dict)
    return content


def test_a_killed_search_goes_on_with_the_trials_that_are_missing(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder / "out", tmp_path / "out")
    assert not (out / "best.json").exists()

    best = tune(recipe(), table(folder), out, jobs=2, progress=False)

    assert {path.name for path in out.iterdir()} == {
        *("tune.json", "trials.log", "table.csv", "table.md", "plot.png", "best.json")
    }
    rows = rows_of(out)
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    assert {row["model.filters"] for row in rows[:2]} == {"4"}
    assert [row["trial"] for row in rows[2:]] == ["3", "4"]
    assert all(row["error"] for row in rows[2:])
    scores = [(-float(row["val_accuracy"]), float(row["val_loss"])) for row in rows[:2]]
    assert scores == sorted(scores)

    told = written(out)
    assert (told["trials"], told["pruned"], told["failed"]) == (4, 0, 2)
    assert str(told["trial"]) == rows[0]["trial"] == str(best["trial"])
    chosen = settings.apply(recipe(), told["set"])
    assert chosen.phases[0].learning_rate == float(rows[0]["phases.train.learning_rate"])
    picture = cv2.imread(str(out / "plot.png"))
    assert picture is not None
    assert picture.std() > 1
    assert (out / "table.md").read_text().count("\n| ") == 4 + 2

    tune(recipe(), table(folder), out, jobs=1, progress=False)  # the same call again trains nothing
    assert rows_of(out) == rows  # the seconds, too


@pytest.mark.parametrize(
    ("change", "search"),
    [
        *(("phases.0.epochs=3", Search()), ("seed=1", Search()), ("model.hidden=3", Search())),
        *(("seed=20", Search("tpe")), ("seed=20", Search(pruner="median"))),
    ],
)
def test_another_search_in_the_same_folder_is_refused(folder: Path, change: str, search: Search) -> None:
    with pytest.raises(OutputExistsError, match=r"tune\.json"):
        tune(recipe(change), table(folder), folder / "out", search=search, progress=False)


def test_another_search_is_refused_before_the_images_are_read(folder: Path) -> None:
    gone = replace(table(folder), root=folder / "nowhere")
    with pytest.raises(OutputExistsError, match=r"tune\.json"):
        tune(recipe("seed=1"), gone, folder / "out", progress=False)


def test_a_damaged_search_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text("{")
    with pytest.raises(RecipeError, match=r"tune\.json: is damaged .*--force") as told:
        tune(recipe(), table(folder), tmp_path, progress=False)
    assert "\n" not in str(told.value)


def test_features_of_a_backbone_that_learns_are_not_cached(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't be cached"):
        tune(recipe(), table(folder), tmp_path, cached_features=True, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("here")
def test_a_hopeless_trial_is_pruned(folder: Path, tmp_path: Path) -> None:
    """Five trials see the lungs; the sixth sees what lies between them, and is stopped before its last epoch."""
    tiny = recipe(
        *("phases.0.epochs=10", "phases.0.learning_rate=0.003", "model.dropout=0", "model.filters=8")
    )
    own = settings.apply(tiny, ["preprocess.region=square"])
    own = replace(own, grid={"preprocess.edge": (0.0, 0.01, 0.02, 0.03, 0.04, 0.42)})
    tune(own, table(folder), tmp_path, search=Search(pruner="median"), jobs=1, progress=False)
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == [*["done"] * 5, "pruned"]
    assert rows[-1]["preprocess.edge"] == "0.42"
    assert 1 <= int(rows[-1]["epochs"]) < 10
    assert float(rows[-1]["val_accuracy"]) < float(rows[0]["val_accuracy"])
    assert written(tmp_path)["pruned"] == 1


@pytest.mark.usefixtures("here")
def test_heads_are_tuned_on_cached_features_and_images_are_framed_anew_where_they_must(
    folder: Path, tmp_path: Path
) -> None:
    """TPE, with one job: the same trials again."""
    base = settings.apply(
        find("xray-binary-resnet50v2"),
        ["preprocess.size=32", "preprocess.channels=1", "batch_size=8", "model.backbone=cnn"],
    )
    search = Search("tpe", 4, ("phases.frozen.learning_rate=1e-4:0.1:log",), "hyperband")
    found = []
    for name in ("one", "again"):
        tune(base, table(folder), tmp_path / name, search=search, jobs=1, epochs=3, progress=False)
        found.append([{**row, "seconds": ""} for row in rows_of(tmp_path / name)])
        assert json.loads((tmp_path / name / "tune.json").read_text())["feature_variants"] == 4
    assert found[0] == found[1]
    assert len({row["phases.frozen.learning_rate"] for row in found[0]}) == 4

    sizes = replace(recipe(), grid={"preprocess.size": (32, 48)})
    tune(sizes, table(folder), tmp_path / "sizes", jobs=1, epochs=1, progress=False)
    assert {row["status"] for row in rows_of(tmp_path / "sizes")} == {"done"}
    assert json.loads((tmp_path / "sizes" / "tune.json").read_text())["feature_variants"] is None


@pytest.mark.usefixtures("here")
def test_three_levels_are_tuned_by_their_ensemble(tmp_path: Path) -> None:
    tiny = volumes.recipe("patient.votes=maxpool", "ensemble.of=maxpool")
    own = replace(tiny, grid={"phases.tune.learning_rate": (1e-4,)})
    studies = volumes.table(tmp_path / "studies", train=2)
    best = tune(own, studies, tmp_path / "out", jobs=1, progress=False)
    assert {row["status"] for row in rows_of(tmp_path / "out")} == {"done"}
    assert 0 <= best["val_accuracy"] <= 1
    assert best["epochs"] == 1 + 2 + 2 + 3  # head and tune, a classifier, the ensemble; nothing is picked
    assert best["settings"] == {"phases.tune.learning_rate": 1e-4}
    assert written(tmp_path / "out")["recipe"] == "ct-three-level-light"
    with pytest.raises(RecipeError, match="single images"):
        tune(own, studies, tmp_path / "other", cached_features=True, progress=False)


@pytest.mark.usefixtures("here")
def test_severity_is_tuned_by_the_correlation_of_patients(tmp_path: Path) -> None:
    own = replace(grades.recipe("phases.train.epochs=1"), grid={"phases.train.learning_rate": (0.03,)})
    best = tune(own, grades.table(tmp_path / "studies"), tmp_path / "out", jobs=1, progress=False)
    assert -1 <= best["val_mcc"] <= 1
    assert rows_of(tmp_path / "out")[0]["val_mcc"] == str(best["val_mcc"])
    assert {*written(tmp_path / "out")["validation"]} == {"val_mcc", "val_accuracy", "epochs"}


@pytest.mark.usefixtures("here")
def test_the_lung_finder_is_tuned_by_overlap(tmp_path: Path) -> None:
    films = write_phantoms(tmp_path / "films", count=8, size=96, masks=True)
    words = ["tune", "xray-lungs", "--data", films.root, "-o", tmp_path / "out", "--jobs", "1"]
    small = ["--sampler", "tpe", "--trials", "1", "--set", "steps=2", "--set", "batch_size=2"]
    done = CliRunner().invoke(app, [*map(str, words), *small], catch_exceptions=False)
    assert done.exit_code == 0
    told = written(tmp_path / "out")
    assert 0 < told["validation"]["val_dice"] < 1
    assert " ".join(f"--set {own}" for own in told["set"]) in done.stdout
    assert settings.apply(xray_lungs.RECIPE, told["set"]).steps == 1200


def test_studies_without_a_validation_split_are_refused(tmp_path: Path) -> None:
    studies = volumes.table(tmp_path / "studies", train=1, val=0)
    with pytest.raises(DatasetError):
        tune(volumes.recipe(), studies, tmp_path / "out", progress=False)
