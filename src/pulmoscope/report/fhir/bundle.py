"""A diagnosis as one FHIR Bundle: DiagnosticReport, Observations, ImagingStudy, Device.

After the ideas of HL7's implementation guide for DICOM SR: what is measured is an Observation with the DICOM report's
codes, made by a Device, derived from an ImagingStudy that lists exactly the images used. Resources are those of R4B
(hl7.org/fhir/R4B), with elements that R4 has, too. A status of ``preliminary`` says that no person has read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from uuid import UUID

from pulmoscope.core.classes import is_positive
from pulmoscope.core.files import NOTICE
from pulmoscope.core.results import MANUFACTURER
from pulmoscope.core.types import Decision, Diagnosis, Modality
from pulmoscope.core.version import VERSION
from pulmoscope.report.diagnosis import input_sha256
from pulmoscope.report.dicom import codes
from pulmoscope.report.dicom.groups import answer_limits
from pulmoscope.report.dicom.sources import Sources
from pulmoscope.report.dicom.uids import uid
from pulmoscope.report.fhir.observations import statements
from pulmoscope.report.fhir.parts import Plain, concept, notes
from pulmoscope.report.fhir.study import imaging_study, study_date, subject
from pulmoscope.report.names import DECISIONS

Namer = Callable[[str], str]
"""Gives the full URL of a resource of this diagnosis by what it is."""

_RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_IMAGING = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
_RESEARCH = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HRESCH",
    "display": "healthcare research",
}
"""A purpose of use, as a security label (hl7.org/fhir/R4/security-labels.html)."""


def fhir_json(
    diagnosis: Diagnosis, sources: Sources | None, name: Callable[[str], str] | None = None
) -> bytes:
    """The Bundle of a diagnosis as JSON, valid by the models of ``fhir.resources``; equal input gives equal bytes.

    Args:
        sources: the DICOM images that it was made from; None: none that resources could refer to.
        name: gives a UID by what it names, as the DICOM objects have theirs; None: they follow from the files.

    Raises:
        ModuleNotFoundError: fhir.resources is not installed.
        ValueError: a source holds what no resource may.
    """
    from fhir.resources.R4B.bundle import Bundle

    given = name or partial(_by_files, diagnosis)
    plain = bundle(
        diagnosis, sources, lambda what: UUID(int=int(given(f"fhir {what}").rpartition(".")[2])).urn
    )
    Bundle.model_validate(plain)
    return (json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _by_files(diagnosis: Diagnosis, kind: str) -> str:
    """A UID of a diagnosis whose images have none."""
    scored = diagnosis.xray_severity
    models = [diagnosis.model["sha256"], *([] if scored is None else [scored.model["sha256"]])]
    return uid(kind, VERSION, *models, input_sha256(diagnosis.scan))


def bundle(diagnosis: Diagnosis, sources: Sources | None, name: Namer) -> Plain:
    """The Bundle as plain data."""
    common = {
        **({} if sources is None else subject(sources)),
        **({} if sources is None else study_date(sources)),
    }
    study = None if sources is None else name("study")
    observations = dict(_observations(diagnosis, common, study, name))
    resources = {
        name("report"): _report(diagnosis, common, study, list(observations)),
        **observations,
        **({} if sources is None or study is None else {study: imaging_study(sources)}),
        **dict(_devices(diagnosis, name)),
    }
    return {
        "resourceType": "Bundle",
        "meta": {"security": [_RESEARCH]},
        "identifier": {"system": "urn:ietf:rfc:3986", "value": name("bundle")},
        "type": "collection",
        "entry": [{"fullUrl": url, "resource": resource} for url, resource in resources.items()],
    }


def _report(diagnosis: Diagnosis, common: Plain, study: str | None, results: list[str]) -> Plain:
    """The DiagnosticReport, whose conclusion is coded only where the answer is reported."""
    prediction = diagnosis.prediction
    ct = diagnosis.scan.modality is Modality.CT
    stated = {}
    if prediction.decision is Decision.REPORT and is_positive(prediction.label):
        code = codes.of_class(prediction.label)  # an image can make COVID-19 no more than suspected
        stated = {"conclusionCode": [concept(codes.SUSPECTED_COVID if code == codes.COVID else code)]}
    decision = DECISIONS[prediction.decision]
    return {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [_RESEARCH]},
        "status": "preliminary",
        "category": [{"coding": [_RADIOLOGY]}],
        "code": concept(codes.CT_PROCEDURE if ct else codes.XRAY_PROCEDURE),
        **common,
        "result": [{"reference": url} for url in results],
        **({} if study is None else {"imagingStudy": [{"reference": study}]}),
        "conclusion": " ".join(
            [
                f"{decision.title}: {decision.meaning}.",
                prediction.reason,
                *answer_limits(diagnosis),
                NOTICE,
            ]
        ),
        **stated,
    }


def _observations(
    diagnosis: Diagnosis, common: Plain, study: str | None, name: Namer
) -> Iterator[tuple[str, Plain]]:
    """Full URL and Observation of every statement."""
    made = list(statements(diagnosis))
    for one in made:
        members = [{"reference": name(part.name)} for part in made if part.within == one.name]
        device = name("scorer" if one.scored else "device")
        yield (
            name(one.name),
            {
                "resourceType": "Observation",
                "meta": {"security": [_RESEARCH]},
                "status": "preliminary",
                "category": [{"coding": [_IMAGING]}],
                **common,
                **one.content,
                "device": {"reference": device},
                **({"hasMember": members} if members else {}),
                **({} if study is None else {"derivedFrom": [{"reference": study}]}),
            },
        )


def _devices(diagnosis: Diagnosis, name: Namer) -> Iterator[tuple[str, Plain]]:
    """The software with the model that answered, and with the one that scored the severity."""
    yield name("device"), _device(diagnosis.model)
    if diagnosis.xray_severity is not None:
        yield name("scorer"), _device(diagnosis.xray_severity.model)


def _device(model: Mapping[str, str]) -> Plain:
    """Software and model, by their versions and the checksum of the model's bundle."""
    versions = {
        "Pulmoscope": VERSION,
        f"Model {model['name']}": model["version"],
        "SHA-256 of the model's bundle": model["sha256"],
    }
    return {
        "resourceType": "Device",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": f"{MANUFACTURER} {model['name']}", "type": "model-name"}],
        "type": {"text": "Software that reads chest images"},
        "version": [{"type": {"text": what}, "value": version} for what, version in versions.items()],
        "note": notes([NOTICE]),
    }
