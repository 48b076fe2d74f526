"""A model's probabilities, its referral and its sets of classes, fitted anew on labelled images or studies.

Those of one hospital, say. How many it takes was measured on hospitals left out of training (docs/abstention.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError, DatasetError
from pulmoscope.core.files import check_folder, claim_folder, write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.checksum import file_checksums, table_checksum
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.bootstrap import units
from pulmoscope.evaluation.calibration import confidence_threshold, fit_calibration
from pulmoscope.evaluation.conformal import LEAST, fit_conformal
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.thresholds import class_thresholds
from pulmoscope.inference.hospitals import hospitals_of, with_hospital
from pulmoscope.pipeline.predict import Failure, Progress
from pulmoscope.pipeline.predict_studies import predict_answers
from pulmoscope.runtime.bundle import (
    CALIBRATION,
    CARD,
    HOSPITALS,
    MANIFEST,
    PARTS,
    Bundle,
    Calibration,
    Thresholds,
)
from pulmoscope.runtime.model import Model, calibrated

RECOMMENDED = 100
"""Images that a hospital should label: with fewer, chance still decides much (see :data:`REMAINS`)."""

REMAINS = {25: 0.59, 50: 0.48, 100: 0.33, 200: 0.27}
"""Images → the part of the calibration error that fitting to so many leaves at a hospital that was left out of
training: mean over three (docs/abstention.md)."""

ENOUGH_TO_REFER = 50
"""Images from which on the thresholds of referral are fitted: fewer say next to nothing about how often an answer of
90 % is right, and the model's own stay."""

EVALUATIONS = ("internal", "external", "unknown")
"""Roles of recorded evaluations; those of audits and of hospitals left out say what they say."""

BY_TEMPERATURE = ("calibration_error", "brier")
"""Recorded figures that a temperature changes; accuracy does not move at all, AUROC hardly."""

BY_REFERRAL = ("reported", "normals_reported_as_COVID", "wrongly_reported")
"""Recorded figures of hospitals, and the beginnings of their means' names, that the threshold of referral changes."""


def calibrate(
    model: Model,
    table: SampleTable,
    out: Path,
    *,
    split: str = "",
    version: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Bundle, tuple[Failure, ...]]:
    """Write a copy of a model's bundle fitted to a table: probabilities, thresholds of referral, sets of classes.

    Probabilities by temperature and, where it helps, a bias of each class (:func:`fit_calibration`). Thresholds of
    referral from :data:`ENOUGH_TO_REFER` images on. The sets of classes that can't be ruled out are those of the table
    alone, and its images become known as those of a hospital (``hospitals.npz``). The networks stay as they are, and
    so does how far an image may be from the training images. The card is not written: see
    :func:`pulmoscope.training.card.text.model_card`.

    Args:
        table: images, or studies where the model predicts patients, that training has not seen.
        out: the new bundle's folder.
        split: what the table is called in ``fitted_on``.
        version: of the new bundle; empty: the model's, ``+`` and the beginning of the data's checksum.

    Returns:
        The new bundle, and the images that could not be read.

    Raises:
        OutputExistsError: ``out`` holds a bundle, and ``force`` is not given.
        BundleError: ``out`` is the folder of the model itself.
        DatasetError: fewer than :data:`LEAST` images have a label that the model knows, or all have the same.
        ResourceError: the disk is full, or the folder can't be written.
    """
    bundle = model.bundle
    check_folder(out, MANIFEST, force, (CARD, *PARTS))
    if out.resolve() == bundle.folder.resolve():
        raise BundleError(f"{out}: is the model itself; the calibrated one needs another folder")
    predictions, failures = predict_answers(model, table, progress)
    unit = "images" if bundle.patient is None else "studies"
    known = _enough(predictions, table, unit)
    claim_folder(out, MANIFEST, force, (CARD, *PARTS))
    copy_parts(bundle, out)
    sources = ", ".join(sorted(set(known.sources) - {""})) or "an unknown source"
    contents = file_checksums(table)
    used = _Used(split or "all", frozenset(known.sources), table_checksum(table, contents))
    answered = set(known.files)
    of_images = {content for sample, content in zip(table, contents, strict=True) if sample.file in answered}
    fitted_on = f"{used.split} of {sources}, {len(known)} {unit}"
    made = _fitted(bundle, known, fitted_on, tuple(sorted(of_images)))
    answered_table = table.with_samples(one for one in table if one.file in answered)
    _know_hospital(model, made, answered_table, out)
    has_bias = bool(made.calibration.bias)
    made = replace(
        made,
        folder=out,
        version=version or f"{bundle.version.partition('+')[0]}+{used.sha256[:8]}",
        metrics={name: _carried(record, used, has_bias) for name, record in bundle.metrics.items()},
    )
    return made.save(), failures


def _know_hospital(model: Model, made: Bundle, table: SampleTable, out: Path) -> None:
    """Take the table's hospital among those whose images are no surprise, where the bundle knows any at all.

    Its images count by the classes that the calibrated model predicts. Those of the other hospitals keep the classes of
    the model as it was: they are compared class by class, whatever the classes' mix.
    """
    hospitals = hospitals_of(model.bundle)
    calibrated_model = model.with_calibration(made.calibration)
    known = None if hospitals is None else with_hospital(hospitals, calibrated_model, table)
    if known is not None:
        write_bytes(out / HOSPITALS, known.to_bytes())


def _fitted(bundle: Bundle, known: Predictions, fitted_on: str, of_images: tuple[str, ...]) -> Bundle:
    """The bundle with what is fitted to its answers.

    Args:
        of_images: the SHA-256 of each image that had a part.
    """
    assert known.logits is not None
    temperature, bias = fit_calibration(known.logits, known.truth, units(known.patients))
    probabilities = calibrated(known.logits.astype(np.float32), temperature, bias)
    return replace(
        bundle,
        calibration=Calibration(temperature, fitted_on, of_images, bias),
        thresholds=_thresholds(bundle.thresholds, known, probabilities),
        conformal=fit_conformal(probabilities, known.truth, known.hospitals, known.classes, fitted_on),
    )


def expectation(images: int) -> str:
    """What figure to expect after fitting to so many images, in a sentence."""
    measured = max((count for count in REMAINS if count <= images), default=min(REMAINS))
    more = (
        ""
        if images >= RECOMMENDED
        else f"; {RECOMMENDED} left {REMAINS[RECOMMENDED]:.0%}, and are recommended"
    )
    return (
        f"At hospitals left out of training, fitting to {measured} images left {REMAINS[measured]:.0%} of the "
        f"calibration error{more}."
    )


def with_sets(bundle: Bundle, predictions: Predictions, fitted_on: str) -> Bundle:
    """A bundle with the sets of classes that can't be ruled out, fitted on its own answers; it is not saved.

    Args:
        predictions: the model's, of labelled images that training has not seen: those of its validation split.
        fitted_on: these images, in words.

    Raises:
        ValueError: the predictions are of other classes, or fewer than :data:`LEAST` have a label among them.
    """
    if predictions.classes != bundle.classes:
        raise ValueError(f"predictions of {', '.join(predictions.classes)}, not {', '.join(bundle.classes)}")
    known = predictions.select(predictions.truth >= 0)
    hospitals = known.hospitals or known.sources
    made = fit_conformal(known.probabilities, known.truth, hospitals, known.classes, fitted_on)
    if made is None:
        raise ValueError(f"sets need at least {LEAST} images with a label of the model, got {len(known)}")
    return replace(bundle, conformal=made)


def _enough(predictions: Predictions, table: SampleTable, unit: str) -> Predictions:
    """The images or studies with a label that the model knows, if they are enough."""
    known = predictions.select(predictions.truth >= 0)
    labels = set(known.labels)
    if len(known) < LEAST or len(labels) < 2:
        raise DatasetError(
            f"{table.root}: calibration needs at least {LEAST} {unit} of two or more of the model's classes "
            f"(found: {len(known)} {unit} of {', '.join(sorted(labels)) or 'none'})"
        )
    return known


def copy_parts(bundle: Bundle, out: Path) -> None:
    """Copy a bundle's parts, and take away what a bundle that was there before had besides."""
    for name in (CARD, *PARTS):
        (out / name).unlink(missing_ok=True)
    for name in bundle.files:
        write_bytes(out / name, (bundle.folder / name).read_bytes())


def _thresholds(current: Thresholds, known: Predictions, probabilities: FloatArray) -> Thresholds:
    """The model's thresholds with those of probability fitted anew.

    Thresholds by class replace the one for all, so the old ones must not stay: they are fitted anew where the model
    has them and the images' hospitals are known, and dropped elsewhere.
    """
    if len(known) < ENOUGH_TO_REFER:
        return current
    by_class: Mapping[str, float] = {}
    if current.by_class and set(known.hospitals) - {UNIDENTIFIED}:
        by_class = class_thresholds(probabilities, known.truth, known.hospitals, known.classes)
    return replace(current, confidence=confidence_threshold(probabilities, known.truth), by_class=by_class)


@dataclass(frozen=True)
class _Used:
    """The data that calibration used: their split, sources, and checksum as a table."""

    split: str
    sources: frozenset[str]
    sha256: str

    def may_be_in(self, record: Mapping[str, Any]) -> bool:
        """Whether recorded figures may be of the same images: of the same table, or of a source and split in common."""
        if record.get("data_sha256") == self.sha256:
            return True
        splits = {self.split, record.get("split") or "all"}
        return bool(self.sources & set(record.get("sources", ()))) and (len(splits) == 1 or "all" in splits)


def _carried(record: Mapping[str, Any], used: _Used, has_bias: bool) -> dict[str, Any]:
    """A recorded evaluation as it stands after a calibration: less what that makes untrue, and no longer external."""
    kept = _without(record, has_bias)
    if record["role"] not in EVALUATIONS or not used.may_be_in(record):
        return kept
    return {
        **kept,
        "role": CALIBRATION,
        "what": f"{kept['what']}; calibration used these data, or some of them",
    }


def _without(record: Mapping[str, Any], has_bias: bool) -> dict[str, Any]:
    """A recorded evaluation, less what another calibration makes untrue; a bias leaves AUROCs alone, or nearly so."""
    untrue = (*BY_TEMPERATURE, *BY_REFERRAL)

    def stays(name: str, value: Any) -> bool:
        return not name.startswith(untrue) and (
            not has_bias or not isinstance(value, Mapping) or "auroc" in name.lower()
        )

    kept = {name: value for name, value in record["figures"].items() if stays(name, value)}
    hospitals = {
        hospital: {name: value for name, value in scores.items() if stays(name, value)}
        for hospital, scores in record.get("hospitals", {}).items()
    }
    what = record["what"].replace("chosen and calibrated on", "chosen on")
    if "verdicts" in record:
        kept.pop("set_coverage", None)
        verdicts = [one for one in record["verdicts"] if one["part"] not in ("calibration", "abstention")]
        record = {**record, "verdicts": verdicts}
        what += "; audited before it was calibrated anew"
    return {**record, "what": what, "figures": kept} | ({"hospitals": hospitals} if hospitals else {})
