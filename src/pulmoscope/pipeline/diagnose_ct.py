"""The main flow of a CT: scan → missing data → lungs → quality → every slice → the patient → decision → explanation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive, suspicion
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.software import versions_with
from pulmoscope.core.types import (
    BoolArray,
    Decision,
    Diagnosis,
    Explanation,
    FloatArray,
    Prediction,
    Quality,
    Scan,
    SliceResult,
)
from pulmoscope.datasets.ct_studies import lungs_of
from pulmoscope.pipeline.choice import AnyModel
from pulmoscope.pipeline.ct_answer import CtAnswer, CtReader, named
from pulmoscope.pipeline.ct_missing import Searched, imputed, missing_flags, searched
from pulmoscope.pipeline.ct_readers import reader_of
from pulmoscope.pipeline.decision import ct_quality, decide
from pulmoscope.pipeline.patient_rule import ENOUGH, suspicious
from pulmoscope.pipeline.severity import held_to_measure, measured, with_limits
from pulmoscope.quality import ct_rules
from pulmoscope.runtime.bundle import Thresholds

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask

MOSTLY = 0.5
"""Of a slice's body; where more was not measured, the slice is not shown as evidence."""
ABOUT = 0.01
"""Slices whose suspicion differs by less are about equally suspicious."""


def diagnose_ct(
    scan: Scan,
    model: AnyModel,
    *,
    read_s: float = 0.0,
    wanted: Callable[[Prediction], bool] = lambda _: True,
) -> Diagnosis:
    """Diagnose a CT.

    Args:
        scan: HU, or slices that came as pictures.
        model: one whose bundle is of modality CT.
        read_s: what reading took, for the timings.
        wanted: whether to show what the most suspicious slices were judged by.

    Raises:
        UnsuitableError: no slice shows enough lung to be judged.
    """
    start = perf_counter()
    raw, own = scan, searched(scan)
    scan = own.scan
    searched_at = perf_counter()
    lungs = lungs_of(scan)
    found = perf_counter()
    reader, bundle = reader_of(model), model.bundle
    dense = None if lungs is None else _dense(scan, lungs)
    with ThreadPoolExecutor(2) as aside:
        checked = aside.submit(ct_quality, scan, lungs, bundle.training_data.get("sources", ()))
        measuring = aside.submit(measured, scan, lungs, own.mask)
        given = (scan, lungs, own.mask) if reader.repairs else (raw, lungs_of(raw), None)
        answer = reader.answer(given[0], given[1], dense, given[2])
    if not answer.patient:
        raise _without_lungs(scan, lungs)
    predicted = perf_counter()
    known = checked.result().all_flags
    quality = Quality((*known, *missing_flags(own, lungs, answer.imputer), *answer.flags))
    severity, masks = with_limits(measuring.result(), quality)
    prediction = _decided(answer, quality, bundle.thresholds)
    diagnosis = Diagnosis(
        scan=scan,
        model=model.identity,
        quality=quality,
        prediction=held_to_measure(prediction, severity),
        slices=_results(own, lungs, (dense, severity), answer, bundle.classes),
        levels=answer.levels,
        timings_s={
            "read": read_s,
            "search": searched_at - start,
            "lungs": found - searched_at,
            "predict": predicted - found,
        },
        software=versions_with(model.runtime),
        # What was calibrated are slices: it says nothing of a patient who follows from them by a rule.
        card=card(model) | ({} if answer.checked is None else {"calibration": {}, "thresholds": {}}),
        severity=severity,
        masks=masks,
        imputed=imputed(own, lungs, answer.imputer),
    )
    if not wanted(diagnosis.prediction):
        return diagnosis
    maps = _explanations(reader, given, diagnosis)
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - predicted}
    return replace(diagnosis, explanations=tuple(maps), timings_s=timings_s)


def card(model: AnyModel) -> dict[str, Any]:
    """What the page tells of a model."""
    bundle = model.bundle
    return {
        "calibration": asdict(bundle.calibration),
        "thresholds": asdict(bundle.thresholds),
        "wording": bundle.recipe.get("wording", {}),
        "training_data": bundle.training_data,
        "metrics": bundle.metrics,
    }


def _without_lungs(scan: Scan, lungs: LungMask | None) -> UnsuitableError:
    """Why a CT of which no slice was judged is refused."""
    found_ml = 0 if lungs is None else lungs.right_ml + lungs.left_ml
    source = scan.files[0].name if len(scan.files) == 1 else scan.name
    return UnsuitableError(
        source, "at least one slice of a chest CT shows lungs", f"{found_ml:.0f} ml in all"
    )


def _decided(answer: CtAnswer, quality: Quality, thresholds: Thresholds) -> Prediction:
    """Report or refer; what hardly any patient has checked is always referred."""
    prediction = decide(answer.patient, quality, thresholds)
    if prediction.decision is Decision.REFER or answer.checked is None or answer.checked >= ENOUGH:
        return prediction
    reason = (
        f"How the slices' answers become the patient's was checked on {answer.checked} patients only; answers are "
        f"reported from {ENOUGH} on. A person must read the study."
    )
    return replace(prediction, decision=Decision.REFER, reason=reason)


def _dense(scan: Scan, lungs: LungMask) -> FloatArray:
    """Of each slice's lung, the fraction that is dense."""
    from pulmoscope.preprocess.ct_dense import dense_fractions

    assert scan.spacing_mm is not None  # as there are lungs
    return dense_fractions(scan.pixels, lungs.labels, scan.spacing_mm)


def _results(
    own: Searched,
    lungs: LungMask | None,
    measures: tuple[FloatArray | None, SeverityMeasure | None],
    answer: CtAnswer,
    classes: tuple[str, ...],
) -> tuple[SliceResult, ...]:
    """One result per slice."""
    scan, (dense, severity) = own.scan, measures
    shares: npt.NDArray[np.float64] | None = None if lungs is None else ct_rules.lung_fractions(lungs.labels)
    own_files = len(scan.files) == len(scan.pixels)
    return tuple(
        SliceResult(
            index=index,
            file=scan.files[index if own_files else 0].name,
            z_mm=None if scan.z_mm is None else scan.z_mm[index],
            probabilities=_named(classes, row),
            lung_fraction=None if shares is None else round(float(shares[index]), 6),
            dense_fraction=None if dense is None else round(float(dense[index]), 6),
            network=None if answer.network is None else _named(classes, answer.network[index]),
            lesion_fraction=None if severity is None else _lesion_fraction(severity, index),
            missing_fraction=own.slice_fraction(index),
            anomaly_score=_anomaly(answer, index),
        )
        for index, row in enumerate(answer.slices)
    )


def _anomaly(answer: CtAnswer, index: int) -> float | None:
    """How unlike normal ones a slice is; None where that is not known."""
    if answer.anomalies is None or np.isnan(answer.anomalies[index]):
        return None
    return round(float(answer.anomalies[index]), 6)


def _lesion_fraction(severity: SeverityMeasure, index: int) -> float | None:
    """Of a slice's lung, the fraction that is lesion; None where no lung was observed."""
    fraction = severity.slice_fractions[index]
    return None if np.isnan(fraction) else round(fraction, 6)


def _named(classes: tuple[str, ...], row: FloatArray) -> dict[str, float] | None:
    """A slice's probabilities by class; None where it was not judged."""
    return None if np.isnan(row).any() else named(classes, row)


def _to_show(slices: Sequence[SliceResult]) -> list[int]:
    """The most suspicious slices; of about equally suspicious ones those with more lesion.

    What was not measured for the most part shows nothing of the patient, and is left out.
    """
    lesion = np.array([(own.lesion_fraction or 0.0) * (own.lung_fraction or 0.0) for own in slices])
    scores = [
        -1.0
        if own.probabilities is None or (own.missing_fraction or 0.0) > MOSTLY
        else suspicion(own.probabilities)
        for own in slices
    ]
    return suspicious(np.where(np.array(scores) < 0, -1.0, scores + ABOUT * lesion / max(lesion.max(), 1e-9)))


def _explanations(
    reader: CtReader, given: tuple[Scan, LungMask | None, BoolArray | None], diagnosis: Diagnosis
) -> list[Explanation]:
    """What speaks for the likeliest infection in the most suspicious slices."""
    places = _to_show(diagnosis.slices)
    positive = [name for name in diagnosis.prediction.probabilities if is_positive(name)]
    if not places or not positive:
        return []
    target = max(positive, key=lambda name: diagnosis.prediction.probabilities[name])
    scan, lungs, missing = given
    return reader.explain(scan, lungs, places, target, missing)
