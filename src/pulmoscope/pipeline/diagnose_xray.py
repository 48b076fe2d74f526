"""A radiograph from the scan to its diagnosis: what is inferred, how ill its lungs are, and what it is explained by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from time import perf_counter
from typing import Any

from pulmoscope.core.software import versions_with
from pulmoscope.core.types import (
    Diagnosis,
    Explanation,
    Flag,
    FlagLevel,
    FloatArray,
    Prediction,
    Quality,
    Scan,
)
from pulmoscope.core.xray_severity import XraySeverity
from pulmoscope.explain import gradcam
from pulmoscope.explain.lungs import mass_within, seen_lungs
from pulmoscope.explain.maps import Viewed, maps
from pulmoscope.inference.decision import normal_lungs
from pulmoscope.inference.image import SeenImage, infer_images, look_at_image
from pulmoscope.inference.xray_severity import SeverityReader
from pulmoscope.pipeline.change.xray import compared
from pulmoscope.pipeline.diagnose_ct import card
from pulmoscope.report.xray_severity import NotEstimated
from pulmoscope.runtime.model import Model, Outputs

UNLIKE_NORMAL = "anything unlike normal lungs"
"""What the map of lungs that may show an unknown disease is evidence for."""
_UNLIKE = frozenset({"unlike-normal", "unknown-disease"})
_SHOWN = 0.05
"""Least probability of a class, other than the most probable one, whose evidence is shown."""


def diagnose_xray(
    scan: Scan,
    model: Model,
    *,
    severity: SeverityReader | None,
    read_s: float = 0.0,
    limits: tuple[Flag, ...] = (),
    seen: SeenImage | None = None,
    wanted: Callable[[Prediction], bool] = lambda _: True,
    earlier: Scan | None = None,
) -> Diagnosis:
    """Diagnose a radiograph.

    Args:
        scan: of one slice.
        model: one whose bundle is of modality XRAY.
        severity: what scores it; None: nothing.
        read_s: what reading took, for the timings.
        limits: what there is to know of the place that it is of.
        seen: what :func:`pulmoscope.inference.image.look_at_image` has said of it; None: nobody has looked.
        wanted: whether to compute heat maps.
        earlier: an earlier radiograph of the same patient, to compare this one with.

    Raises:
        UnsuitableError: one of the two can't be compared.
    """
    start = perf_counter()
    seen = seen or look_at_image(scan, model)
    seen = replace(seen, flags=(*seen.flags, *limits))
    looked = perf_counter()
    answer, ((quality, prediction),) = infer_images([seen], model)
    predicted = perf_counter()
    # What can't be predicted for its quality can't be scored either.
    found = None if quality.verdict == "refuse" else estimate(severity, scan, model, seen, answer)
    if found is not None:
        found = replace(found, limits=(*found.limits, *_unfamiliar(quality)))
    timings_s = {"read": read_s, "look": looked - start, "predict": predicted - looked}
    diagnosis = Diagnosis(
        scan=scan,
        model=model.identity,
        quality=quality,
        prediction=prediction,
        timings_s=timings_s if found is None else timings_s | {"severity": perf_counter() - predicted},
        software=versions_with(model.runtime),
        card=card(model) | {"severity": _record(severity)},
        xray_severity=found,
    )
    if earlier is not None:
        diagnosis = compared(
            diagnosis, lambda: diagnose_xray(earlier, model, severity=severity, wanted=lambda _: False)
        )
    return _explained(diagnosis, seen, answer, model) if wanted(prediction) else diagnosis


def _unfamiliar(quality: Quality) -> tuple[str, ...]:
    """Why the scores are worth less where the model refers the image as it knows nothing like it."""
    findings = [flag.finding for flag in quality.limits if flag.level is FlagLevel.REFUSE]
    if not findings:
        return ()
    return (
        "The model's answer can't be relied on for this image, and the scores rest on what the same network sees: "
        f"{'; '.join(findings)}.",
    )


def _record(severity: SeverityReader | None) -> Mapping[str, Any] | None:
    """Score → how far the severity model was off on patients left out; None where there is no such model."""
    return None if severity is None else severity.model.facts["figures"]["cross_validated"]


def estimate(
    severity: SeverityReader | None, scan: Scan, model: Model, seen: SeenImage, outputs: Outputs
) -> XraySeverity | None:
    """The severity of a radiograph, where there is a model for it (see ``SeverityReader.estimate``)."""
    return None if severity is None else severity.estimate(scan, model, seen, outputs)


def scored_alike(plain: Mapping[str, Any], severity: SeverityReader | None) -> bool:
    """Whether an X-ray's ``diagnosis.json`` says of its severity what this model would say."""
    identity: Mapping[str, str] | None = plain["severity"]["model"]
    reason: str | None = plain["severity"]["reason"]
    if identity is not None:
        return severity is not None and identity == severity.model.identity
    return reason == NotEstimated.IMAGE or (reason == NotEstimated.MODEL) == (severity is None)


def _explained(diagnosis: Diagnosis, seen: SeenImage, answer: Outputs, model: Model) -> Diagnosis:
    """Add the heat maps of the classes that are in play, the most probable one first."""
    start = perf_counter()
    label, probabilities = diagnosis.prediction.label, diagnosis.prediction.probabilities
    targets = sorted(
        (name for name, probability in probabilities.items() if name == label or probability >= _SHOWN),
        key=lambda name: (name != label, -probabilities[name]),
    )
    classes = list(probabilities)
    shape, box = diagnosis.scan.pixels.shape[1:], seen.prepared.framed.box
    kind, lungs = model.bundle.explanation.kind, seen_lungs(seen.prepared, *shape)
    numbers = [classes.index(target) for target in targets]
    viewed = Viewed(seen.prepared.tensor, answer, 0, model.bundle.negative)
    cell_maps = maps(kind, viewed, model.predict, numbers)

    def explanation(target: str, cells: FloatArray, kind: str = kind) -> Explanation:
        heat = gradcam.place(cells, box, *shape)
        within = None if lungs is None else mass_within(heat, lungs)
        known = within if within is not None and isfinite(within) else None
        return Explanation(kind, target, heat, cells=cells, box=box, in_lungs=known)

    explanations = tuple(map(explanation, targets, cell_maps))
    strange = {flag.code for flag in diagnosis.quality.limits} & _UNLIKE
    normal = normal_lungs(model.bundle) if strange else None
    if normal is not None and (cells := normal.excess(answer.features[0])) is not None:
        explanations += (explanation(UNLIKE_NORMAL, cells, "anomaly"),)
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - start}
    return replace(diagnosis, explanations=explanations, lungs=lungs, timings_s=timings_s)
