"""Training and tuning on a cluster of Ray, and training under torchrun, beside one process: the same comes out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

import drawn
from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.datasets.manifest import write_table
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.run import TrainedRun, fit

pytest.importorskip("ray", reason="Ray comes with the extra scale")

CHANGES = (
    *("model.filters=4", "preprocess.size=32", "batch_size=5", "phases.train.epochs=2"),
    *("model.dropout=0", "precision=32", "phases.train.learning_rate=0.01"),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One on this machine, to which all that asks for one is connected."""
    from pulmoscope.apps.ray.cluster import connect

    with connect("ray") as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import tests
        yield ray


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    table = drawn.table(tmp_path_factory.mktemp("films"), train=12, val=4)
    write_table(table.root / "manifest.csv", table)
    return table


@pytest.fixture(scope="module")
def alone(films: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """What one process learns."""
    return fit(recipe(), films, tmp_path_factory.mktemp("alone") / "run", device="cpu", progress=False)


def recipe() -> Recipe:
    return settings.apply(find("xray-binary-cnn"), CHANGES)


def assert_the_same(run: Path, alone: TrainedRun) -> None:
    """Equal but for the order of float32's sums."""
    own, other = (load_file(folder / "weights.safetensors") for folder in (run, alone.folder))
    for name, value in other.items():
        assert_close(own[name], value, atol=1e-5, rtol=0)
    rows, others = (
        list(csv.DictReader((folder / "curves.csv").read_text(encoding="utf-8").splitlines()))
        for folder in (run, alone.folder)
    )
    assert len(rows) == len(others) == 2
    for name in ("train_loss", "val_loss"):
        assert [float(row[name]) for row in rows] == pytest.approx(
            [float(row[name]) for row in others], abs=1e-5
        )
    assert [row["val_accuracy"] for row in rows] == [row["val_accuracy"] for row in others]


def killed_once(fabric: Any, work: Any, marker: Path) -> None:
    """The work; the first time its first process dies when the first epoch is saved."""
    from pulmoscope.training.state import PhaseState

    if fabric.is_global_zero and not marker.exists():
        save = PhaseState.save

        def last(state: PhaseState, file: Path) -> None:
            save(state, file)
            marker.write_text(str(state.epochs), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

        PhaseState.save = last  # type: ignore[method-assign]
    work(fabric)


@pytest.mark.usefixtures("cluster")
def test_workers_of_a_cluster_learn_what_one_process_learns_though_one_is_lost(
    films: SampleTable, alone: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pulmoscope.apps.ray.train import training_on

    marker = tmp_path / "killed"
    with training_on("ray", 2) as launch:

        def dying(work: Any, device: str, precision: str) -> None:
            launch(partial(killed_once, work=work, marker=marker), device, precision)

        fit(recipe(), films, tmp_path / "run", device="cpu", launch=dying)
    assert marker.read_text(encoding="utf-8") == "1"
    assert_the_same(tmp_path / "run", alone)
    told = capsys.readouterr().err
    assert told.count("a worker was lost") == 1
    # The first epoch's line died with its process; the epoch was not done again.
    assert (told.count("train 1/2"), told.count("train 2/2")) == (0, 1)


def failing(fabric: Any) -> None:
    raise RecipeError("the loss became NaN")


@pytest.mark.usefixtures("cluster")
def test_an_error_of_a_worker_comes_out_as_its_own_and_too_many_are_refused() -> None:
    from pulmoscope.apps.ray.train import training_on

    with training_on("ray", 1) as launch, pytest.raises(RecipeError, match=r"^the loss became NaN$"):
        launch(failing, "cpu", "32")
    with (
        training_on("ray", 999) as launch,
        pytest.raises(ResourceError, match="--processes 999: the cluster has"),
    ):
        launch(failing, "cpu", "32")


def test_torchruns_processes_learn_what_one_process_learns(
    films: SampleTable, alone: TrainedRun, tmp_path: Path
) -> None:
    """The first one alone writes and tells, and an error of it ends all."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = [
        "-m",
        "pulmoscope",
        "train",
        "xray-binary-cnn",
        "--data",
        str(films.root),
        "-o",
        str(tmp_path / "run"),
    ]
    changes = [word for change in CHANGES for word in ("--set", change)]
    done = subprocess.run([*torchrun, *train, *changes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_the_same(tmp_path / "run", alone)
    assert json.loads((tmp_path / "run" / "bundle.json").read_text(encoding="utf-8"))["name"]
    assert done.stdout.count("Model: ") == done.stderr.count("train 2/2") == 1
