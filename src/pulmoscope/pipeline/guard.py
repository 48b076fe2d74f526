"""What a model of X-rays needs to know when not to answer, made from the data that it was trained on.

Training writes it into every new bundle; a bundle from before gets it here. The networks, the probabilities and the
thresholds stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import BundleError, DatasetError, InputError
from pulmoscope.core.files import check_folder, claim_folder, write_bytes
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray, Modality
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.conformal import LEAST
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.inference.decision import normal_lungs
from pulmoscope.inference.hospitals import known_hospitals
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.calibrate import copy_parts, with_sets
from pulmoscope.pipeline.predict import Progress, predict_table
from pulmoscope.runtime.bundle import HOSPITALS, MANIFEST, Bundle
from pulmoscope.runtime.maps import Maps
from pulmoscope.runtime.model import BATCH, Model, Prepared

NORMAL = "normal.npz"


def guard(
    model: Model,
    table: SampleTable,
    out: Path,
    *,
    version: str = "",
    maps: Maps | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Write a copy of a model's bundle with its hospitals, the sets of classes, and where lungs are unlike normal.

    Args:
        table: what the model was trained on, hospitals mapped, labels in its words, with the splits train and val.
        out: the new bundle's folder.
        version: of the new bundle; empty: the model's.
        maps: the heat maps that explain its answers; None: the model's.
        progress: called with (steps done, steps in all).

    Returns:
        The new bundle. The card is not written.

    Raises:
        OutputExistsError: ``out`` holds a bundle, and ``force`` is not given.
        BundleError: the model reads no single X-rays, or ``out`` is its own folder.
        DatasetError: train or val has too few images of the model's classes, or no normal one can be read.
    """
    bundle = model.bundle
    check_folder(out, MANIFEST, force)
    if bundle.modality != Modality.XRAY or bundle.patient is not None:
        raise BundleError(f"{bundle.folder}: only a model of single X-rays can be given these parts")
    if out.resolve() == bundle.folder.resolve():
        raise BundleError(f"{out}: is the model itself; the new one needs another folder")
    known = table.with_samples(sample for sample in table if sample.label in bundle.classes)
    for split, least in (("train", 1), ("val", LEAST)):
        if len(known.split(split)) < least:
            raise DatasetError(
                f"{table.root}: the split {split} needs at least {least} images with a label that the model knows "
                f"(found: {len(known.split(split))})"
            )
    tell = progress or (lambda done, total: None)
    tell(0, 3)
    answers, _ = predict_table(model, known.split("val"))
    tell(1, 3)
    hospitals = known_hospitals(model, known)
    tell(2, 3)
    reference, made = normal_lungs(bundle), _with_sets(bundle, answers, table)
    if reference is not None:
        reference = reference.with_cells(_mean_normal_map(model, known))
    claim_folder(out, MANIFEST, force)
    copy_parts(bundle, out)
    if hospitals is not None:
        write_bytes(out / HOSPITALS, hospitals.to_bytes())
    if reference is not None:
        write_bytes(out / NORMAL, reference.to_bytes())
    tell(3, 3)
    return replace(
        made, folder=out, version=version or bundle.version, explanation=maps or bundle.explanation
    ).save()


def _with_sets(bundle: Bundle, answers: Predictions, table: SampleTable) -> Bundle:
    try:
        return with_sets(bundle, answers, f"val, {len(answers)} images")
    except ValueError as error:  # so many could not be read
        raise DatasetError(f"{table.root}: {error}") from error


def _mean_normal_map(model: Model, table: SampleTable) -> FloatArray:
    """The mean feature maps (maps, rows, columns) of the normal training images."""
    samples = [one for one in table if one.split == "train" and not is_positive(one.label)]
    total, images = 0.0, 0
    stream = _prepared(model, table, samples)
    while batch := list(islice(stream, BATCH)):
        features = model.predict(np.stack([one.tensor for one in batch])).features
        total = total + features.sum(axis=0, dtype=np.float64)
        images += len(batch)
    if not images:
        raise DatasetError(f"{table.root}: no normal image of the split train could be read")
    return np.asarray(total / images, dtype=np.float32)


def _prepared(model: Model, table: SampleTable, samples: list[Sample]) -> Iterator[Prepared]:
    """Each image as the network sees it; those that can't be read are left out."""

    def one(sample: Sample) -> Prepared | None:
        try:
            return model.prepare(read_pixels(table.path(sample)))
        except InputError:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from (image for image in ahead(threads, one, samples, 4 * BATCH) if image is not None)
