"""A search in parallel processes; killed at any moment, the same command goes on with it.

::

    OUT/
      tune.json            what is searched: recipe, settings, sampler, data; a second call must ask for the same
      trials.log           every trial: Optuna's journal
      table.csv, table.md  all trials, best first
      plot.png             the validation figure over every setting
      best.json            the best settings, as ``train --set`` takes them
      work/                what trials share, and their runs; only while the search runs

Several commands may search in one folder at a time. A trial that was under way when its process was killed is done
again; one that failed is not.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import optuna
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.core.files import write_json
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Named
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.state import read_json
from pulmoscope.training.systems import Options, System, kind_of
from pulmoscope.training.tune.plan import Plan, Point, Search, as_settings, plan_of
from pulmoscope.training.tune.processes import Died, RunJobs, run_jobs
from pulmoscope.training.tune.table import RESULTS, SCHEMA_VERSION, ranked, write_results
from pulmoscope.training.tune.trials import JOURNAL, Outcome, Reporter, Trials

MARKER, WORK = "tune.json", "work"


@dataclass(frozen=True)
class Job:
    """What a process needs to train one trial.

    Attributes:
        number: of the trial, from 0.
        point: its settings.
        out: the search's folder.
    """

    number: int
    point: Point
    system: System
    plan: Plan
    out: Path


def tune(
    recipe: Named,
    table: SampleTable,
    out: Path,
    *,
    search: Search | None = None,
    jobs: int | None = None,
    epochs: int | None = None,
    cached_features: bool | None = None,
    device: str = "cpu",
    progress: bool = True,
    force: bool = False,
    spread: RunJobs | None = None,
) -> Outcome:
    """Train a recipe with one group of settings after another, and write what came out.

    A trial of single images trains the phases before the first that learns from ``val``, each with its own early
    stopping; its best epoch counts. A trial of CT studies trains the whole system. The best trial has the largest
    validation figure (system E, section IV: the accuracy), of equals the smaller loss.

    Args:
        recipe, table: one that can be tuned (see :func:`pulmoscope.training.tune.plan.tunable`); with train and val.
        out: the folder; where it holds an unfinished search of the same recipe and data, that one goes on.
        search: how; None: the recipe's whole grid.
        jobs: trials at a time, one thread each; None: one a core. With one only TPE proposes the same points again.
        epochs: the most epochs of a phase; None: the recipe's own.
        cached_features: compute the frozen backbone's features once and train heads alone (see
            :mod:`pulmoscope.training.tune.head`); None: where the trials' phases never move the backbone.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        force, spread: begin anew; does the trials elsewhere, None: processes of this machine do.

    Returns:
        The best trial's outcome: ``trial``, ``settings``, and its figures.

    Raises:
        RecipeError: nothing to search; ``cached_features`` for a backbone that moves; a damaged file of the search that
            is to go on; all trials failed.
        OutputExistsError: ``out`` holds another search.
        DatasetError, InputError: the data can't be used.
        ResourceError: memory or disk ran out.
    """
    recipe = recipe.shortened(epochs)
    plan = plan_of(recipe, search or Search())
    options = Options(device=device, force=True, progress=False)
    system = kind_of(recipe).for_trials(recipe, table, plan.points(), cached_features, options)
    searched = {
        "schema_version": SCHEMA_VERSION,
        "recipe": settings.to_plain(system.recipe),
        **plan.plain(),
        "feature_variants": system.feature_variants,
    }
    if force:
        _clear(out)
    _refuse_another(out, searched)  # before all files are read, which takes long
    searched["data"] = {"samples": len(system.table), "sha256": table_checksum(system.table)}
    _refuse_another(out, searched)
    write_json(out / MARKER, {**searched, "trials": plan.trials})
    with clear_about_resources(f"tuning in {out}", "the same command"):
        work_off = partial(_work_off, spread=spread or run_jobs, jobs=jobs or os.cpu_count() or 1)
        return _search(system, plan, out, progress, work_off)


def _clear(out: Path) -> None:
    """Take an earlier search away."""
    for name in (MARKER, JOURNAL, *RESULTS):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / WORK, ignore_errors=True)


def _refuse_another(out: Path, searched: Mapping[str, Any]) -> None:
    """Refuse a folder with a search that differs in any of ``searched``; more trials are the same search."""
    marker = out / MARKER
    if marker.is_file():
        before = read_json(marker)
        if any(before.get(key) != value for key, value in searched.items()):
            raise OutputExistsError(marker)


def _search(system: System, plan: Plan, out: Path, progress: bool, work_off: Callable[..., None]) -> Outcome:
    work = out / WORK
    with Trials.opened(out, work, plan, system.figures[0]) as trials:
        if len(trials.outcomes()) < plan.trials:
            system.prepare(work / "cache", progress)
            work_off(system, trials, out, progress)
        with trials.lock:  # who writes last knows most
            rows = ranked(trials.outcomes(), system.figures)
            write_results(out, system.recipe.name, list(plan.space), system.figures, rows)
    if not rows or rows[0]["status"] != "done":
        first = next((f"; the first that failed: {row['error']}" for row in rows if "error" in row), "")
        raise RecipeError(f"{out}: no trial of {len(rows)} is done{first}")
    return rows[0]


def _work_off(system: System, trials: Trials, out: Path, progress: bool, spread: RunJobs, jobs: int) -> None:
    plan, score = trials.plan, system.figures[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("trials", total=plan.trials)

        def todo() -> Iterator[Job]:
            for number, point in trials.todo():
                yield Job(number, point, system, plan, out)

        for job, answer in spread(run_trial, todo(), jobs):
            trials.finish(job.number, _failed(str(answer), 0.0) if isinstance(answer, Died) else answer)
            outcomes = trials.outcomes()
            best = ranked(outcomes, system.figures)[0].get(score, 0.0)
            bar.update(task, completed=len(outcomes), description=f"trials, best {best:.4f}")


def run_trial(job: Job) -> dict[str, Any]:
    """Train one trial on one thread; what goes wrong is part of the outcome."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.monotonic()
    work = job.out / WORK
    # Of its own, as a worker that this process's predecessor left may still be at the same trial.
    run = Path(mkdtemp(prefix=f"{job.number + 1:03d}-", dir=work))
    system = job.system
    try:
        recipe = settings.apply(system.recipe, as_settings(job.point))
        figures = system.trained(recipe, work / "cache", run, Reporter(job.out, job.plan, job.number))
        outcome = {"status": "done", **{name: figures[name] for name in system.figures}}
    except optuna.TrialPruned:
        outcome = {"status": "pruned"}
    except Exception as error:  # any failure is this trial's own; the others go on
        return _failed(f"{type(error).__name__}: {error}", time.monotonic() - started)
    finally:
        shutil.rmtree(run, ignore_errors=True)
    return {**outcome, "seconds": round(time.monotonic() - started, 1)}


def _failed(reason: str, seconds: float) -> dict[str, Any]:
    """The outcome of a trial that gave no figure."""
    return {"status": "failed", "error": " ".join(reason.split())[:300], "seconds": round(seconds, 1)}
