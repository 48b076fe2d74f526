"""A CT from the scan to its diagnosis: what is inferred, slice by slice, and what it is explained by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.change import CtChange
from pulmoscope.core.classes import is_positive, suspicion
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.software import versions_with
from pulmoscope.core.types import Diagnosis, Explanation, FloatArray, Prediction, Scan, SliceResult
from pulmoscope.inference.answer import CtAnswer, named
from pulmoscope.inference.change.ct import change_of, measured_alone, to_compare
from pulmoscope.inference.ct import CtResult, infer
from pulmoscope.inference.look import SeenCt, look_at
from pulmoscope.inference.missing import imputed
from pulmoscope.inference.patient_rule import suspicious
from pulmoscope.pipeline.change.earlier import about_earlier
from pulmoscope.quality.ct import rules as ct_rules
from pulmoscope.runtime.model import Model

MOSTLY = 0.5
"""Of a slice's body; where more was not measured, the slice is not shown as evidence."""
ABOUT = 0.01
"""Slices whose suspicion differs by less are about equally suspicious."""


def diagnose_ct(
    scan: Scan,
    model: Model,
    *,
    read_s: float = 0.0,
    wanted: Callable[[Prediction], bool] = lambda _: True,
    earlier: Scan | None = None,
) -> Diagnosis:
    """Diagnose a CT.

    Args:
        scan: HU, or slices that came as pictures.
        model: one whose bundle is of modality CT.
        read_s: what reading took, for the timings.
        wanted: whether to show what the most suspicious slices were predicted by.
        earlier: an earlier CT of the same patient, to compare this one with.

    Raises:
        UnsuitableError: no slice shows enough lung to be predicted; or one of the two can't be measured.
    """
    start = perf_counter()
    seen = look_at(scan)
    looked = perf_counter()
    result = infer(seen, model)
    predicted = perf_counter()
    change = None if earlier is None else _change(seen, result, earlier)
    compared = perf_counter()
    answer = result.answer
    diagnosis = Diagnosis(
        scan=seen.scan,
        model=model.identity,
        quality=result.quality,
        prediction=result.prediction,
        slices=_results(seen, result, model.bundle.classes),
        levels=answer.levels,
        timings_s={"read": read_s, "look": looked - start, "predict": predicted - looked}
        | ({} if change is None else {"compare": compared - predicted}),
        software=versions_with(model.runtime),
        # What was calibrated are slices: it says nothing of a patient who follows from them by a rule.
        card=card(model) | ({} if answer.checked is None else {"calibration": {}, "thresholds": {}}),
        severity=result.severity,
        masks=result.masks,
        imputed=imputed(seen.search, seen.lungs, model.bundle.imputer),
        change=change,
    )
    if not wanted(diagnosis.prediction):
        return diagnosis
    maps = _explanations(result, diagnosis)
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - compared}
    return replace(diagnosis, explanations=tuple(maps), timings_s=timings_s)


def _change(seen: SeenCt, result: CtResult, earlier: Scan) -> CtChange:
    """What has changed since an earlier CT, which is measured as this one was."""
    now = to_compare(seen, result.quality, result.severity, result.masks)
    with about_earlier(seen.scan):
        return change_of(now, measured_alone(earlier))


def card(model: Model) -> dict[str, Any]:
    """What the page tells of a model."""
    bundle = model.bundle
    return {
        "calibration": {
            "temperature": bundle.calibration.temperature,
            "fitted_on": bundle.calibration.fitted_on,
            "has_bias": bool(bundle.calibration.bias),
        },
        "thresholds": asdict(bundle.thresholds),
        "wording": bundle.recipe.get("wording", {}),
        "training_data": bundle.training_data,
        "metrics": bundle.metrics,
    }


def _results(seen: SeenCt, result: CtResult, classes: tuple[str, ...]) -> tuple[SliceResult, ...]:
    """One result per slice."""
    scan, answer, severity = seen.scan, result.answer, result.severity
    lung_fractions: npt.NDArray[np.float64] | None = (
        None if seen.lungs is None else ct_rules.lung_fractions(seen.lungs.labels)
    )
    file_per_slice = len(scan.files) == len(scan.pixels)
    instances = scan.facts.instances if scan.facts else ()
    return tuple(
        SliceResult(
            index=index,
            file=scan.files[index if file_per_slice else 0].name,
            z_mm=None if scan.z_mm is None else scan.z_mm[index],
            probabilities=_named(classes, row),
            lung_fraction=None if lung_fractions is None else round(float(lung_fractions[index]), 6),
            dense_fraction=None if seen.dense is None else round(float(seen.dense[index]), 6),
            network=None if answer.network is None else _named(classes, answer.network[index]),
            lesion_fraction=None if severity is None else _lesion_fraction(severity, index),
            missing_fraction=seen.search.slice_fraction(index),
            anomaly_score=_anomaly(answer, index),
            instance=instances[index] if instances else None,
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
    """A slice's probabilities by class; None where it was not predicted."""
    return None if np.isnan(row).any() else named(classes, row)


def _to_show(slices: Sequence[SliceResult]) -> list[int]:
    """The most suspicious slices; of about equally suspicious ones those with more lesion.

    What was not measured for the most part shows nothing of the patient, and is left out.
    """
    lesion = np.array([(result.lesion_fraction or 0.0) * (result.lung_fraction or 0.0) for result in slices])
    scores = [
        -1.0
        if result.probabilities is None or (result.missing_fraction or 0.0) > MOSTLY
        else suspicion(result.probabilities)
        for result in slices
    ]
    return suspicious(np.where(np.array(scores) < 0, -1.0, scores + ABOUT * lesion / max(lesion.max(), 1e-9)))


def _explanations(result: CtResult, diagnosis: Diagnosis) -> list[Explanation]:
    """What speaks for the likeliest infection in the most suspicious slices."""
    indices = _to_show(diagnosis.slices)
    positive = [name for name in diagnosis.prediction.probabilities if is_positive(name)]
    if not indices or not positive:
        return []
    target = max(positive, key=lambda name: diagnosis.prediction.probabilities[name])
    return result.reading.explain(indices, target)
