"""A run of three levels that is killed with SIGKILL and resumed ends with the weights of one left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import volumes

# All levels without the network files between them. Says on stdout which stage's epoch is saved.
CHILD = """
import sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
import volumes
from pulmoscope.models.patient import weighted
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import save_weights
from pulmoscope.training.three_level.features import StudyFeatures
from pulmoscope.training.three_level.patient_level import PatientTraining, fit_patients
from pulmoscope.training.three_level.run import resolve_studies
from pulmoscope.training.three_level.slice_level import SliceTraining, fit_slices
from pulmoscope.training.three_level.studies import Cache, prepare

def after(row):
    print(row["phase"], flush=True)

table, run = volumes.table(Path(sys.argv[1]), train=2, unknown=1), Path(sys.argv[2])
recipe = resolve_studies(volumes.recipe("ensemble.scores=folds", "ensemble.folds=2", "ensemble.of=maxpool,bilstm",
    "patient.votes=maxpool,bilstm"), table)
cpu, reporter, cache = torch.device("cpu"), Reporter(after_epoch=after), Cache(run / "cache")
told = (recipe.preprocess, recipe.classes, "Normal", cache, reporter)
parts = [prepare(table.split(own), *told) for own in ("train", "val")]
network, _ = fit_slices(SliceTraining(recipe, *parts, run, cache, cpu, reporter))

def features(study):
    with torch.no_grad():
        logits, *_, vector = network.explainable(torch.from_numpy(recipe.preprocess.tensor(np.asarray(study.slices))))
        return StudyFeatures(study.label, vector, weighted(vector, torch.softmax(logits, dim=1)))

vectors = [[features(own) for own in part] for part in parts]
patients = fit_patients(PatientTraining(recipe, *vectors, run, cpu, reporter))
for name, own in {"slice": network, **patients.classifiers, "ensemble": patients.ensemble}.items():
    save_weights(own, run / "done" / name)
"""


def start(folder: Path, run: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(run)],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


def epochs(child: subprocess.Popen[str]) -> list[str]:
    with child:
        assert child.stdout is not None
        seen = [line.strip() for line in child.stdout]
    assert child.returncode == 0
    return seen


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    volumes.table(tmp_path / "studies", train=2, unknown=1)
    alone = start(tmp_path / "studies", tmp_path / "alone")
    with start(tmp_path / "studies", tmp_path / "killed") as killed:
        assert killed.stdout is not None
        for _ in range(4):  # within the phase that learns from picked slices
            assert killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "done").exists()

    went_on = epochs(start(tmp_path / "studies", tmp_path / "killed"))

    whole = epochs(alone)
    assert went_on == whole[-len(went_on) :]
    assert len(went_on) < len(whole)
    assert "2-bilstm-fold2" in went_on
    for name in ("slice", "maxpool", "bilstm", "ensemble"):
        one, other = ((tmp_path / run / "done" / name).read_bytes() for run in ("alone", "killed"))
        assert one == other, name
