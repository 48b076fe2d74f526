"""A recipe's whole grid, in parallel processes; killed at any moment, it goes on with the trials that are missing.

::

    OUT/
      tune.json            what is searched: recipe, grid, data; a second call must ask for the same
      trials/NNN.json      one trial's outcome; delete it to have the trial done again
      table.csv, table.md  all trials, best first
      plot.png             validation accuracy over every setting
      best.json            the best settings, as ``train --set`` takes them
      cache/               framed images, or features of the frozen backbone; only while the search runs
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.core.files import write_json
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.table import SampleTable
from pulmoscope.training import settings
from pulmoscope.training.cached import FEATURES, VARIANTS, frozen_throughout, write_features
from pulmoscope.training.frames import frames_of, prepared
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.loop import measured, settled
from pulmoscope.training.processes import Died, run_jobs
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.state import read_json
from pulmoscope.training.trial import (
    IMAGES,
    SCHEMA_VERSION,
    Job,
    Trial,
    failure,
    grid,
    read_cache,
    record,
    run_trial,
    write_cache,
)
from pulmoscope.training.tune_table import Outcome, ranked, write_results

MARKER = "tune.json"


def tune(
    recipe: Recipe,
    table: SampleTable,
    out: Path,
    *,
    jobs: int | None = None,
    epochs: int | None = None,
    cached_features: bool | None = None,
    progress: bool = True,
    force: bool = False,
) -> Outcome:
    """Try every point of the recipe's grid and write what came out.

    A trial trains the recipe's phases before the first that learns from ``val``, each with its own early stopping.
    The best is the one with the best validation accuracy (system E, section IV), of equals the smaller loss.

    Args:
        recipe: with a grid.
        table: with splits ``train`` and ``val``.
        out: the folder; where it holds an unfinished search of the same recipe and data, that one goes on.
        jobs: trials at a time, one thread each; None: as many as cores.
        epochs: the most epochs of a phase; None: the recipe's own.
        cached_features: compute the frozen backbone's features once and train heads alone (see
            :mod:`pulmoscope.training.cached`); None: where the trials' phases never move the backbone.
        force: begin anew.

    Returns:
        The best trial's outcome.

    Raises:
        RecipeError: no grid; ``cached_features`` for a backbone that moves; a damaged file of the search that is
            to go on; all trials failed.
        OutputExistsError: ``out`` holds another search.
        DatasetError, InputError: the images can't be used.
        ResourceError: memory or disk ran out.
    """
    recipe, known = settled(recipe, prepared(recipe, table).split("train", "val"))
    trials = grid(recipe, epochs)
    cacheable = all(frozen_throughout(trial.recipe) for trial in trials)
    cached = cacheable if cached_features is None else cached_features
    if cached and not cacheable:
        raise RecipeError(
            f"{recipe.name}: its backbone is trained, its images are mixed or its loss is not the plain one; "
            "features can't be cached"
        )
    searched = _searched(recipe, trials, cached)
    if not force:
        _refuse_another(out, searched)  # before the images are read, which takes long
    data = {"images": len(known), "sha256": table_checksum(known)}
    _claim(out, {**searched, "data": data}, force)
    with clear_about_resources(f"tuning in {out}", "the same command"):
        return _search(recipe, known, trials, out, cached, jobs or os.cpu_count() or 1, progress)


def _search(
    recipe: Recipe,
    known: SampleTable,
    trials: tuple[Trial, ...],
    out: Path,
    cached: bool,
    jobs: int,
    progress: bool,
) -> Outcome:
    cache, folder = out / "cache", out / "trials"
    work = [Job(trial, known, cache, folder, cached) for trial in trials]
    todo = [job for job in work if not job.result.is_file()]
    if todo:
        _fill_cache(recipe, known, cache, cached, progress)
        _work_off(todo, len(work), jobs, progress)
        shutil.rmtree(cache)
    return write_results(out, recipe, [_outcome(job) for job in work])


def _searched(recipe: Recipe, trials: tuple[Trial, ...], cached: bool) -> dict[str, Any]:
    """What makes two searches on the same data the same."""
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": settings.to_plain(recipe),
        "phases": {phase.name: phase.epochs for phase in trials[0].recipe.phases},
        "trials": len(trials),
        "feature_variants": VARIANTS if cached else None,
    }


def _refuse_another(out: Path, searched: Mapping[str, Any]) -> None:
    """Refuse a folder with a search that differs in any of ``searched``."""
    marker = out / MARKER
    if marker.is_file():
        before = read_json(marker)
        if any(before.get(key) != value for key, value in searched.items()):
            raise OutputExistsError(marker)


def _claim(out: Path, searched: Mapping[str, Any], force: bool) -> None:
    """Make the folder, or go on with the same search in it."""
    if force:
        for old in (out / "trials", out / "cache"):
            shutil.rmtree(old, ignore_errors=True)
    else:
        _refuse_another(out, searched)
    write_json(out / MARKER, searched)


def _fill_cache(recipe: Recipe, table: SampleTable, cache: Path, cached: bool, progress: bool) -> None:
    """Read and frame the images once for all trials; for cached features run the backbone over them, too."""
    if not (cache / IMAGES).is_file():
        write_cache(frames_of(recipe, table, progress), cache)
    if cached and not (cache / FEATURES).is_file():
        frames = read_cache(cache)
        write_features(measured(recipe, frames), frames, cache, progress)


def _work_off(todo: list[Job], total: int, jobs: int, progress: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("trials", total=total, completed=total - len(todo))
        outcomes: list[Outcome] = []
        for job, answer in run_jobs(run_trial, todo, jobs):
            outcomes.append(record(job, failure(str(answer)), 0.0) if isinstance(answer, Died) else answer)
            best = ranked(outcomes)[0]
            bar.update(task, advance=1, description=f"trials, best {best.get('val_accuracy', 0.0):.4f}")


def _outcome(job: Job) -> Outcome:
    return read_json(job.result, "status", "trial", "settings", "seconds")
