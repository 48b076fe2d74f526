"""A run that is killed with SIGKILL at a random moment and resumed ends with the weights of one left alone."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import tiny_bundle

# Two phases, early stopping, averaging, dropout, warm-up, weights of groups: all that has a state. Says on stdout when
# a step begins.
CHILD = """
import dataclasses, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import drawn
from pulmoscope.training.classification import Classification
from pulmoscope.training.run import fit
from pulmoscope.recipes.published import find
from pulmoscope.recipes.settings import apply

films, run, step = Path(sys.argv[1]), Path(sys.argv[2]), Classification.step

def shown(self, network, batch, done):
    print(done, flush=True)
    return step(self, network, batch, done)

Classification.step = shown
recipe = apply(
    find("xray-binary-resnet50v2"),
    ["model.backbone=cnn", "model.filters=4", "model.hidden=8", "preprocess.size=32", "batch_size=8", "average=0.9",
     "mixup=0.2", "phases.frozen.epochs=5", "phases.frozen.patience=3", "phases.fine-tune.schedule=cosine",
     "phases.frozen.frozen=none", *sys.argv[3:]],
)
table = drawn.table(films, 12, classes=("COVID", "Normal"))
table = table.with_samples(
    dataclasses.replace(own, hospital="north" if number % 3 else "south") for number, own in enumerate(table)
)
fit(recipe, table, run, device="cpu", resume=True, progress=False)
"""


def start(run: Path, *changes: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(run.with_suffix(".films")), str(run), *changes],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def steps(child: subprocess.Popen[str]) -> list[str]:
    with child:
        assert child.stdout is not None
        seen = list(child.stdout)
    assert child.returncode == 0
    return seen


GROUPS = ("model.output=softmax", "robust=0.5", "balance=0.5")


LIGHT = ("light.teacher=TEACHER", "model.filters=16", "phases.all-data.frozen=none")
"""With a teacher, and pruned where that can be done."""


@pytest.mark.parametrize("changes", [LIGHT, GROUPS], ids=["light", "groups"])
def test_killed_run_ends_like_one_left_alone(tmp_path: Path, changes: tuple[str, ...]) -> None:
    teacher = tiny_bundle(tmp_path / "teacher", ("Normal", "COVID"))
    changes = tuple(change.replace("TEACHER", str(teacher.folder)) for change in changes)
    if "light.teacher" in changes[0] and importlib.util.find_spec("torch_pruning"):
        changes = (*changes, "light.prune=0.5")
    alone = start(tmp_path / "alone", *changes)
    moment = random.Random(5).randrange(3, 18)  # the shortest run has 18 steps: 4 epochs, and twice 1, of 3
    with start(tmp_path / "killed", *changes) as killed:
        assert killed.stdout is not None
        for _ in range(moment):
            assert killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "run.json").exists()

    rest = steps(start(tmp_path / "killed", *changes))

    assert 0 < len(rest) < len(steps(alone))
    for name in ("weights.safetensors", "recipe.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
