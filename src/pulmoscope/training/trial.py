"""One point of a grid: trained in a process of its own, its outcome a small JSON."""

from __future__ import annotations

import io
import itertools
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes, write_json
from pulmoscope.datasets.table import SampleTable
from pulmoscope.training import settings
from pulmoscope.training.cached import fit_head
from pulmoscope.training.frames import Frames, Maps
from pulmoscope.training.loop import fit
from pulmoscope.training.recipe import Recipe

SCHEMA_VERSION = "1.0"
IMAGES = "images.npy"

Value = float | int | str


@dataclass(frozen=True)
class Trial:
    """One point of a grid.

    Attributes:
        number: its place in the grid, from 1.
        settings: dotted setting → value, as ``train --set`` takes them.
        recipe: with these settings.
    """

    number: int
    settings: Mapping[str, Value]
    recipe: Recipe


@dataclass(frozen=True)
class Job:
    """What a process needs to train one trial.

    Attributes:
        trial: which.
        table: the samples.
        cache: the folder of framed images or of features, shared by all trials.
        folder: where ``NNN.json`` goes.
        cached_features: train the head alone, on the backbone's features.
    """

    trial: Trial
    table: SampleTable
    cache: Path
    folder: Path
    cached_features: bool

    @property
    def result(self) -> Path:
        """Where the outcome is written."""
        return self.folder / f"{self.trial.number:03d}.json"

    @property
    def run(self) -> Path:
        """Where the trial trains."""
        return self.folder / f"{self.trial.number:03d}"


def grid(recipe: Recipe, epochs: int | None = None) -> tuple[Trial, ...]:
    """Every combination of the recipe's grid, the last setting changing fastest.

    Only the phases before the first one that learns from ``val`` are kept: after it nothing is left to judge by.

    Args:
        epochs: the most epochs of every phase; None: the recipe's own.

    Raises:
        RecipeError: the recipe has no grid, or its first phase learns from ``val``.
    """
    if not recipe.grid:
        raise RecipeError(f"{recipe.name}: has no grid to tune")
    judged = tuple(itertools.takewhile(lambda phase: "val" not in phase.train_on, recipe.phases))
    if not judged:
        raise RecipeError(
            f"{recipe.name}: its first phase learns from val; nothing is left to judge trials by"
        )
    if epochs is not None:
        judged = tuple(replace(phase, epochs=min(phase.epochs, epochs)) for phase in judged)
    base = replace(recipe, phases=judged)
    points = itertools.product(*recipe.grid.values())
    return tuple(
        Trial(number, point, settings.apply(base, as_settings(point)))
        for number, point in enumerate(
            (dict(zip(recipe.grid, values, strict=True)) for values in points), start=1
        )
    )


def as_settings(point: Mapping[str, Value]) -> list[str]:
    """A grid point as ``train --set`` takes it."""
    return [f"{name}={value}" for name, value in point.items()]


def run_trial(job: Job) -> dict[str, Any]:
    """Train one trial on one thread, and write its outcome; what goes wrong is part of the outcome."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.monotonic()
    try:
        outcome = {"status": "done", **_trained(job)}
    except Exception as error:  # any failure is this trial's own; the others go on
        outcome = failure(f"{type(error).__name__}: {error}")
    return record(job, outcome, time.monotonic() - started)


def failure(reason: str) -> dict[str, Any]:
    """The outcome of a trial that gave no score."""
    return {"status": "failed", "error": " ".join(reason.split())[:300]}


def record(job: Job, outcome: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Write a trial's outcome and drop its run; from then on it is not done again."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "trial": job.trial.number,
        "settings": dict(job.trial.settings),
        **outcome,
        "seconds": round(seconds, 1),
    }
    write_json(job.result, content)
    shutil.rmtree(job.run, ignore_errors=True)
    return content


def write_cache(frames: Frames, folder: Path) -> None:
    """Keep framed images for the processes of all trials; the last file written is the images."""
    kept: dict[str, Any] = {
        name: getattr(frames, name) for name in ("labels", "splits", "files", "hospitals")
    }
    kept |= {} if frames.targets is None else {"targets": frames.targets}
    kept |= {} if frames.maps is None else vars(frames.maps)
    stream = io.BytesIO()
    np.savez(stream, **kept)
    write_bytes(folder / "labels.npz", stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, frames.images)
    write_bytes(folder / IMAGES, stream.getvalue())


def read_cache(folder: Path) -> Frames:
    """What :func:`write_cache` kept; the images stay on disk, and in memory once for all processes."""
    with np.load(folder / "labels.npz") as found:
        return Frames(
            np.load(folder / IMAGES, mmap_mode="r"),
            found["labels"],
            tuple(found["splits"].tolist()),
            tuple(found["files"].tolist()),
            found.get("targets"),
            tuple(found["hospitals"].tolist()),
            Maps(found["lungs"], found["opacities"], found["known"]) if "known" in found else None,
        )


def _trained(job: Job) -> dict[str, Any]:
    """Validation accuracy and loss of the best epoch, which epoch that was, and how many there were."""
    if job.cached_features:
        return fit_head(job.trial.recipe, job.cache)
    trained = fit(
        job.trial.recipe,
        job.table,
        job.run,
        device="cpu",
        force=True,
        progress=False,
        frames=read_cache(job.cache),
    )
    return {key: trained.summary[key] for key in ("val_accuracy", "val_loss", "best_epoch", "epochs")}
