"""From a finished training run to a bundle that diagnoses: network file, calibration, thresholds, reference, card.

Everything after the network file is measured through that very file, as diagnosis will run it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pulmoscope.core.classes import is_positive
from pulmoscope.core.files import sha256_of_file, write_bytes
from pulmoscope.core.software import versions
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.hospitals import UNIDENTIFIED, hospital_of
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.calibration import confidence_threshold, fit_temperature
from pulmoscope.evaluation.exact import unit_count
from pulmoscope.evaluation.metrics import Metrics, Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.evaluation.thresholds import FEWEST, class_thresholds
from pulmoscope.quality.distribution import Reference
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import MANIFEST, Bundle, Calibration, Thresholds, Validation
from pulmoscope.runtime.model import calibrated
from pulmoscope.runtime.network import Network, open_network
from pulmoscope.training.card.record import key_figures, named
from pulmoscope.training.card.text import model_card
from pulmoscope.training.data import FramedImages
from pulmoscope.training.frames import Frames, frames_of, learnt_from, lung_finder, prepared
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.run import TrainedRun, load_run
from pulmoscope.training.view.part import add_view

CHECK_NOISE, CHECK_IMAGES = 8, 16
"""How many inputs the network file is checked with: seeded noise, and images of the validation split."""

NORMALS_KEPT = 0.9
"""Share of the validation split's normal images, of the hospital that is worst off, that count as normal lungs."""

BATCH = 32
NO_REFERENCE = (
    "too few different training images: how far an image is from them is not measured, so strange images are not "
    "referred for being so"
)


def export_bundle(
    run: Path,
    table: SampleTable,
    name: str | None = None,
    version: str = "",
    *,
    terms: str = "",
    progress: bool = True,
    frames: Frames | None = None,
) -> Bundle:
    """Make a finished run's folder a bundle.

    Args:
        run: the folder of a finished run; ``bundle.json`` and its parts are written into it, over older ones.
        table: what the run was trained on.
        name: of the bundle; None: the recipe's name.
        version: of the bundle; empty: ``own-`` and the beginning of the network's SHA-256, which no release has.
        terms: the data's licence or terms of use, for the model card.
        frames: the images of train and val, framed already; None: they are framed here.

    Raises:
        BundleError: the network file does not say what torch says; no ``bundle.json`` is left then.
        RecipeError: the folder holds no finished run.
        DatasetError, InputError: the images can't be read.
        ResourceError: memory or disk ran out.
    """
    with clear_about_resources(f"exporting {run}"):
        return _export(run, table, name, version, terms, progress, frames)


def _export(
    run: Path,
    table: SampleTable,
    name: str | None,
    version: str,
    terms: str,
    progress: bool,
    frames: Frames | None,
) -> Bundle:
    trained = load_run(run)
    recipe = trained.recipe
    (run / MANIFEST).unlink(missing_ok=True)
    table = prepared(recipe, table)
    known = learnt_from(recipe, table)
    frames = frames_of(recipe, table, progress) if frames is None else frames
    images = FramedImages(frames, recipe.framing, None, recipe.seed)
    verified = write_onnx(trained.network(), run / "model.onnx", _check_inputs(images))
    if recipe.framing.needs_finder:
        write_bytes(run / "lungs.onnx", lung_finder().read_bytes())
    shown = add_view(run, known, progress) if recipe.modality == "XRAY" else {}
    draft = Bundle(
        folder=run,
        name=name or recipe.name,
        version=version or f"own-{sha256_of_file(run / 'model.onnx')[:8]}",
        modality=recipe.modality,
        classes=recipe.classes,
        preprocess=recipe.framing,
        recipe=settings.to_plain(_without_folders(recipe)),
        training_data=_with_views(_training_data(trained, known, terms), shown),
        verified=verified,
        software=versions("torch", "timm", "onnx", "onnxruntime"),
    )
    bundle = _measured(draft, known, frames, images, held_out=bool(trained.summary["val_held_out"]))
    write_bytes(run / "MODEL_CARD.md", model_card(bundle).encode())
    return bundle.save()


@dataclass(frozen=True)
class _Answers:
    """What the bundle says of some images: logits (n, logits), pooled features (n, maps), labels and hospitals (n,)."""

    logits: FloatArray
    pooled: FloatArray
    labels: npt.NDArray[np.int64]
    hospitals: tuple[str, ...]

    def select(self, chosen: npt.NDArray[np.bool_]) -> _Answers:
        """Those of the images for which ``chosen`` (n,) is true."""
        names = tuple(name for name, kept in zip(self.hospitals, chosen, strict=True) if kept)
        return _Answers(self.logits[chosen], self.pooled[chosen], self.labels[chosen], names)


def _check_inputs(images: FramedImages) -> FloatArray:
    """The fixed set: seeded noise, and the first images of the validation split."""
    shape = (CHECK_NOISE, images.preprocess.channels, images.preprocess.size, images.preprocess.size)
    noise = np.random.default_rng(20).standard_normal(shape, dtype=np.float32)
    return np.concatenate([noise, _tensors(images, images.frames.places("val")[:CHECK_IMAGES])])


def _tensors(images: FramedImages, places: npt.NDArray[np.int64]) -> FloatArray:
    return torch.stack([images[0, 0, int(place)].image for place in places]).numpy()


def _answers(network: Network, images: FramedImages, split: str) -> _Answers:
    places = images.frames.places(split)
    outputs = [
        network(_tensors(images, places[start : start + BATCH])) for start in range(0, len(places), BATCH)
    ]
    return _Answers(
        np.concatenate([output["logits"] for output in outputs]),
        np.concatenate([output["features"].mean(axis=(2, 3)) for output in outputs]),
        images.frames.labels[places],
        tuple(images.frames.hospitals[place] for place in places),
    )


def _measured(
    draft: Bundle, table: SampleTable, frames: Frames, images: FramedImages, held_out: bool
) -> Bundle:
    """The draft with calibration, thresholds and validation figures; writes ``reference.npz``."""
    network = open_network(draft.folder / "model.onnx")
    train, val = _answers(network, images, "train"), _answers(network, images, "val")
    temperature = fit_temperature(val.logits, val.labels)
    shares = calibrated(val.logits, temperature)
    reference = _reference(train, val)
    # The rule is one of radiographs: a slice without a finding does not speak for the lungs.
    normal = _normal(train, val, draft.classes) if draft.modality == "XRAY" else None
    for part, found in (("reference.npz", reference), ("normal.npz", normal)):
        (draft.folder / part).unlink(missing_ok=True)
        if found is not None:
            write_bytes(draft.folder / part, found.to_bytes())
    if reference is None:
        known = [*draft.training_data["warnings"], NO_REFERENCE]
        draft = dataclasses.replace(draft, training_data={**draft.training_data, "warnings": known})
    several = len({*val.hospitals} - {UNIDENTIFIED}) > 1
    fitted_on = f"val, {len(val.labels)} images" + ("" if held_out else "; training has seen them")
    return dataclasses.replace(
        draft,
        calibration=Calibration(temperature, fitted_on),
        thresholds=Thresholds(
            confidence_threshold(shares, val.labels),
            None if reference is None else reference.limit,
            class_thresholds(shares, val.labels, val.hospitals, draft.classes) if several else {},
            None if normal is None else normal.limit,
        ),
        **_validation(draft, table, frames, shares, held_out),
    )


def _reference(train: _Answers, val: _Answers) -> Reference | None:
    """How training images lie; None where those of a class do not differ, as a single one does not from itself."""
    try:
        reference = Reference.fit(train.pooled, train.labels)
    except np.linalg.LinAlgError:
        return None
    return reference.with_limit(reference.distance(val.pooled))


def _normal(train: _Answers, val: _Answers, classes: Sequence[str]) -> Reference | None:
    """How normal lungs of all hospitals lie; the limit lets :data:`NORMALS_KEPT` of the worst hospital's pass."""
    negative = np.array([not is_positive(name) for name in classes])
    known, held_out = (own.select(negative[own.labels]) for own in (train, val))
    hospitals = [
        name
        for name in sorted({*held_out.hospitals} - {UNIDENTIFIED})
        if held_out.hospitals.count(name) >= FEWEST
    ]
    if len(set(known.hospitals)) < 2 or not hospitals:
        return None
    try:
        reference = Reference.fit(known.pooled, known.hospitals, quantile=NORMALS_KEPT)
    except np.linalg.LinAlgError:
        return None
    distances = reference.distance(held_out.pooled)
    own = [distances[np.array(held_out.hospitals) == name] for name in hospitals]
    return dataclasses.replace(reference, limit=max(float(np.quantile(part, NORMALS_KEPT)) for part in own))


def _validation(
    draft: Bundle, table: SampleTable, frames: Frames, shares: FloatArray, held_out: bool
) -> dict[str, Any]:
    """The bundle's ``metrics`` and ``validation``."""
    samples = [sample for sample in table if sample.split == "val"]
    assert [sample.file for sample in samples] == [frames.files[place] for place in frames.places("val")]
    predictions = Predictions(
        files=tuple(sample.file for sample in samples),
        labels=tuple(sample.label for sample in samples),
        patients=tuple(sample.patient for sample in samples),
        sources=tuple(sample.source for sample in samples),
        classes=draft.classes,
        probabilities=shares.astype(np.float64),
    )
    found: Metrics = measure(predictions)
    pairwise = found.pairwise.plain() if found.pairwise and len(draft.classes) > 2 else None
    val = {
        "role": "internal",
        "what": "validation split: " + ("chosen and calibrated on" if held_out else "trained on, too"),
        "images": found.images,
        "figures": key_figures(found.plain(), pairwise),
    }
    of_patient, auroc = units(predictions.patients), found.scores["macro_auroc"]
    patients = {
        name: unit_count(of_patient, predictions.truth == number) for number, name in enumerate(draft.classes)
    }
    validation = Validation(patients, auroc.value, auroc.low, auroc.high, held_out)
    return {"metrics": {"val": val}, "validation": validation}


def _without_folders(recipe: Recipe) -> Recipe:
    """A bundle travels: of the weights that its backbone began with it names the file only."""
    model = dataclasses.replace(recipe.model, weights=Path(recipe.model.weights).name)
    return dataclasses.replace(recipe, model=model)


def _with_views(known: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the training data, with what the view network says of it."""
    return {**known, **shown, "warnings": [*known["warnings"], *shown.get("warnings", ())]}


def _training_data(trained: TrainedRun, table: SampleTable, terms: str) -> Mapping[str, Any]:
    """Counts, sources, hospitals, patients, checksum and terms; no file names."""
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    by_hospital: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in table:
        by_source[named(sample.source)][sample.label] += 1
        by_hospital[hospital_of(sample)][sample.label] += 1
    return {
        **trained.summary["data"],
        "classes_by_source": {source: dict(sorted(own.items())) for source, own in sorted(by_source.items())},
        "classes_by_hospital": {name: dict(sorted(own.items())) for name, own in sorted(by_hospital.items())},
        "layout": table.layout,
        "patients_known": sum(bool(sample.patient) for sample in table),
        "sha256": table_checksum(table),
        "warnings": list(table.warnings),
        "terms": terms,
    }
