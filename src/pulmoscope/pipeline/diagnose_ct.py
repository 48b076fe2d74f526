"""The main flow of a CT: scan → lungs → quality → every slice → the patient → decision → explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from pulmoscope.core.software import versions
from pulmoscope.core.types import (
    Decision,
    Diagnosis,
    Explanation,
    Flag,
    FloatArray,
    Prediction,
    Quality,
    Scan,
    Severity,
    SliceResult,
    Units,
)
from pulmoscope.explain import gradcam
from pulmoscope.pipeline import patient_rule
from pulmoscope.pipeline.decision import decide
from pulmoscope.preprocess.ct_lungs import LungMask, lung_mask
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.quality import ct_rules
from pulmoscope.runtime.model import Model, Prepared

BATCH = 16
"""Slices that are prepared at a time: what bounds the memory."""
LEAST_LUNG = 0.01
"""Share of a slice's pixels that must be lung for it to be judged."""


@dataclass(frozen=True)
class _Lungs:
    """Where the lungs lie, and how much of each slice they are; None where they can't be looked for in the volume."""

    mask: LungMask | None
    shares: npt.NDArray[np.float64] | None

    def of(self, index: int) -> FloatArray | None:
        """The lungs of one slice: 1 inside, 0 outside."""
        return None if self.mask is None else (self.mask.labels[index] > 0).astype(np.float32)


def diagnose_ct(scan: Scan, model: Model, *, read_s: float = 0.0, explain: bool = True) -> Diagnosis:
    """Diagnose a CT with a model of slices; the patient follows by :mod:`pulmoscope.pipeline.patient_rule`.

    Args:
        scan: HU, or slices that came as pictures.
        model: one whose bundle is of modality CT.
        read_s: what reading took, for the timings.
        explain: also show what the most suspicious slices were judged by.
    """
    start = perf_counter()
    lungs = _find_lungs(scan)
    found = perf_counter()
    quality = ct_rules.check(scan, None if lungs.mask is None else lungs.mask.labels)
    judged = [i for i in range(len(scan.pixels)) if lungs.shares is None or lungs.shares[i] >= LEAST_LUNG]
    shares = _slice_probabilities(scan, model, lungs, judged)
    predicted = perf_counter()
    quality, prediction = _conclude(quality, shares[judged], model)
    diagnosis = Diagnosis(
        scan=scan,
        model=model.identity,
        quality=quality,
        prediction=prediction,
        slices=_results(scan, model, lungs, shares),
        timings_s={"read": read_s, "lungs": found - start, "predict": predicted - found},
        software=versions(*({"onnx": ["onnxruntime"], "torch": ["torch"]}.get(model.runtime, []))),
        card=card(model),
    )
    if not explain:
        return diagnosis
    maps = _explanations(scan, model, lungs, shares)
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - predicted}
    return replace(diagnosis, explanations=maps, timings_s=timings_s)


def card(model: Model) -> Mapping[str, object]:
    """What the page tells of a model."""
    bundle = model.bundle
    return {
        "calibration": asdict(bundle.calibration),
        "thresholds": asdict(bundle.thresholds),
        "training_data": bundle.training_data,
        "metrics": bundle.metrics,
    }


def _find_lungs(scan: Scan) -> _Lungs:
    """Look for the lungs in the volume; slices that came as pictures are each looked at by themselves, later."""
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return _Lungs(None, None)
    mask = lung_mask(scan.pixels, scan.spacing_mm)
    return _Lungs(mask, ct_rules.lung_shares(mask.labels))


def _prepare(scan: Scan, model: Model, lungs: _Lungs, index: int) -> Prepared:
    """One slice as the network sees it."""
    pixels = scan.pixels[index]
    preprocess = model.bundle.preprocess
    if scan.units is Units.HU and isinstance(preprocess, SlicePreprocess):
        pixels = preprocess.render(pixels)
    return model.prepare(pixels, lungs.of(index))


def _slice_probabilities(scan: Scan, model: Model, lungs: _Lungs, judged: list[int]) -> FloatArray:
    """float32 (slices, classes); NaN where a slice is not judged."""
    shares = np.full((len(scan.pixels), len(model.bundle.classes)), np.nan, dtype=np.float32)
    for start in range(0, len(judged), BATCH):
        places = judged[start : start + BATCH]
        batch = np.stack([_prepare(scan, model, lungs, place).tensor for place in places])
        shares[places] = model.predict(batch).probabilities
    return shares


def _conclude(quality: Quality, shares: FloatArray, model: Model) -> tuple[Quality, Prediction]:
    """The patient's probability and what is done with it: too few patients stand behind the rule to report any."""
    bundle = model.bundle
    if not len(shares):
        none = Flag(
            "no-slices", Severity.REFUSE, "at least one slice shows enough lung to be judged (found: none)"
        )
        quality = Quality((*quality.flags, *([] if quality.verdict == "refuse" else [none])))
        even = dict.fromkeys(bundle.classes, 1 / len(bundle.classes))
        return quality, decide(even, quality, bundle.thresholds.confidence)
    positive = patient_rule.patient_probability(shares[:, _positive(model)])
    known = {name: round(1 - positive, 6) for name in bundle.classes}
    known[bundle.classes[_positive(model)]] = round(positive, 6)
    quality = Quality((*quality.flags, Flag("patient-rule", Severity.WARN, patient_rule.LIMITS)))
    prediction = decide(known, quality, bundle.thresholds.confidence)
    if prediction.decision is Decision.REPORT:
        reason = f"The model was checked on {patient_rule.CHECKED_ON} patients only; a person must decide."
        prediction = replace(prediction, decision=Decision.REFER, reason=reason)
    return quality, prediction


def _positive(model: Model) -> int:
    """The place of the class that is looked for: the one that a two-class model's second logit stands for."""
    return len(model.bundle.classes) - 1


def _results(scan: Scan, model: Model, lungs: _Lungs, shares: FloatArray) -> tuple[SliceResult, ...]:
    """One result per slice."""
    whole = len(scan.files) == len(scan.pixels)
    results = []
    for index, row in enumerate(shares):
        named = dict(zip(model.bundle.classes, (round(float(share), 6) for share in row), strict=True))
        results.append(
            SliceResult(
                index=index,
                file=scan.files[index if whole else 0].name,
                z_mm=None if scan.z_mm is None else scan.z_mm[index],
                probabilities=None if np.isnan(row).any() else named,
                lung_share=None if lungs.shares is None else round(float(lungs.shares[index]), 6),
            )
        )
    return tuple(results)


def _explanations(scan: Scan, model: Model, lungs: _Lungs, shares: FloatArray) -> tuple[Explanation, ...]:
    """What speaks for the class that is looked for, in the most suspicious slices."""
    target = _positive(model)
    places = patient_rule.suspicious(np.nan_to_num(shares[:, target], nan=-1.0))
    if not places:
        return ()
    seen = [_prepare(scan, model, lungs, place) for place in places]
    answer = model.predict(np.stack([prepared.tensor for prepared in seen]))
    rows, columns = scan.pixels.shape[1:]
    return tuple(
        Explanation(
            "grad-cam",
            model.bundle.classes[target],
            gradcam.explain(answer, row, prepared, target, rows, columns),
            index=place,
        )
        for row, (place, prepared) in enumerate(zip(places, seen, strict=True))
    )
