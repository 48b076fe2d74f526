"""Earlier reports of ours: which of them a new one takes the place of, and what has changed since the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from pydicom.dataset import Dataset

from pulmoscope.core.change import SinceReport
from pulmoscope.core.facts import patient_sum
from pulmoscope.core.types import Diagnosis, Modality
from pulmoscope.core.version import VERSION
from pulmoscope.io.dicom_rules import is_own
from pulmoscope.io.patient_age import iso_date
from pulmoscope.report.dicom.codes import SOURCE, of_class
from pulmoscope.report.dicom.sources import Sources

COMPREHENSIVE, COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34"
"""SOP classes of the reports: of radiographs, of CTs."""
FIGURES = {Modality.CT: ("affected",), Modality.XRAY: ("extent", "opacity", "brixia")}
"""Codes of our scheme whose values are compared, each of the first group that has it: of both lungs."""
_LIKELIEST = "likeliest"
_PERSON = ("PatientBirthDate", "PatientSex", "IssuerOfPatientID")
"""What tells patients apart who have one PatientID, as in data sets that give all of them the same."""


@dataclass(frozen=True)
class EarlierReport:
    """What a report of ours says, as far as a later one needs it. For comparing: ids are told nowhere.

    Attributes:
        document: its UIDs, as references to it need them.
        modality: of what it is about.
        patient: a checksum of PatientID; empty where it has none.
        person: checksums of :data:`_PERSON`, each empty where it has none.
        study_date: as ``2020-03-14``; empty where it has none.
        images: SOP Instance UIDs of the images that it was made from.
        made_by: checksum of the model, and version of the software.
        figures: one of :data:`FIGURES` → its value.
        label: the most probable class, by its code's meaning.
        own_result: the run's own folder of results holds it, so that it may only be a predecessor: what a report says
            must not depend on whether the run was interrupted or repeated.
    """

    document: Dataset = field(repr=False)
    modality: Modality
    patient: str = field(repr=False)
    person: tuple[str, ...] = field(repr=False)
    study_date: str = field(repr=False)
    images: frozenset[str] = field(repr=False)
    made_by: tuple[str, str]
    figures: Mapping[str, float]
    label: str
    own_result: bool = False

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return str(self.document.SOPInstanceUID)


def read_report(dataset: Dataset) -> EarlierReport | None:
    """A report of ours; None for anything else.

    Raises:
        Exception: of any class, where it is damaged.
    """
    kind = str(dataset.get("SOPClassUID", ""))
    if not is_own(dataset) or kind not in (COMPREHENSIVE, COMPREHENSIVE_3D):
        return None
    modality = Modality.CT if kind == COMPREHENSIVE_3D else Modality.XRAY
    document = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(document, keyword, dataset[keyword].value)
    items = list(_items(dataset))
    figures, label = {}, ""
    for item in items:
        code = _code(item, "ConceptNameCodeSequence")
        if code in FIGURES[modality] and code not in figures and item.get("MeasuredValueSequence"):
            figures[code] = float(item.MeasuredValueSequence[0].NumericValue)
        elif code == _LIKELIEST:
            label = str(item.ConceptCodeSequence[0].CodeMeaning)
    images = (
        item.ReferencedSOPSequence[0]
        for item in items
        if _code(item, "ConceptNameCodeSequence") == SOURCE.value
    )
    return EarlierReport(
        document,
        modality,
        patient_sum(str(dataset.get("PatientID") or "")),
        _person(dataset),
        iso_date(str(dataset.get("StudyDate") or "")),
        frozenset(str(image.ReferencedSOPInstanceUID) for image in images),
        (str(dataset.get("DeviceSerialNumber", "")), str(dataset.get("SoftwareVersions", ""))),
        figures,
        label,
    )


def predecessors(
    reports: Sequence[EarlierReport], diagnosis: Diagnosis, sources: Sources
) -> tuple[Dataset, ...]:
    """The reports that a new one takes the place of: on some of its images, or on all by another model or version."""
    now, made_by = frozenset(sources.instances), (diagnosis.model["sha256"], VERSION)
    found = {
        report.uid: report.document
        for report in reports
        if report.images and report.images <= now and (report.images < now or report.made_by != made_by)
    }
    return tuple(found[uid] for uid in sorted(found))


def since(
    reports: Sequence[EarlierReport], diagnosis: Diagnosis, sources: Sources
) -> tuple[EarlierReport, SinceReport] | None:
    """The last earlier report of the same patient and kind, and what has changed since; None where there is none."""
    scan = diagnosis.scan
    facts = scan.facts
    if facts is None or not facts.patient or not facts.study_date:
        return None
    person = _person(sources.first)
    before = [
        report
        for report in reports
        if not report.own_result
        and report.modality is scan.modality
        and report.patient == facts.patient
        and all(not then or not now or then == now for then, now in zip(report.person, person, strict=True))
        and "" < report.study_date < facts.study_date
    ]
    if not before:
        return None
    last = max(before, key=lambda report: (report.study_date, report.uid))
    days = (date.fromisoformat(facts.study_date) - date.fromisoformat(last.study_date)).days
    now = figures_of(diagnosis)
    then = {name: value for name, value in last.figures.items() if name in now}
    label = str(of_class(diagnosis.prediction.label).meaning)
    return last, SinceReport(days, then, {name: now[name] for name in then}, last.label, label)


def figures_of(diagnosis: Diagnosis) -> dict[str, float]:
    """What is compared of a diagnosis, rounded as reports have it."""
    severity, scored = diagnosis.severity, diagnosis.xray_severity
    if severity is not None:
        return {"affected": round(severity.percent_affected, 2)}
    if scored is None:
        return {}
    scores = {"extent": scored.extent, "opacity": scored.opacity, "brixia": scored.brixia}
    return {name: round(score.value, 2) for name, score in scores.items()}


def _person(dataset: Dataset) -> tuple[str, ...]:
    """Checksums of :data:`_PERSON`."""
    return tuple(patient_sum(str(dataset.get(keyword) or "")) for keyword in _PERSON)


def _items(dataset: Dataset) -> Iterator[Dataset]:
    """All content items, each before those that it contains."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def _code(item: Dataset, keyword: str) -> str:
    """The value of a code."""
    sequence = item.get(keyword)
    return str(sequence[0].get("CodeValue", "")) if sequence else ""
