"""A run of a three-level recipe: all levels in order, each from where a killed run left it.

A run is a folder, as :mod:`pulmoscope.training.run` describes it, with ``model.onnx``, a file for every
patient-level classifier and ``ensemble.onnx``. While it is under way ``checkpoints/`` holds states, and ``cache/``
prepared slices and features, unless the recipe names a folder for these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes, write_json
from pulmoscope.core.software import versions
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.recipes import archive, rules, settings
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import EnsembleSpec
from pulmoscope.runtime.bundle import NETWORK
from pulmoscope.runtime.network import open_network
from pulmoscope.training import curves
from pulmoscope.training.card.record import named
from pulmoscope.training.hardware import (
    clear_about_resources,
    find_device,
    find_precision,
    keep_freed_memory,
)
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import SCHEMA_VERSION, check_free, claim
from pulmoscope.training.state import PhaseState, Row, read_json
from pulmoscope.training.three_level.features import StudyFeatures, study_features
from pulmoscope.training.three_level.patient_level import PatientNetworks, PatientTraining, fit_patients
from pulmoscope.training.three_level.slice_level import CHANNELS, SliceTraining, fit_slices
from pulmoscope.training.three_level.studies import Cache, PreparedStudy, prepare

ENSEMBLE = "ensemble.onnx"
CHECK_NOISE, CHECK_SLICES, CHECK_STUDIES = 4, 8, 4
"""What the network files are checked with: seeded noise, slices and studies of the validation split."""


@dataclass(frozen=True)
class StudyRun:
    """A finished run: its folder, the resolved recipe, and the contents of ``run.json``."""

    folder: Path
    recipe: Recipe
    summary: Mapping[str, Any]


def load_study_run(folder: Path) -> StudyRun:
    """Open a finished run.

    Raises:
        RecipeError: the folder holds none, or its files are damaged.
    """
    if not (folder / "run.json").is_file():
        raise RecipeError(f"{folder}: holds no finished training run (no run.json)")
    plain = read_json(folder / "recipe.json", "recipe")["recipe"]
    summary = read_json(folder / "run.json", "verified", "val_accuracy", "epochs", "seconds", "data")
    return StudyRun(folder, settings.from_plain(plain), summary)


def fit_studies(
    recipe: Recipe,
    table: SampleTable,
    run: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    after_epoch: Callable[[Row], None] | None = None,
) -> StudyRun:
    """Train all levels on the splits train and val of a table of CT studies.

    The same recipe, data, seed, device and number of threads give the same weights on a CPU, interrupted or not.

    Args:
        recipe: with its settings.
        table: studies; ``Sample.infected`` says which slices show infection, where that is known.
        run: the folder of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: go on where the run in this folder stopped; a finished one is given back as it is.
        force: replace a run that is in this folder.
        progress: show bars and figures on standard error.
        after_epoch: gets the figures of every epoch when it is saved; may raise to end the run.

    Raises:
        OutputExistsError: a run is in this folder, and neither ``resume`` nor ``force`` is given.
        RecipeError: a setting makes no sense, the run to resume had other settings, or a loss became NaN.
        DatasetError, InputError: the data are not complete, or a study can't be read.
        BundleError: a network's file does not say what torch says.
        ResourceError: no such device, or memory or disk ran out, or the pretrained weights can't be fetched.
    """
    check_free(run, resume, force)
    where = find_device(device)
    keep_freed_memory()
    own_seeds = torch.random.fork_rng([where] if where.type == "cuda" else [])
    relief = "a smaller --set batch_size=… or --set preprocess.size=…"
    with clear_about_resources(f"training {run}", relief=relief), own_seeds:
        recipe = resolve_studies(recipe, table)
        run.mkdir(parents=True, exist_ok=True)
        reporter = Reporter.of(progress, after_epoch)
        cache = Cache(Path(recipe.cache) if recipe.cache else run / "cache")
        parts = prepared_splits(recipe, table, cache, reporter)
        data = _describe(parts, recipe.classes)
        begun = {"schema_version": archive.VERSION, "recipe": settings.to_plain(recipe), "data": data}
        if not claim(run, begun, force):
            _train(recipe, parts, run, where, cache, reporter, data)
    return load_study_run(run)


def prepared_splits(
    recipe: Recipe, table: SampleTable, cache: Cache, reporter: Reporter
) -> dict[str, tuple[PreparedStudy, ...]]:
    """The prepared studies of train and val, by split.

    Args:
        recipe: resolved.

    Raises:
        DatasetError, InputError: the data are not complete, or a study can't be read.
    """
    return {
        split: prepare(
            table.split(split).with_labels(recipe.classes),
            expected(recipe.preprocess, CtPreprocess),
            recipe.classes,
            recipe.normal,
            cache,
            reporter,
        )
        for split in ("train", "val")
    }


def resolve_studies(recipe: Recipe, table: SampleTable) -> Recipe:
    """Fill in the classes, and check what the types can't say.

    Raises:
        RecipeError: a setting makes no sense, there is one class only, or none of the normal one.
    """
    rules.check(recipe)
    classes = recipe.classes or table.classes
    if len(classes) < 2 or recipe.normal not in classes:
        raise RecipeError(
            f"classes: at least two are needed, {recipe.normal} among them (found: {', '.join(classes) or 'none'})"
        )
    return dataclasses.replace(recipe, classes=classes)


def _train(
    recipe: Recipe,
    parts: Mapping[str, Sequence[PreparedStudy]],
    run: Path,
    device: torch.device,
    cache: Cache,
    reporter: Reporter,
    data: Mapping[str, Any],
) -> None:
    train, val = parts["train"], parts["val"]
    folder = run / "checkpoints"
    network, slice_states = fit_slices(SliceTraining(recipe, train, val, folder, cache, device, reporter))
    network.cpu()
    verified = {NETWORK: write_onnx(network, run / NETWORK, _check_images(recipe, val))}
    opened = open_network(run / NETWORK, device="cpu")
    features = {
        split: study_features(
            studies, opened, run / NETWORK, expected(recipe.preprocess, CtPreprocess), cache, reporter
        )
        for split, studies in parts.items()
    }
    patients = fit_patients(
        PatientTraining(recipe, features["train"], features["val"], folder, device, reporter)
    )
    verified |= _write_patients(recipe, patients, features["val"], run)
    networks = {"slice": network, **patients.classifiers, "ensemble": patients.ensemble}
    states = {**slice_states, **patients.states}
    _finish(run, recipe, networks, states, device, data, verified)


def _check_images(recipe: Recipe, studies: Sequence[PreparedStudy]) -> FloatArray:
    """Seeded noise, and the middle slices of some studies."""
    preprocess = expected(recipe.preprocess, CtPreprocess)
    size = preprocess.size
    noise = np.random.default_rng(20).standard_normal((CHECK_NOISE, CHANNELS, size, size), dtype=np.float32)
    middle = np.stack([study.slices[len(study.slices) // 2] for study in studies[:CHECK_SLICES]])
    return np.concatenate([noise, preprocess.tensor(middle)])


def _write_patients(
    recipe: Recipe, patients: PatientNetworks, val: Sequence[StudyFeatures], run: Path
) -> dict[str, Mapping[str, float]]:
    """Write and check the files of levels 2 and 3; file → runtime → largest difference."""
    chosen = val[:CHECK_STUDIES]
    shortest = min(len(study.plain) for study in chosen)
    verified: dict[str, Mapping[str, float]] = {}
    for name, network in patients.classifiers.items():
        weighted = name.endswith("-weighted")
        studies = np.stack([study.of(weighted)[:shortest].numpy() for study in chosen])
        verified[f"{name}.onnx"] = write_onnx(network, run / f"{name}.onnx", studies)
    members = len(expected(recipe.ensemble, EnsembleSpec).of)
    shares = np.random.default_rng(20).dirichlet(np.ones(len(recipe.classes)), (16, members))
    scores = shares.reshape(16, -1).astype(np.float32)
    verified[ENSEMBLE] = write_onnx(patients.ensemble, run / ENSEMBLE, scores)
    return verified


def _describe(parts: Mapping[str, Sequence[PreparedStudy]], classes: Sequence[str]) -> dict[str, Any]:
    """Patients per split and class, how many of them have slice labels, sources, and a fingerprint of all."""
    digest = hashlib.sha256()
    for split, studies in parts.items():
        for study in studies:
            infected = "" if study.infected is None else np.packbits(study.infected).tobytes().hex()
            digest.update(f"{split}\t{study.key}\t{study.sample.label}\t{infected}\n".encode())
    whole = [study for studies in parts.values() for study in studies]
    return {
        "counts": {
            split: {
                name: sum(study.label == label for study in studies) for label, name in enumerate(classes)
            }
            for split, studies in parts.items()
        },
        "slices": {split: sum(len(study.slices) for study in studies) for split, studies in parts.items()},
        "with_slice_labels": {
            split: sum(study.infected is not None for study in studies) for split, studies in parts.items()
        },
        "sources": dict(sorted(Counter(named(study.sample.source) for study in whole).items())),
        "fingerprint": digest.hexdigest(),
    }


def _finish(
    run: Path,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    states: Mapping[str, PhaseState],
    device: torch.device,
    data: Mapping[str, Any],
    verified: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the results; ``run.json`` last, so that it stands for a whole run."""
    rows = [row for state in states.values() for row in state.rows]
    curves.write_table(rows, run / "curves.csv")
    curves.draw(
        [row for name, state in states.items() if name[:2] not in ("2-", "3-") for row in state.rows],
        run / "curves.png",
    )
    weights = {
        f"{name}.{key}": value.contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    write_bytes(run / "weights.safetensors", save(weights))
    summary = {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "classes": list(recipe.classes),
        "val_accuracy": _best(states["3-ensemble"])["val_accuracy"],
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "courses": [
            {"name": name, "epochs": state.epochs, "best_epoch": state.best_epoch}
            | {key: _best(state)[key] for key in ("train_accuracy", "val_loss", "val_accuracy")}
            for name, state in states.items()
        ],
        "verified": verified,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": find_precision(recipe.precision, device),
        "software": versions("torch", "timm", "onnx"),
        "data": data,
    }
    write_json(run / "run.json", summary)
    for name in ("checkpoints", "cache"):
        shutil.rmtree(run / name, ignore_errors=True)


def _best(state: PhaseState) -> Mapping[str, Any]:
    row: Mapping[str, Any] = state.rows[state.best_epoch - 1]
    return row
