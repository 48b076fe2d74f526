"""A search on a cluster of Ray: killed, it goes on, and finds the grid's best point in half of its epochs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import drawn
from pulmoscope.core.errors import ResourceError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.tune.plan import Search
from pulmoscope.training.tune.search import tune

ray = pytest.importorskip("ray", reason="Ray comes with the extra scale")

EPOCHS = 27
ASHA = Search(pruner="asha")

KILLED_IN_THE_FOURTH_TRIAL = """
import os, signal, sys
from pathlib import Path
import test_apps_ray_tune as own
from pulmoscope.apps.ray.tune import trials_on

folder = Path(sys.argv[1])
with trials_on("ray", "cpu", folder / "asha") as (spread, _):

    def until_fourth(work, jobs, processes):
        def cut():
            for number, job in enumerate(jobs, start=1):
                if number == 4:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield job
        return spread(work, cut(), processes)

    own.search(folder, "asha", own.ASHA, spread=until_fourth, jobs=1)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its address; it is on this machine."""
    from pulmoscope.apps.ray.cluster import connect

    with connect("ray"):
        yield ray.get_runtime_context().gcs_address


def recipe() -> Recipe:
    """A head on features of a backbone that stays as it is, so that an epoch takes milliseconds."""
    small = ["preprocess.size=32", "preprocess.channels=1", "batch_size=8", "model.backbone=cnn"]
    grid = {
        "phases.frozen.learning_rate": (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1),
        "model.dropout": (0.0, 0.3, 0.5),
    }
    changed = settings.apply(find("xray-binary-resnet50v2"), [*small, "precision=32", "phases.0.patience=0"])
    return replace(changed, grid=grid)


def table(folder: Path) -> SampleTable:
    return drawn.table(folder / "drawn", train=24, val=24, classes=("COVID", "Normal"))


def search(folder: Path, name: str, how: Search, **options: Any) -> list[dict[str, str]]:
    """A search's table, best first."""
    tune(recipe(), table(folder), folder / name, search=how, epochs=EPOCHS, progress=False, **options)
    return list(csv.DictReader((folder / name / "table.csv").read_text(encoding="utf-8").splitlines()))


def here(work: Any, jobs: Iterable[Any], processes: int) -> Iterator[Any]:
    """In this process, which has torch already."""
    return ((job, work(job)) for job in jobs)


def test_a_killed_driver_goes_on_and_asha_finds_the_grids_best_in_half_of_its_epochs(
    cluster: str, tmp_path: Path
) -> None:
    from pulmoscope.apps.ray.tune import trials_on

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_THE_FOURTH_TRIAL, str(tmp_path)],
        cwd=Path(__file__).parent,
        env={**os.environ, "RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    journal = (tmp_path / "asha" / "trials.log").read_bytes()

    with trials_on("ray", "cpu", tmp_path / "asha") as (spread, at_a_time):
        assert at_a_time == (os.cpu_count() or 1)
        rows = search(tmp_path, "asha", ASHA, spread=spread, jobs=1)
    assert (
        (tmp_path / "asha" / "trials.log").read_bytes().startswith(journal)
    )  # what was done was not done again
    whole = search(tmp_path, "grid", Search(), spread=here)

    assert len(rows) == len(whole) == 18
    chosen = ("phases.frozen.learning_rate", "model.dropout", "val_accuracy", "val_loss")
    assert [rows[0][name] for name in chosen] == [whole[0][name] for name in chosen]
    epochs, all_epochs = (sum(int(row["epochs"]) for row in found) for found in (rows, whole))
    assert all_epochs == 18 * EPOCHS
    assert 2 * epochs <= all_epochs
    assert json.loads((tmp_path / "asha" / "tune.json").read_text(encoding="utf-8"))["pruner"] == "asha"


@pytest.mark.usefixtures("cluster")
def test_a_node_that_does_not_see_the_folder_is_named(tmp_path: Path) -> None:
    from pulmoscope.apps.ray.tune import trials_on

    gone = tmp_path / "gone"
    with (
        trials_on("ray", "cpu", gone) as (spread, _),
        pytest.raises(ResourceError, match="does not see") as told,
    ):
        list(spread(str, [1], 1))
    assert str(gone) in str(told.value)
