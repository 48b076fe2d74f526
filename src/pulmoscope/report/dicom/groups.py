"""The report's measurement groups: what the model says of the study, and what was measured of each part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from highdicom.sr import AlgorithmIdentification, ReferencedSegment
from pydicom.sr.coding import Code

from pulmoscope.core.change import Change, CtChange, SinceReport
from pulmoscope.core.classes import is_positive
from pulmoscope.core.files import NOTICE
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Decision, Diagnosis, Flag, Modality
from pulmoscope.core.xray_severity import (
    MOST_BRIXIA,
    MOST_EXTENT,
    MOST_OPACITY,
    MOST_ZONE,
    ZONES,
    Estimate,
    XraySeverity,
)
from pulmoscope.report.dicom import codes
from pulmoscope.report.dicom.codes import own
from pulmoscope.report.dicom.common import Common
from pulmoscope.report.dicom.items import Group, Item, coded, figure, group, sentence
from pulmoscope.report.dicom.placing import region_on_radiograph
from pulmoscope.report.severity import PART_TITLES
from pulmoscope.report.xray_severity import ZONE_TITLES, why_not

_BANDS = {
    "hyperinflated": "below -950 HU",
    "well_aerated": "-950 to -700 HU",
    "ground_glass": "-700 to -300 HU",
    "consolidation": "from -300 HU on",
}
"""Bands of density, in the signs that every system shows."""
_NO_PNEUMONIA = frozenset({"normal", "healthy", "no finding"})
"""Classes, in lower case, that deny any pneumonia; other negative ones deny COVID-19 alone."""
Groups = Iterator[Group]

PERCENT_AFFECTED = own("affected", "Percent of lung affected")
LOW, HIGH = (
    own("interval-low", "Lower end of the interval"),
    own("interval-high", "Upper end of the interval"),
)
CT_SCORE = own("ct-score", "CT severity score")
GRADE = own("grade", "Grade of severity by percent of lung affected")
EXTENT, OPACITY = own("extent", "Geographic extent"), own("opacity", "Opacity")
BRIXIA = own("brixia", "Brixia score")
DECISION = own("decision", "Decision")
DECISIONS = {
    Decision.REPORT: own("report", "Reported: the model's answer stands"),
    Decision.REFER: own("refer", "Referred: a person must decide"),
}
REASON = own("reason", "Reason of the decision")
LIKELIEST = own("likeliest", "Most probable class")
FITTING = own("fitting-class", "Class that can't be ruled out")
COVERAGE = own("coverage", "Coverage of the set of classes")
VERDICTS = {
    "pass": own("quality-pass", "Sufficient"),
    "warn": own("quality-warn", "Sufficient, with reservations"),
    "refuse": own("quality-refuse", "Not sufficient"),
}
LIMIT = own("limit", "Limit of the model")
ALONE = "The answer is of this radiograph alone; other radiographs of the study are not considered."
"""A limit of every radiograph's objects: the study's answer may be another."""
LIMITED = own("limited", "Limit of the measurement")
NOT_MEASURED = own("not-measured", "Why there is no severity")
DIFFERENCE = own("difference", "Difference from the earlier scan")
VERDICT = own("change", "Change since the earlier scan")
THEN = own("likeliest-then", "Most probable class in the earlier report")
SINCE = own("days-since", "Time since the earlier scan")


def groups(
    common: Common, algorithm: AlgorithmIdentification, segments: Mapping[str, ReferencedSegment]
) -> list[Group]:
    """All groups of a diagnosis, the answer first, the limits of its use last.

    Args:
        algorithm: the model.
        segments: those of the diagnosis's lungs, by their labels; a group with the same title refers to it.
    """
    diagnosis = common.diagnosis
    ct = diagnosis.scan.modality is Modality.CT
    found = [
        _answer(common, algorithm),
        _quality(common),
        *(_measured(common, segments) if ct else _estimated(common)),
    ]
    if diagnosis.change is not None:
        found.append(_change(common, diagnosis.change))
    elif common.since is not None:
        found.append(_since(common, common.since[1]))
    return [*found, group(common, "Limits of use", [sentence(codes.COMMENT, NOTICE)])]


def _answer(common: Common, algorithm: AlgorithmIdentification) -> Group:
    """Probabilities, decision and reason. A finding is stated only where the answer is reported."""
    prediction = common.diagnosis.prediction
    items: list[Item] = [
        figure(codes.PROBABILITY, round(value, 6), codes.RATIO, (codes.FINDING, codes.of_class(name)))
        for name, value in prediction.probabilities.items()
    ]
    if prediction.set is not None:
        items.append(figure(COVERAGE, prediction.set.coverage, codes.RATIO))
        items += [coded(FITTING, codes.of_class(name)) for name in prediction.set.classes]
    items += [
        coded(LIKELIEST, codes.of_class(prediction.label)),
        coded(DECISION, DECISIONS[prediction.decision]),
        sentence(REASON, prediction.reason),
        *(sentence(LIMIT, limit) for limit in answer_limits(common.diagnosis)),
    ]
    return group(
        common,
        "Answer of the model",
        items,
        finding=_finding(common.diagnosis),
        side=codes.BOTH,
        algorithm=algorithm,
    )


def answer_limits(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What limits an answer whatever the image is like."""
    return (ALONE,) if diagnosis.scan.modality is Modality.XRAY else ()


def _finding(diagnosis: Diagnosis) -> Code | None:
    """What is reported: an image can make COVID-19 no more than suspected; None where nothing is reported."""
    prediction = diagnosis.prediction
    if prediction.decision is Decision.REFER:
        return None
    code = codes.of_class(prediction.label)
    if prediction.label.lower() in _NO_PNEUMONIA:
        return own("no-pneumonia", "No pneumonia seen")
    if not is_positive(prediction.label):
        return own("no-covid-pattern", "No pattern of COVID-19 seen")
    return codes.SUSPECTED_COVID if code == codes.COVID else code


def _quality(common: Common) -> Group:
    """The verdict on the image, and every flag about it and about the model."""
    quality = common.diagnosis.quality
    items: list[Item] = [coded(codes.QUALITY, VERDICTS[quality.verdict])]
    items += [sentence(codes.QUALITY_FINDING, _flag(flag)) for flag in quality.flags]
    items += [sentence(LIMIT, _flag(flag)) for flag in quality.limits]
    return group(common, "Quality and limits", items)


def _flag(flag: Flag) -> str:
    return f"{flag.code} ({flag.level.value}): {flag.message}"


def _measured(common: Common, segments: Mapping[str, ReferencedSegment]) -> Groups:
    """The severity of a CT: both lungs, each lung, and the score's regions."""
    severity = common.diagnosis.severity
    if severity is None:
        why = sentence(NOT_MEASURED, "too little lung was found, or the values are not in Hounsfield units")
        items: list[Item] = [figure(PERCENT_AFFECTED, None, codes.PERCENT), why]
        yield group(common, PART_TITLES["both"], items, side=codes.BOTH)
        return
    for part, title in PART_TITLES.items():
        side, _, region = part.partition("-")
        yield group(
            common,
            title,
            _of_part(severity, part),
            side=codes.SIDES[side],
            part=own(part, title) if region else None,
            region=segments.get(title),
        )


def _of_part(severity: SeverityMeasure, part: str) -> Sequence[Item]:
    """What was measured of both lungs, a lung or a region; what is not seen of it is a failure."""
    items: list[Item]
    if part in severity.regions:
        region = severity.regions[part]
        return [
            figure(codes.VOLUME, round(region.volume_ml, 1), codes.ML),
            figure(PERCENT_AFFECTED, _rounded(region.affected), codes.PERCENT),
            figure(CT_SCORE, region.score, codes.POINTS),
        ]
    whole = {"both": severity.percent_affected, "right": severity.right, "left": severity.left}
    items = [
        figure(codes.VOLUME, round(severity.volumes_ml[part], 1), codes.ML),
        figure(PERCENT_AFFECTED, _rounded(whole[part]), codes.PERCENT),
    ]
    if part == "both":
        low, high = severity.interval
        items += [
            *(figure(name, round(end, 2), codes.PERCENT) for name, end in ((LOW, low), (HIGH, high))),
            figure(CT_SCORE, severity.score, codes.POINTS),
            coded(GRADE, own(severity.grade.lower(), severity.grade)),
            *(sentence(LIMITED, limit) for limit in severity.limits),
        ]
    bands = enumerate(severity.bands.get(part, {}).items(), start=1)
    items += [
        figure(own(f"hu-{number}", f"Percent of lung, {_BANDS[band]}"), round(percent, 2), codes.PERCENT)
        for number, (band, percent) in bands
    ]
    return items


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 2)


def _estimated(common: Common) -> Groups:
    """The severity of a radiograph: its three scores, and that of each zone."""
    severity = common.diagnosis.xray_severity
    if severity is None:
        why = sentence(NOT_MEASURED, why_not(common.diagnosis).value)
        items: list[Item] = [*(figure(name, None, codes.POINTS) for name in (EXTENT, OPACITY, BRIXIA)), why]
        yield group(common, "Severity as readers would score it", items, side=codes.BOTH)
        return
    algorithm = _scorer(severity)
    items = [
        *_score(EXTENT, severity.extent, MOST_EXTENT),
        *_score(OPACITY, severity.opacity, MOST_OPACITY),
        *_score(BRIXIA, severity.brixia, MOST_BRIXIA),
        *(sentence(LIMITED, limit) for limit in severity.limits),
    ]
    yield group(common, "Severity as readers would score it", items, side=codes.BOTH, algorithm=algorithm)
    for zone in ZONES:
        side = codes.RIGHT if ZONES.index(zone) < 3 else codes.LEFT
        title = ZONE_TITLES[zone].capitalize()
        found = severity.zones[zone]
        box = (found.top, found.left, found.height, found.width)
        yield group(
            common,
            title,
            _score(BRIXIA, found.score, MOST_ZONE, alone=True),
            side=side,
            part=own(f"zone-{zone.lower()}", title),
            region=region_on_radiograph(box, common.diagnosis.scan.pixels.shape[1:], common.sources.first),
            algorithm=algorithm,
        )


def _score(name: Code, score: Estimate, most: float, *, alone: bool = False) -> Sequence[Item]:
    """A score and the ends of its interval, which say which score they are of where it is not ``alone``."""
    about = None if alone else (codes.FINDING, name)
    return [
        figure(name, round(score.value, 2), codes.POINTS),
        figure(LOW, round(max(0.0, score.low), 2), codes.POINTS, about),
        figure(HIGH, round(min(most, score.high), 2), codes.POINTS, about),
    ]


def _scorer(severity: XraySeverity) -> AlgorithmIdentification:
    model = severity.model
    return AlgorithmIdentification(model["name"], model["version"], [f"bundle sha256 {model['sha256']}"])


def _change(common: Common, change: Change) -> Group:
    """What has changed since the earlier scan."""
    items: list[Item] = []
    if isinstance(change, CtChange):
        items = [
            figure(DIFFERENCE, round(change.difference, 2), codes.PERCENT, (codes.FINDING, PERCENT_AFFECTED))
        ]
    else:
        for name, score in ((EXTENT, change.extent), (OPACITY, change.opacity), (BRIXIA, change.brixia)):
            items.append(figure(DIFFERENCE, round(score.value, 2), codes.POINTS, (codes.FINDING, name)))
    if change.days is not None:
        items.append(figure(SINCE, change.days, codes.DAYS))
    items.append(coded(VERDICT, own(change.verdict.value, change.verdict.value.replace("-", " "))))
    items += [sentence(LIMITED, _flag(flag)) for flag in change.flags]
    return group(common, "Change since the earlier scan", items, side=codes.BOTH)


def _since(common: Common, since: SinceReport) -> Group:
    """What has changed since an earlier report, whose images nobody has compared."""
    names = {"affected": PERCENT_AFFECTED, "extent": EXTENT, "opacity": OPACITY, "brixia": BRIXIA}
    items: list[Item] = [
        figure(
            DIFFERENCE,
            value,
            codes.PERCENT if name == "affected" else codes.POINTS,
            (codes.FINDING, names[name]),
        )
        for name, value in since.differences.items()
    ]
    items += [figure(SINCE, since.days, codes.DAYS), sentence(THEN, since.label)]
    return group(common, "Change since the earlier report", items, side=codes.BOTH)
