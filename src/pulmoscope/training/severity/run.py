"""A run of system A: quality control, slices, patients, each from where a killed run left it.

A run is a folder, as :mod:`pulmoscope.training.run` describes it, and a bundle when it is done
(:mod:`pulmoscope.runtime.bundle`). While it is under way ``checkpoints/`` holds states and ``prepared/`` the
standardised slices and the networks of quality control, unless the recipe names a folder for these; the export, which
predicts the held-out studies, removes it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.recipes import archive, rules, settings
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.runtime.bundle import ANOMALY, IMPUTER, NETWORK
from pulmoscope.runtime.network import open_network
from pulmoscope.runtime.votes import with_densities
from pulmoscope.training.hardware import clear_about_resources, find_device, keep_freed_memory
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import PREPARED, SHEETS, TrainedRun, check_free, claim, load_run
from pulmoscope.training.severity.attention import STAGE as ATTENDING
from pulmoscope.training.severity.attention import fit_attention
from pulmoscope.training.severity.quality_control import Fitted, Training
from pulmoscope.training.severity.regression import fit_regression
from pulmoscope.training.severity.slice_level import STAGE as SLICES
from pulmoscope.training.severity.slice_level import fit_slices
from pulmoscope.training.severity.studies import StandardSlices, prepare, repaired
from pulmoscope.training.summary import describe_studies, finish
from pulmoscope.training.three_level.studies import Cache

ATTENTION, REGRESSION = "attention.onnx", "regression.onnx"
CHECK_NOISE, CHECK_SLICES, CHECK_STUDIES = 4, 8, 16
"""What the networks' files are checked with: seeded noise, slices and studies of those to learn from."""
BATCH = 32


@dataclass(frozen=True)
class Prepared:
    """What a run learns from, repaired, and the networks of quality control."""

    train: tuple[StandardSlices, ...]
    imputer: Fitted | None
    anomaly: Fitted | None


def fit_severity(
    recipe: Recipe,
    table: SampleTable,
    run: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> TrainedRun:
    """Train system A on the split train of a table of CT studies.

    The same recipe, data, seed, device and number of threads give the same weights on a CPU, interrupted or not.

    Args:
        recipe: with its settings.
        table: studies with grades; the split val is held out.
        run: the folder of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: go on where the run in this folder stopped; a finished one is returned as it is.
        force: replace a run that is in this folder.
        progress: show bars and figures on standard error.

    Raises:
        OutputExistsError: a run is in this folder, and neither ``resume`` nor ``force`` is given.
        RecipeError: a setting makes no sense, the run to resume had other settings, or a loss became NaN.
        DatasetError, InputError: the data are not complete, or a study can't be read.
        BundleError: a network's file does not say what torch says.
        ResourceError: no such device, or memory or disk ran out.
    """
    check_free(run, resume, force)
    rules.check(recipe)
    where = find_device(device)
    keep_freed_memory()
    separate_seeds = torch.random.fork_rng([where] if where.type == "cuda" else [])
    relief = "a smaller --set batch_size=… or --set preprocess.size=…"
    with clear_about_resources(f"training {run}", relief=relief), separate_seeds:
        run.mkdir(parents=True, exist_ok=True)
        reporter = Reporter.of(progress)
        cache = cache_of(recipe, run)
        train, val = prepared_splits(recipe, table, cache, reporter)
        data = describe_studies(
            {"train": train, "val": val},
            recipe.classes,
            slices=lambda study: int(study.enough_lung.sum()),
            damaged_slices=lambda study: int(study.missing[study.enough_lung].any(axis=(1, 2)).sum()),
        )
        # Where prepared slices lie says nothing about the run, and is nobody else's business.
        plain = settings.to_plain(dataclasses.replace(recipe, cache=""))
        begun = {"schema_version": archive.VERSION, "recipe": plain, "data": data}
        if not claim(run, begun, force):
            _train(
                recipe, quality_controlled(recipe, train, cache, where, reporter), run, where, reporter, data
            )
    return load_run(run)


def prepared_splits(
    recipe: Recipe, table: SampleTable, cache: Cache, reporter: Reporter
) -> tuple[tuple[StandardSlices, ...], tuple[StandardSlices, ...]]:
    """The standardised studies of train and of val.

    Raises:
        DatasetError: a grade that is needed has no study.
        InputError: a study can't be read.
    """
    known = without_dropped(table, recipe, reporter)
    train, val = (
        prepare(
            known.split(split),
            expected(recipe.preprocess, Standardisation),
            recipe.classes,
            cache,
            reporter,
            search=recipe.controls.imputer != "none",
        )
        for split in ("train", "val")
    )
    _check_grades(recipe, train, val)
    return train, val


def quality_controlled(
    recipe: Recipe,
    train: tuple[StandardSlices, ...],
    cache: Cache,
    device: torch.device,
    reporter: Reporter,
) -> Prepared:
    """The studies to learn from, repaired; networks of quality control that the cache lacks are trained first."""
    quality = Training(recipe, cache, device, reporter)
    imputer, name, fitted = quality.imputer(train)
    train = repaired(train, imputer, cache, name, reporter)
    return Prepared(train, fitted, quality.anomaly(train, name))


def without_dropped(table: SampleTable, recipe: Recipe, reporter: Reporter) -> SampleTable:
    """The studies of the recipe's classes; what is dropped is reported.

    Raises:
        DatasetError: a class has no study.
    """
    dropped = Counter(sample.label for sample in table if sample.label in recipe.drop)
    for label, count in sorted(dropped.items()):
        reporter.line(
            f"{label}: {count} {'study is' if count == 1 else 'studies are'} left out, as the recipe's drop has it: "
            f"MosMedData has too few to learn from (to keep the class: --set drop= --set "
            f"classes={','.join([*recipe.classes, label])}; with --folds every fold needs a patient of it)"
        )
    return table.with_labels(recipe.classes)


def _train(
    recipe: Recipe,
    studies: Prepared,
    run: Path,
    device: torch.device,
    reporter: Reporter,
    data: Mapping[str, Any],
) -> None:
    folder = run / "checkpoints"
    network, slice_state = fit_slices(recipe, studies.train, folder, device, reporter)
    verified: dict[str, Mapping[str, float]] = {
        NETWORK: write_onnx(network, run / NETWORK, _check_images(recipe, studies.train))
    }
    opened = open_network(run / NETWORK, device="cpu")
    preprocess = expected(recipe.preprocess, Standardisation)
    vectors: list[FloatArray] = []
    for study in reporter.track(studies.train, "Features of studies", len(studies.train)):
        images = study.grey[study.enough_lung]
        tensor = preprocess.tensor(images)
        parts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
        vectors.append(
            np.concatenate([with_densities(opened(tensor[part])["features"], images[part]) for part in parts])
        )
    labels = [study.label for study in studies.train]
    attention, attention_state = fit_attention(recipe, vectors, labels, folder, reporter)
    shortest = min(len(one) for one in vectors)
    few: FloatArray = np.stack([one[:shortest] for one in vectors[:: max(1, len(vectors) // CHECK_STUDIES)]])
    verified[ATTENTION] = write_onnx(attention, run / ATTENTION, few)
    verified[REGRESSION] = write_onnx(fit_regression(recipe, vectors, labels), run / REGRESSION, few)
    for name, fitted in ((IMPUTER, studies.imputer), (ANOMALY, studies.anomaly)):
        if fitted is not None:
            write_bytes(run / name, fitted.file.read_bytes())
            verified[name] = fitted.verified
            for shown in sorted([*fitted.file.parent.glob("*.png"), *fitted.file.parent.glob("*.csv")]):
                write_bytes(run / SHEETS / name.removesuffix(".onnx") / shown.name, shown.read_bytes())
    networks = {"imputer": studies.imputer, "anomaly": studies.anomaly}
    finish(
        run,
        recipe,
        {SLICES: slice_state, ATTENDING: attention_state},
        device,
        data,
        verified=verified,
        anomaly_scale=None if studies.anomaly is None else studies.anomaly.scale,
        quality_seconds={name: round(one.seconds, 1) for name, one in networks.items() if one is not None},
    )


def _check_images(recipe: Recipe, studies: Sequence[StandardSlices]) -> FloatArray:
    """Seeded noise, and the middle slices of some studies."""
    preprocess = expected(recipe.preprocess, Standardisation)
    size = preprocess.size
    noise = np.random.default_rng(20).standard_normal((CHECK_NOISE, 1, size, size), dtype=np.float32)
    middle = np.stack([study.grey[len(study.images) // 2] for study in studies[:CHECK_SLICES]])
    return np.concatenate([noise, preprocess.tensor(middle)])


def cache_of(recipe: Recipe, run: Path) -> Cache:
    """Where prepared slices and quality networks lie: the recipe's folder, or the run's own."""
    return Cache(Path(recipe.cache) if recipe.cache else run / PREPARED)


def _check_grades(recipe: Recipe, train: Sequence[StandardSlices], val: Sequence[StandardSlices]) -> None:
    """Before anything is trained: is every grade there, and healthy lungs where anomalies are wanted?

    Raises:
        DatasetError: one is not.
    """
    for split, studies in (("train", train), ("val", val)):
        held = {study.label for study in studies}
        needed = range(len(recipe.classes)) if split == "train" else range(int(recipe.controls.anomalies))
        if missing := [recipe.classes[label] for label in needed if label not in held]:
            raise DatasetError(f"split {split}: needs a study of {', '.join(missing)} (found: none)")
