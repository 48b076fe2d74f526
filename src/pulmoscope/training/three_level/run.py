"""A run of a three-level recipe: all levels in order, each from where a killed run left it.

A run is a folder, as :mod:`pulmoscope.training.run` describes it, with ``model.onnx``, a file for every
patient-level classifier and ``ensemble.onnx``. While it is under way ``checkpoints/`` holds states, and ``cache/``
prepared slices and features, unless the recipe names a folder for these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.recipes import archive, rules, settings
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import EnsembleSpec
from pulmoscope.runtime.bundle import NETWORK
from pulmoscope.runtime.network import open_network
from pulmoscope.training.hardware import (
    clear_about_resources,
    find_device,
    keep_freed_memory,
)
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import TrainedRun, check_free, claim, load_run
from pulmoscope.training.state import Row
from pulmoscope.training.summary import describe_studies, finish
from pulmoscope.training.three_level.features import StudyFeatures, study_features
from pulmoscope.training.three_level.patient_level import PatientNetworks, PatientTraining, fit_patients
from pulmoscope.training.three_level.slice_level import CHANNELS, SliceTraining, fit_slices
from pulmoscope.training.three_level.studies import Cache, PreparedStudy, prepare

ENSEMBLE = "ensemble.onnx"
CHECK_NOISE, CHECK_SLICES, CHECK_STUDIES = 4, 8, 4
"""What the network files are checked with: seeded noise, slices and studies of the validation split."""


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
) -> TrainedRun:
    """Train all levels on the splits train and val of a table of CT studies.

    The same recipe, data, seed, device and number of threads give the same weights on a CPU, interrupted or not.

    Args:
        recipe: with its settings.
        table: studies; ``Sample.infected`` says which slices show infection, where that is known.
        run: the folder of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: go on where the run in this folder stopped; a finished one is returned as it is.
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
    separate_seeds = torch.random.fork_rng([where] if where.type == "cuda" else [])
    relief = "a smaller --set batch_size=… or --set preprocess.size=…"
    with clear_about_resources(f"training {run}", relief=relief), separate_seeds:
        recipe = resolve_studies(recipe, table)
        run.mkdir(parents=True, exist_ok=True)
        reporter = Reporter.of(progress, after_epoch)
        cache = Cache(Path(recipe.cache) if recipe.cache else run / "cache")
        parts = prepared_splits(recipe, table, cache, reporter)
        data = _described(parts, recipe.classes)
        # Where prepared slices lie says nothing about the run, and is nobody else's business.
        plain = settings.to_plain(dataclasses.replace(recipe, cache=""))
        begun = {"schema_version": archive.VERSION, "recipe": plain, "data": data}
        if not claim(run, begun, force):
            _train(recipe, parts, run, where, cache, reporter, data)
    return load_run(run)


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
    _save_weights(networks, run / "weights.safetensors")
    states = {**slice_states, **patients.states}
    finish(run, recipe, states, device, data, tuple(slice_states), verified=verified)


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
    probabilities = np.random.default_rng(20).dirichlet(np.ones(len(recipe.classes)), (16, members))
    scores = probabilities.reshape(16, -1).astype(np.float32)
    verified[ENSEMBLE] = write_onnx(patients.ensemble, run / ENSEMBLE, scores)
    return verified


def _described(parts: Mapping[str, Sequence[PreparedStudy]], classes: Sequence[str]) -> dict[str, Any]:
    return describe_studies(
        parts,
        classes,
        slices=lambda study: len(study.slices),
        with_slice_labels=lambda study: study.infected is not None,
    )


def _save_weights(networks: Mapping[str, nn.Module], file: Path) -> None:
    """All networks' weights in one file, named by the network."""
    weights = {
        f"{name}.{key}": value.contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    write_bytes(file, save(weights))
