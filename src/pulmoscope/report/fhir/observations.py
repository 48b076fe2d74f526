"""What is said of the image, one Observation a statement: the answer, the image's quality, the severity, the change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.sr.coding import Code

from pulmoscope.core.change import Change, CtChange
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Diagnosis, Flag, Modality
from pulmoscope.core.xray_severity import (
    MOST_BRIXIA,
    MOST_EXTENT,
    MOST_OPACITY,
    ZONES,
    Estimate,
    XraySeverity,
)
from pulmoscope.report.dicom import codes
from pulmoscope.report.dicom import groups as terms
from pulmoscope.report.dicom.codes import own
from pulmoscope.report.fhir.parts import Plain, absent, coded, concept, figure, notes, sentence
from pulmoscope.report.severity import PART_TITLES
from pulmoscope.report.xray_severity import ZONE_TITLES, why_not

BOTH_LUNGS = Code("74101002", "SCT", "Both lungs")
_SITES = {
    "both": BOTH_LUNGS,
    "right": Code("3341006", "SCT", "Right lung structure"),
    "left": Code("44029006", "SCT", "Left lung structure"),
}


@dataclass(frozen=True)
class Statement:
    """An Observation without what all have in common.

    Attributes:
        name: tells it from the diagnosis's others: its own UUID follows from it.
        content: its elements.
        scored: it rests on the model of severity, not on the one that classifies.
        within: the statement that it is a part of; empty: it stands by itself.
    """

    name: str
    content: Plain
    scored: bool = False
    within: str = ""


def statements(diagnosis: Diagnosis) -> Iterator[Statement]:
    """All of a diagnosis, the answer first."""
    yield Statement("answer", _answer(diagnosis))
    yield Statement("quality", _quality(diagnosis))
    if diagnosis.scan.modality is Modality.CT:
        yield from _measured(diagnosis.severity)
    elif diagnosis.xray_severity is None:
        why = absent("not-performed", why_not(diagnosis).value)
        yield Statement("brixia", {**_of(terms.BRIXIA), "dataAbsentReason": why})
    else:
        yield from _estimated(diagnosis.xray_severity)
    if diagnosis.change is not None:
        yield Statement("change", _changed(diagnosis.change))


def _of(name: Code, site: Code = BOTH_LUNGS) -> Plain:
    return {"code": concept(name), "bodySite": concept(site)}


def _answer(diagnosis: Diagnosis) -> Plain:
    """The most probable class, with the probability of each, the decision and its reason."""
    prediction = diagnosis.prediction
    components = [
        figure(
            own(f"p-{codes.of_class(name).value}"[:16], f"Probability of {name}"),
            round(value, 6),
            codes.RATIO,
        )
        for name, value in prediction.probabilities.items()
    ]
    if prediction.set is not None:
        components.append(figure(terms.COVERAGE, prediction.set.coverage, codes.RATIO))
        components += [coded(terms.FITTING, codes.of_class(name), name) for name in prediction.set.classes]
    components += [
        coded(terms.DECISION, terms.DECISIONS[prediction.decision]),
        sentence(terms.REASON, prediction.reason),
        *(sentence(terms.LIMIT, limit) for limit in terms.answer_limits(diagnosis)),
    ]
    label = concept(codes.of_class(prediction.label), prediction.label)
    return {**_of(terms.LIKELIEST), "valueCodeableConcept": label, "component": components}


def _quality(diagnosis: Diagnosis) -> Plain:
    """The verdict on the image, and every flag about it and about the model."""
    quality = diagnosis.quality
    components = [sentence(codes.QUALITY_FINDING, _flag(flag)) for flag in quality.flags]
    components += [sentence(terms.LIMIT, _flag(flag)) for flag in quality.limits]
    return {
        "code": concept(codes.QUALITY),
        "valueCodeableConcept": concept(terms.VERDICTS[quality.verdict]),
        **({"component": components} if components else {}),
    }


def _flag(flag: Flag) -> str:
    return f"{flag.code} ({flag.level.value}): {flag.message}"


def _measured(severity: SeverityMeasure | None) -> Iterator[Statement]:
    """How much of a CT's lungs is affected: of both, of each, and of the score's regions."""
    if severity is None:
        why = absent("not-performed", "too little lung was found, or the values are not in Hounsfield units")
        yield Statement("affected both", {**_of(terms.PERCENT_AFFECTED), "dataAbsentReason": why})
        return
    whole = {"both": severity.percent_affected, "right": severity.right, "left": severity.left}
    for part, title in PART_TITLES.items():
        region = severity.regions.get(part)
        percent = whole[part] if region is None else region.affected
        volume = severity.volumes_ml[part] if region is None else region.volume_ml
        site = concept(_SITES[part.partition("-")[0]], title)
        found = figure(terms.PERCENT_AFFECTED, None if percent is None else round(percent, 2), codes.PERCENT)
        components = [figure(codes.VOLUME, round(volume, 1), codes.ML)]
        if region is not None:
            components.append(figure(terms.CT_SCORE, region.score, codes.POINTS))
        more: Plain = {}
        if part == "both":
            low, high = severity.interval
            components += [
                *(
                    figure(end, round(at, 2), codes.PERCENT)
                    for end, at in ((terms.LOW, low), (terms.HIGH, high))
                ),
                figure(terms.CT_SCORE, severity.score, codes.POINTS),
                coded(terms.GRADE, own(severity.grade.lower(), severity.grade)),
            ]
            more = {"note": notes(severity.limits)} if severity.limits else {}
        content = {**found, "bodySite": site, **more, "component": components}
        yield Statement(f"affected {part}", content, within="" if part == "both" else "affected both")


def _estimated(severity: XraySeverity) -> Iterator[Statement]:
    """A radiograph's three scores, and that of each zone."""
    limits = {"note": notes(severity.limits)} if severity.limits else {}
    for name, code, score, most in (
        ("extent", terms.EXTENT, severity.extent, MOST_EXTENT),
        ("opacity", terms.OPACITY, severity.opacity, MOST_OPACITY),
        ("brixia", terms.BRIXIA, severity.brixia, MOST_BRIXIA),
    ):
        ends = _ends(score, most)
        zones = []
        if name == "brixia":
            zones = [
                figure(
                    own(f"zone-{zone.lower()}", ZONE_TITLES[zone].capitalize()), round(at, 2), codes.POINTS
                )
                for zone in ZONES
                for at in [severity.zones[zone].score.value]
            ]
        content = {**_of(code), **figure(code, round(score.value, 2), codes.POINTS)}
        yield Statement(name, {**content, **limits, "component": [*ends, *zones]}, scored=True)


def _ends(score: Estimate, most: float) -> list[Plain]:
    """The ends of a score's interval."""
    return [
        figure(terms.LOW, round(max(0.0, score.low), 2), codes.POINTS),
        figure(terms.HIGH, round(min(most, score.high), 2), codes.POINTS),
    ]


def _changed(change: Change) -> Plain:
    """What has changed since the earlier scan, by how much each figure differs."""
    if isinstance(change, CtChange):
        parts = [figure(terms.PERCENT_AFFECTED, round(change.difference, 2), codes.PERCENT)]
    else:
        scores = (
            (terms.EXTENT, change.extent),
            (terms.OPACITY, change.opacity),
            (terms.BRIXIA, change.brixia),
        )
        parts = [figure(code, round(score.value, 2), codes.POINTS) for code, score in scores]
    if change.days is not None:
        parts.append(figure(terms.SINCE, change.days, codes.DAYS))
    verdict = own(change.verdict.value, change.verdict.value.replace("-", " "))
    limits = {"note": notes(_flag(flag) for flag in change.flags)} if change.flags else {}
    return {**_of(terms.VERDICT), "valueCodeableConcept": concept(verdict), **limits, "component": parts}
