"""The bundle of a run of single images: network file, calibration, thresholds, what training images look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.calibration import confidence_threshold, fit_temperature
from pulmoscope.evaluation.conformal import fit_conformal
from pulmoscope.evaluation.thresholds import FEWEST, class_thresholds
from pulmoscope.inference.hospitals import known_hospitals, known_in
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.bundle import HOSPITALS, NETWORK, Bundle, Calibration, Thresholds
from pulmoscope.runtime.model import Model, calibrated
from pulmoscope.runtime.network import Network, open_network
from pulmoscope.training.data import FramedImages
from pulmoscope.training.export.common import drafted, validated
from pulmoscope.training.frame_cache import frame_cache_of
from pulmoscope.training.frames import Frames, frames_of, learnt_from, lung_finder, prepared
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.run import TrainedRun
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


def of_images(
    trained: TrainedRun,
    table: SampleTable,
    version: str,
    terms: str,
    progress: bool,
    frames: Frames | None,
    hospitals: bool,
) -> Bundle:
    """The bundle, calibrated, and its networks in the run's folder (see :func:`export_bundle`)."""
    run, recipe = trained.folder, trained.recipe
    known = learnt_from(recipe, prepared(recipe, table))
    if frames is None:
        frames = frames_of(recipe, prepared(recipe, table), progress, frame_cache_of(recipe, None))
    images = FramedImages(frames, recipe.framing, None, recipe.seed)
    verified = write_onnx(trained.network(), run / NETWORK, _check_inputs(images))
    if recipe.framing.needs_finder:
        write_bytes(run / "lungs.onnx", lung_finder().read_bytes())
    shown = add_view(run, known, progress) if recipe.modality == "XRAY" else {}
    warnings = [*known.warnings, *shown.get("warnings", ())]
    draft = drafted(
        trained,
        known,
        version,
        terms,
        verified,
        training_data={"sha256": table_checksum(known), **shown, "warnings": warnings},
    )
    made = _measured(draft, known, frames, images, held_out=bool(trained.summary["val_held_out"]))
    (run / HOSPITALS).unlink(missing_ok=True)
    if hospitals:
        _write_hospitals(made, known)
    return made


def _write_hospitals(made: Bundle, table: SampleTable) -> None:
    """Write ``hospitals.npz`` where the bundle reads X-rays and has learnt from enough images of a hospital.

    Args:
        table: train and val.
    """
    if made.modality == "XRAY" and known_in(table):
        known = known_hospitals(Model(made.sealed()), table)
        if known is not None:
            write_bytes(made.folder / HOSPITALS, known.to_bytes())


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


def _tensors(images: FramedImages, indices: npt.NDArray[np.int64]) -> FloatArray:
    return np.ascontiguousarray(images.batch([(0, 0, int(index)) for index in indices]).image.numpy())


def _answers(network: Network, images: FramedImages, split: str) -> _Answers:
    indices = images.frames.places(split)
    outputs = [
        network(_tensors(images, indices[start : start + BATCH])) for start in range(0, len(indices), BATCH)
    ]
    return _Answers(
        np.concatenate([output["logits"] for output in outputs]),
        np.concatenate([output["features"].mean(axis=(2, 3)) for output in outputs]),
        images.frames.labels[indices],
        tuple(images.frames.hospitals[index] for index in indices),
    )


def _measured(
    draft: Bundle, table: SampleTable, frames: Frames, images: FramedImages, held_out: bool
) -> Bundle:
    """The draft with calibration, thresholds and validation figures; writes ``reference.npz``."""
    network = open_network(draft.folder / NETWORK)
    train, val = _answers(network, images, "train"), _answers(network, images, "val")
    temperature = fit_temperature(val.logits, val.labels)
    probabilities = calibrated(val.logits, temperature)
    reference = _reference(train, val)
    # The rule is one of radiographs: a slice without a finding does not speak for the lungs.
    normal = _normal(train, val, draft.classes) if draft.modality == "XRAY" else None
    if normal is not None:
        normal = normal.with_cells(_mean_normal_map(network, images, draft.classes))
    for part, distribution in (("reference.npz", reference), ("normal.npz", normal)):
        (draft.folder / part).unlink(missing_ok=True)
        if distribution is not None:
            write_bytes(draft.folder / part, distribution.to_bytes())
    if reference is None:
        known = [*draft.training_data["warnings"], NO_REFERENCE]
        draft = dataclasses.replace(draft, training_data={**draft.training_data, "warnings": known})
    samples = [sample for sample in table if sample.split == "val"]
    assert [sample.file for sample in samples] == [frames.files[index] for index in frames.places("val")]
    several = len({*val.hospitals} - {UNIDENTIFIED}) > 1
    fitted_on = f"val, {len(val.labels)} images" + ("" if held_out else "; training has seen them")
    return dataclasses.replace(
        draft,
        calibration=Calibration(temperature, fitted_on),
        thresholds=Thresholds(
            confidence_threshold(probabilities, val.labels),
            None if reference is None else reference.limit,
            class_thresholds(probabilities, val.labels, val.hospitals, draft.classes) if several else {},
            None if normal is None else normal.limit,
        ),
        conformal=fit_conformal(probabilities, val.labels, val.hospitals, draft.classes, fitted_on),
        **validated(
            draft,
            samples,
            probabilities,
            "validation split: " + ("chosen and calibrated on" if held_out else "trained on, too"),
            held_out=held_out,
        ),
    )


def _mean_normal_map(network: Network, images: FramedImages, classes: Sequence[str]) -> FloatArray:
    """The mean feature maps (maps, rows, columns) of the normal training images; there is at least one."""
    negative = np.array([not is_positive(name) for name in classes])
    places = images.frames.places("train")
    indices = places[negative[images.frames.labels[places]]]
    sums = [
        network(_tensors(images, indices[start : start + BATCH]))["features"].sum(axis=0, dtype=np.float64)
        for start in range(0, len(indices), BATCH)
    ]
    return np.asarray(np.sum(sums, axis=0) / len(indices), dtype=np.float32)


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
    known, held_out = (from_normal.select(negative[from_normal.labels]) for from_normal in (train, val))
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
    from_normal = [distances[np.array(held_out.hospitals) == name] for name in hospitals]
    return dataclasses.replace(
        reference, limit=max(float(np.quantile(part, NORMALS_KEPT)) for part in from_normal)
    )
