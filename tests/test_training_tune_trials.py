"""The bookkeeping of trials: nothing is trained, outcomes are made up."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.training.tune.plan import Plan, Point, Search, plan_of
from pulmoscope.training.tune.trials import JOURNAL, Reporter, Trials

TPE = Search("tpe", 14, ("phases.train.learning_rate=1e-5:0.1:log", "model.dropout=0:0.9"))

WORKER = """
import os, signal, sys
from pathlib import Path
import test_training_tune_trials as own

taken = own.worked(Path(sys.argv[1]), own.plan(own.Search()), dies_at=int(sys.argv[2]))
print(*taken)
"""


def plan(search: Search) -> Plan:
    """Over eight points, at most six epochs each."""
    recipe = replace(
        settings.apply(find("xray-binary-cnn"), ["phases.0.epochs=6"]),
        grid={
            "model.dropout": (0.1, 0.2),
            "phases.train.learning_rate": (1e-2, 1e-3),
            "model.filters": (8, 16),
        },
    )
    return plan_of(recipe, search)


def accuracy(point: Point) -> float:
    """Best at a learning rate of 1e-3 and no dropout."""
    rate = math.log10(float(point["phases.train.learning_rate"]))
    return 1 / (1 + (rate + 3) ** 2 + float(point["model.dropout"]))


def worked(out: Path, plan: Plan, dies_at: int = 0) -> list[int]:
    """Do trials until there are none; killed in the middle of the so-manieth, if that is told."""
    taken = []
    with Trials.opened(out, out / "work", plan, "val_accuracy") as trials:
        for number, point in trials.todo():
            taken.append(number)
            if len(taken) == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            trials.finish(number, {"status": "done", "val_accuracy": accuracy(point), "seconds": 1.0})
    return taken


def started(out: Path, dies_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(out), str(dies_at)]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)


def points(out: Path) -> list[dict[str, float]]:
    """What each trial had, as Optuna itself reads its journal."""
    storage = JournalStorage(JournalFileBackend(str(out / JOURNAL)))
    trials = optuna.load_study(study_name=None, storage=storage).trials
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    return [trial.params for trial in trials]


def test_a_grid_is_done_in_its_order(tmp_path: Path) -> None:
    whole = plan(Search())
    assert worked(tmp_path, whole) == list(range(8))
    assert points(tmp_path) == whole.points()
    assert worked(tmp_path, whole) == []


def test_two_processes_share_what_a_killed_one_left(tmp_path: Path) -> None:
    killed = started(tmp_path, dies_at=3)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    both = [started(tmp_path), started(tmp_path)]
    taken = [int(number) for process in both for number in process.communicate()[0].split()]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(taken) == [2, 3, 4, 5, 6, 7]  # none twice; the third was under way
    assert points(tmp_path) == plan(Search()).points()


def test_tpe_proposes_the_same_again_and_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole, again, killed = (tmp_path / name for name in ("whole", "again", "killed"))
    for out in (whole, again):
        worked(out, plan(TPE))
    process = subprocess.run(
        [sys.executable, "-c", WORKER.replace("own.Search()", "own.TPE"), str(killed), "12"],
        cwd=Path(__file__).parent,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    assert worked(killed, plan(TPE)) == [11, 12, 13]
    assert points(whole) == points(again) == points(killed)
    assert len({tuple(point.values()) for point in points(whole)}) == 14


def test_tpe_learns_from_what_trials_gave(tmp_path: Path) -> None:
    many = Search("tpe", 40, TPE.ranges)
    worked(tmp_path, plan(many))
    scores = [accuracy(point) for point in points(tmp_path)]
    assert sum(scores[20:]) > 1.2 * sum(scores[:10]) * 2


def test_a_point_that_is_proposed_again_is_not_trained_again(tmp_path: Path) -> None:
    few = plan(Search("tpe", 20))  # of eight points
    taken = worked(tmp_path, few)
    assert len(taken) == len({tuple(point.values()) for point in points(tmp_path)}) <= 8
    with Trials.opened(tmp_path, tmp_path / "work", few, "val_accuracy") as trials:
        outcomes = trials.outcomes()
    assert len(outcomes) == 20
    assert all(own["val_accuracy"] == accuracy(own["settings"]) for own in outcomes)


def test_a_search_can_get_more_trials(tmp_path: Path) -> None:
    assert worked(tmp_path, plan(TPE)) == list(range(14))
    assert worked(tmp_path, plan(Search("tpe", 16, TPE.ranges))) == [14, 15]


@pytest.mark.parametrize("pruner", ["median", "hyperband", "asha", "none"])
def test_a_trial_that_lags_behind_is_stopped(pruner: str, tmp_path: Path) -> None:
    """The last of eight trials has an accuracy of 0.1 in every epoch, all others 0.5 and more."""
    own = plan(Search("grid", pruner=pruner))  # type: ignore[arg-type]
    stopped = []
    with Trials.opened(tmp_path, tmp_path / "work", own, "val_accuracy") as trials:
        for number, _ in trials.todo():
            reporter = Reporter(tmp_path, own, number)
            best = 0.1 if number == 7 else 0.5 + number / 100
            try:
                for _ in range(own.epochs):
                    reporter(best)
            except optuna.TrialPruned:
                stopped.append(number)
                trials.finish(number, {"status": "pruned", "seconds": 1.0})
            else:
                trials.finish(number, {"status": "done", "val_accuracy": best, "seconds": 1.0})
        last = trials.outcomes()[7]
    if pruner == "none":
        assert not stopped
        return
    assert 7 in stopped
    assert 0 not in stopped
    assert last["status"] == "pruned"
    assert (last["val_accuracy"], last["best_epoch"]) == (0.1, 1)
    assert last["epochs"] < own.epochs == 6


def test_figures_from_before_a_kill_are_not_told_again(tmp_path: Path) -> None:
    own = plan(Search(pruner="median"))
    with Trials.opened(tmp_path, tmp_path / "work", own, "val_accuracy") as trials:
        number, _ = next(trials.todo())
        Reporter(tmp_path, own, number)(0.5)
        again = Reporter(tmp_path, own, number)
        for figure in (0.9, 0.6):
            again(figure)
        assert trials.study.trials[number].intermediate_values == {1: 0.5, 2: 0.6}


def test_a_write_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    with Trials.opened(tmp_path, tmp_path / "work", plan(Search()), "val_accuracy") as trials:
        next(trials.todo())
    with (tmp_path / JOURNAL).open("a") as stream:
        stream.write('{"op_code": 4, "wor')
    assert worked(tmp_path, plan(Search())) == list(range(8))
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


@pytest.mark.parametrize("line", ["no json\n", '{"op_code": 4}\n', "[]\n"])
def test_a_damaged_journal_is_told_in_one_line(line: str, tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(line * 2)
    with (
        pytest.raises(RecipeError, match=r"trials\.log: is damaged .*--force") as told,
        Trials.opened(tmp_path, tmp_path / "work", plan(Search()), "val_accuracy"),
    ):
        pass
    assert "\n" not in str(told.value)
