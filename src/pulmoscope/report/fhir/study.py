"""What resources take over of the DICOM images: who the patient is, by the id alone, and which images were used."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pulmoscope.io.patient_age import iso_date
from pulmoscope.report.dicom.sources import Sources
from pulmoscope.report.fhir.parts import Plain, coding

_UID = "urn:dicom:uid"
_ACCESSION = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}],
}
_THORAX = Code("51185008", "SCT", "Thorax")


def subject(sources: Sources) -> Plain:
    """The patient as the images' PatientID, nothing else; empty where they have none."""
    patient = str(sources.first.get("PatientID") or "")
    if not patient:
        return {}
    issuer = str(sources.first.get("IssuerOfPatientID") or "")
    identifier = {"value": patient, **({"assigner": {"display": issuer}} if issuer else {})}
    return {"subject": {"type": "Patient", "identifier": identifier}}


def study_date(sources: Sources) -> Plain:
    """When the images were made: the study's date, without its time, whose zone nobody knows."""
    day = iso_date(str(sources.first.get("StudyDate") or ""))
    return {"effectiveDateTime": day} if day else {}


def imaging_study(sources: Sources) -> Plain:
    """The ImagingStudy: exactly the images used."""
    first = sources.first
    day = study_date(sources).get("effectiveDateTime")
    accession = str(first.get("AccessionNumber") or "")
    identifiers: list[Plain] = [{"system": _UID, "value": f"urn:oid:{first.StudyInstanceUID}"}]
    if accession:
        identifiers.append({"type": _ACCESSION, "value": accession})
    modality = coding(Code(str(first.get("Modality") or "OT"), "DCM", str(first.get("Modality") or "OT")))
    modality.pop("display")
    return {
        "resourceType": "ImagingStudy",
        "identifier": identifiers,
        "status": "available",
        "modality": [modality],
        **(subject(sources) or {"subject": {"display": "not known"}}),
        **({"started": day} if day else {}),
        "numberOfSeries": 1,
        "numberOfInstances": len(sources.images),
        "series": [
            {
                "uid": str(first.SeriesInstanceUID),
                "modality": modality,
                "numberOfInstances": len(sources.images),
                "bodySite": coding(_THORAX),
                "instance": [_instance(image) for image in sources.images],
            }
        ],
    }


def _instance(image: Dataset) -> Plain:
    number = image.get("InstanceNumber")
    sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{image.SOPClassUID}"}
    return {
        "uid": str(image.SOPInstanceUID),
        "sopClass": sop_class,
        **({"number": int(number)} if number is not None and str(number) and int(number) >= 0 else {}),
    }
