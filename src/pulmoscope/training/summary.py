"""The contents of ``run.json``: what was learnt from, how it went, and with what."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from pulmoscope.core.files import write_json
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.recipes.published import as_run
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training import curves
from pulmoscope.training.card.record import named
from pulmoscope.training.frames import Frames
from pulmoscope.training.hardware import find_precision
from pulmoscope.training.state import PhaseState, Row


class Study(Protocol):
    """A prepared study, of any system."""

    @property
    def sample(self) -> Sample:
        """The table's row."""
        ...

    @property
    def label(self) -> int:
        """The number of its class."""
        ...

    @property
    def key(self) -> str:
        """Equal for studies of equal content, prepared alike."""
        ...

    @property
    def slice_labels(self) -> tuple[str, ...]:
        """Its slices' labels as one text, where training goes by them."""
        ...


SCHEMA_VERSION = "2.1"
SUMMARY = ("val_accuracy", "val_loss", "best_epoch", "epochs", "seconds", "val_held_out", "data")
"""What other modules read of ``run.json``."""
NEEDED = ("epochs", "seconds", "data")
"""What a ``run.json`` of any version says."""


def describe_data(frames: Frames, table: SampleTable, classes: Sequence[str]) -> dict[str, Any]:
    """Counts per split and class, counts per source, and a fingerprint of all framed images and their labels."""
    counts = {
        split: {
            name: int((frames.labels[frames.places(split)] == label).sum())
            for label, name in enumerate(classes)
        }
        for split in ("train", "val")
    }
    framed = set(frames.files)
    sources = Counter(named(sample.source) for sample in table if sample.file in framed)
    digest = hashlib.sha256(frames.images.tobytes())
    for file, split, label in zip(frames.files, frames.splits, frames.labels, strict=True):
        digest.update(f"{file}\t{split}\t{classes[label]}\n".encode())
    return {
        "counts": counts,
        "sources": dict(sorted(sources.items())),
        "fingerprint": digest.hexdigest(),
    }


def describe_studies(
    parts: Mapping[str, Sequence[Study]], classes: Sequence[str], **counted: Callable[[Any], int]
) -> dict[str, Any]:
    """Patients per split and class, sources, and a fingerprint of all studies and their labels.

    Args:
        parts: split → its studies.
        counted: what else is reported of each split: name → of one study how many.
    """
    digest = hashlib.sha256()
    for split, studies in parts.items():
        for study in studies:
            known = (split, study.key, study.sample.label, *study.slice_labels)
            digest.update(("\t".join(known) + "\n").encode())
    sources = Counter(named(study.sample.source) for studies in parts.values() for study in studies)
    return {
        "counts": {
            split: {
                name: sum(study.label == label for study in studies) for label, name in enumerate(classes)
            }
            for split, studies in parts.items()
        },
        **{
            name: {split: sum(map(count, studies)) for split, studies in parts.items()}
            for name, count in counted.items()
        },
        "sources": dict(sorted(sources.items())),
        "fingerprint": digest.hexdigest(),
    }


def summarise(recipe: Recipe, states: Mapping[str, PhaseState], device: torch.device) -> dict[str, Any]:
    """How the run went. ``val_…`` and ``best_epoch`` are of the last phase that held ``val`` out."""
    phases = [_phase(name, state) for name, state in states.items()]
    validated = [phase for phase in phases if phase["val_loss"] is not None]
    last = validated[-1] if validated else {"val_loss": None, "val_accuracy": None, "best_epoch": None}
    rows = [row for state in states.values() for row in state.rows]
    return {
        "recipe": recipe.name,
        "as_run": as_run(recipe),
        "classes": list(recipe.classes),
        "val_loss": last["val_loss"],
        "val_accuracy": last["val_accuracy"],
        "best_epoch": last["best_epoch"],
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "val_held_out": all("val" not in phase.train_on for phase in recipe.phases),
        "phases": phases,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": find_precision(recipe.precision, device),
        "software": versions("torch", "timm", "lightning-fabric"),
    }


def _phase(name: str, state: PhaseState) -> dict[str, Any]:
    best = state.rows[state.best_epoch - 1]
    return {
        "name": name,
        "epochs": state.epochs,
        "best_epoch": state.best_epoch,
        "seconds": round(sum(row["seconds"] for row in state.rows), 1),
        **{key: best.get(key) for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")},
        **_mean(state.rows, "waited", "gpu_busy"),
    }


def _mean(rows: Sequence[Row], *names: str) -> dict[str, float]:
    """Of what was measured in every epoch."""
    return {
        name: round(sum(row[name] for row in rows) / len(rows), 4)
        for name in names
        if all(name in row for row in rows)
    }


def finish(
    run: Path,
    recipe: Recipe,
    states: Mapping[str, PhaseState],
    device: torch.device,
    data: Mapping[str, Any],
    shown: Sequence[str] = (),
    **more: Any,
) -> None:
    """Write the curves and, last, ``run.json``, so that it stands for a whole run; remove what was on the way.

    Args:
        states: of all stages, by name.
        shown: the stages whose curves are drawn; empty: all.
        more: what else is reported of such a run.
    """
    rows = [row for state in states.values() for row in state.rows]
    curves.write_table(rows, run / "curves.csv")
    plotted = [row for name, state in states.items() if name in (shown or states) for row in state.rows]
    curves.draw(plotted, run / "curves.png")
    summary = {
        "schema_version": SCHEMA_VERSION,
        **summarise(recipe, states, device),
        **more,
        "data": data,
    }
    write_json(run / "run.json", summary)
    for name in ("checkpoints", "cache"):
        shutil.rmtree(run / name, ignore_errors=True)
