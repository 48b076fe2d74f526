"""The trials of a search in Optuna's journal: asked for, taken up again and finished by any number of processes.

The journal and its lock are one file. A process that searches holds a lock on a file of its own, too, as a sign of
life: the kernel frees it however the process ends, so that others see at once which trials are to be done again.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from pulmoscope.core.errors import RecipeError
from pulmoscope.training.tune.plan import Plan, Point

JOURNAL = "trials.log"
_STUDY = "tune"
_STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

Outcome = Mapping[str, Any]


class _Lock:
    """Held for this process by the kernel, which frees it when the process is killed; may be taken while it is held."""

    def __init__(self, file: Path) -> None:
        self._file, self._depth = file, 0
        self._stream: IO[bytes]

    def acquire(self) -> bool:
        if not self._depth:
            self._stream = self._file.open("ab")
            fcntl.flock(self._stream, fcntl.LOCK_EX)
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._stream.close()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(frozen=True)
class Trials:
    """The trials of one search, as one process sees them.

    Attributes:
        plan: the search.
        score: the figure that is to become large.
        work: a folder that all processes share, for signs of life.
        study: Optuna's.
    """

    plan: Plan
    score: str
    work: Path
    study: optuna.Study
    lock: _Lock
    owner: str

    @classmethod
    @contextmanager
    def opened(cls, out: Path, work: Path, plan: Plan, score: str) -> Iterator[Trials]:
        """The search in ``out``; while this is open, its trials are known to be under way.

        The last process that leaves with nothing left to do removes ``work``.

        Raises:
            RecipeError: the journal is damaged.
        """
        study, lock = open_study(out, plan)
        sign = work / f"{uuid4().hex}.alive"
        trials = cls(plan, score, work, study, lock, sign.name)
        with lock:
            work.mkdir(parents=True, exist_ok=True)
            stream = sign.open("wb")
            fcntl.flock(stream, fcntl.LOCK_EX)
        with stream:
            yield trials
        with lock:
            sign.unlink()
            if not any(trials._alive(other.name) for other in work.glob("*.alive")):
                shutil.rmtree(work, ignore_errors=True)

    def todo(self) -> Iterator[tuple[int, Point]]:
        """Numbers from 0 and settings of trials that this process is to train, until there are no more.

        A point that TPE proposes again is not trained again: it has the outcome that it had.
        """
        grid = self.plan.points() if self.plan.search.sampler == "grid" else []
        while (trial := self._next(grid)) is not None:
            twins = [trial_done for trial_done in self._finished() if trial_done.params == trial.params]
            if twins:
                self.finish(trial.number, {**twins[0].user_attrs["outcome"], "seconds": 0.0})
            else:
                yield trial.number, trial.params

    def _next(self, grid: list[Point]) -> optuna.Trial | None:
        """The next trial: one whose process is gone, or a new one."""
        with self.lock:
            known = self.study.get_trials(deepcopy=False)
            for trial in known:
                if trial.state is TrialState.RUNNING and not self._alive(trial.user_attrs.get("owner", "")):
                    self.study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            waiting = [one.number for one in self.study.get_trials(states=(TrialState.WAITING,))]
            number = waiting[0] if waiting else len(known)
            if number >= self.plan.trials:
                return None
            if grid and not waiting:
                self.study.enqueue_trial(dict(grid[number]))
            self.study.sampler = self.plan.sampler(number)
            asked = self.study.ask(dict(self.plan.space))
            asked.set_user_attr("owner", self.owner)
            return asked

    def finish(self, number: int, outcome: Outcome) -> None:
        """Write down what a trial gave: ``status``, and the score where it is ``done``."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if outcome["status"] == "pruned" and trial.intermediate_values:
            figures = [figure for _, figure in sorted(trial.intermediate_values.items())]
            reached = {"best_epoch": figures.index(figures[-1]) + 1, "epochs": len(figures)}
            outcome = {**outcome, self.score: round(figures[-1], 6), **reached}  # see by_accuracy_then_loss
        self.study._storage.set_trial_user_attr(trial._trial_id, "outcome", dict(outcome))
        done = outcome["status"] == "done"
        self.study.tell(number, outcome[self.score] if done else None, _STATES[outcome["status"]])

    def outcomes(self) -> list[Outcome]:
        """All trials that are finished, numbered from 1."""
        return [
            {"trial": trial.number + 1, "settings": trial.params, **trial.user_attrs["outcome"]}
            for trial in self._finished()
        ]

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=tuple(_STATES.values()))

    def _alive(self, owner: str) -> bool:
        sign = self.work / owner
        if not sign.is_file():
            return False
        with sign.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


class Reporter:
    """Tells a trial's validation figures after every epoch, from the process that trains it.

    What was told before a kill is not told again: training gives the same figures.
    """

    def __init__(self, out: Path, plan: Plan, number: int) -> None:
        study, _ = open_study(out, plan)
        study.sampler = optuna.samplers.RandomSampler()  # proposes nothing here
        trial = study.get_trials(deepcopy=False)[number]
        self._trial = optuna.Trial(study, trial._trial_id)
        self._told, self._epoch = len(trial.intermediate_values), 0

    def __call__(self, figure: float) -> None:
        """After an epoch: the figure that the trial would have if it ended now.

        Raises:
            optuna.TrialPruned: the trial is not worth going on with.
        """
        self._epoch += 1
        if self._epoch > self._told:
            self._trial.report(figure, self._epoch)
            if self._trial.should_prune():
                raise optuna.TrialPruned


def open_study(out: Path, plan: Plan) -> tuple[optuna.Study, _Lock]:
    """Optuna's study in a folder; a new one where there is none.

    Raises:
        RecipeError: its file is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = out / JOURNAL
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = _Lock(file)
    with lock:
        content = file.read_bytes()
        if not content.endswith(b"\n"):  # a write that a full disk or a failing machine cut off
            with file.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)
        try:
            study = optuna.create_study(
                study_name=_STUDY,
                storage=optuna.storages.JournalStorage(JournalFileBackend(str(file), lock)),  # type: ignore[arg-type]
                pruner=plan.pruner(),
                direction="maximize",
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{file}: is damaged ({error}); start anew with --force") from error
    return study, lock
