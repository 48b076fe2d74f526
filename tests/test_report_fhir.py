"""FHIR Bundles: valid by fhir.resources, with elements that R4 has, and with no identifier that the input had not."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from ct_series import write_series
from diagnoses import UNCHECKED, UNDEREXPOSED, a_ct_diagnosis, a_diagnosis, an_xray_severity
from films import film, save
from pulmoscope.core.severity import RegionMeasure, SeverityMeasure
from pulmoscope.core.types import Decision, Diagnosis
from pulmoscope.io import read_scan
from pulmoscope.report.severity import PART_TITLES
from radiographs import chest, dicom_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fhir_core") is None or importlib.util.find_spec("highdicom") is None,
    reason="the extra results is not installed",
)

R4 = {
    "Bundle": "resourceType meta identifier type entry",
    "DiagnosticReport": "resourceType meta status category code subject effectiveDateTime result imagingStudy "
    "conclusion conclusionCode",
    "Observation": "resourceType meta status category code subject effectiveDateTime valueQuantity "
    "valueCodeableConcept dataAbsentReason note bodySite device hasMember derivedFrom component",
    "component": "code valueQuantity valueCodeableConcept valueString dataAbsentReason",
    "ImagingStudy": "resourceType identifier status modality subject started numberOfSeries numberOfInstances series",
    "series": "uid modality numberOfInstances bodySite instance",
    "instance": "uid sopClass number",
    "Device": "resourceType manufacturer deviceName type version note",
}
"""Elements of R4 (hl7.org/fhir/R4) that may be used, by resource and element. What R4B has beyond R4
(hl7.org/fhir/R4B/diff.html) are types (CodeableReference, RatioRange) and whole resources; none of these differs."""


def severity() -> SeverityMeasure:
    regions = {name: RegionMeasure(400.0, 12.25, 2) for name in PART_TITLES if "-" in name}
    regions["left-lower"] = RegionMeasure(0.0, None, 0)
    return SeverityMeasure(
        percent_affected=11.5,
        interval=(8.0, 16.25),
        right=12.0,
        left=10.75,
        grade="CT-1",
        score=8,
        regions=regions,
        volumes_ml={"both": 4000.4, "right": 2100.0, "left": 1900.4},
        bands={},
        slice_fractions=(),
    )


def xray(**more: Any) -> Diagnosis:
    found = a_diagnosis(flags=(UNDEREXPOSED, UNCHECKED), **more)
    return replace(found, xray_severity=an_xray_severity())


def bundle_of(diagnosis: Diagnosis) -> dict[str, Any]:
    from pulmoscope.pipeline.objects.write import make_objects

    made = make_objects(diagnosis)
    assert [name for name in made.plain()["files"] if name == "fhir.json"] == ["fhir.json"]
    plain: dict[str, Any] = json.loads(made.fhir)
    return plain


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = [one for one in resources(bundle, "Observation") if one["code"]["coding"][0]["code"] == code][
        :1
    ]
    return found


def components(observed: dict[str, Any]) -> dict[str, Any]:
    """Code → quantity or code of the value."""
    return {
        one["code"]["coding"][0]["code"]: (one["valueQuantity"]["value"], one["valueQuantity"]["code"])
        if "valueQuantity" in one
        else one.get("valueString") or one["valueCodeableConcept"]["coding"][0]["code"]
        for one in observed["component"]
    }


def everything(plain: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    for key, value in plain.items() if isinstance(plain, dict) else (("", one) for one in plain):
        yield key, value
        if isinstance(value, dict | list):
            yield from everything(value)


@pytest.mark.parametrize(
    "diagnosis",
    [
        xray(),
        xray(decision=Decision.REFER),
        a_diagnosis(),
        a_ct_diagnosis(),
        replace(a_ct_diagnosis(), severity=severity()),
    ],
    ids=["xray", "referred", "no-severity", "ct-not-measured", "ct"],
)
def test_it_is_valid_resolves_and_uses_elements_of_r4(diagnosis: Diagnosis) -> None:
    from fhir.resources.R4B.bundle import Bundle

    plain = bundle_of(diagnosis)
    Bundle.model_validate(plain)
    urls = [one["fullUrl"] for one in plain["entry"]]
    assert len(set(urls)) == len(urls)
    references = [value for key, value in everything(plain) if key == "reference"]
    assert references
    assert set(references) <= set(urls)
    pointed = {*references, urls[0]}
    assert pointed == set(urls), "every resource is reached from the report"
    for one in [plain, *(entry["resource"] for entry in plain["entry"])]:
        assert set(one) <= set(R4[one["resourceType"]].split())
        for key, value in everything(one):
            if key in R4 and isinstance(value, list) and "resourceType" in one:
                assert all(set(item) <= set(R4[key].split()) for item in value)


def test_an_xray_has_its_figures_with_codes_and_units() -> None:
    bundle = bundle_of(xray())
    answer = observation(bundle, "likeliest")
    assert answer["valueCodeableConcept"]["coding"][0] == {
        "system": "http://snomed.info/sct",
        "code": "840539006",
        "display": "Disease caused by SARS-CoV-2",
    }
    found = components(answer)
    assert found["p-840539006"] == (0.912, "1")
    assert found["decision"] == "report"
    scored = an_xray_severity()
    brixia = observation(bundle, "brixia")
    assert brixia["valueQuantity"] == {
        "value": round(scored.brixia.value, 2),
        "unit": "{score}",
        "system": "http://unitsofmeasure.org",
        "code": "{score}",
    }
    assert components(brixia)["zone-a"] == (round(scored.zones["A"].score.value, 2), "{score}")
    (report,) = resources(bundle, "DiagnosticReport")
    assert found["limit"] in report["conclusion"]
    assert report["status"] == "preliminary"
    assert report["code"]["coding"][0]["code"] == "36554-4"
    assert [one["coding"][0]["code"] for one in report["conclusionCode"]] == ["840544004"]
    devices = {one["version"][1]["type"]["text"]: one["version"] for one in resources(bundle, "Device")}
    assert [one["value"] for one in devices["Model tiny"]][1:] == ["0.1", "cd" * 32]


def test_what_is_referred_states_no_finding() -> None:
    (report,) = resources(bundle_of(xray(decision=Decision.REFER)), "DiagnosticReport")
    assert "conclusionCode" not in report


def test_a_ct_tells_what_is_affected_where_and_what_was_not_seen() -> None:
    bundle = bundle_of(replace(a_ct_diagnosis(), severity=severity()))
    both = observation(bundle, "affected")
    assert both["valueQuantity"]["value"] == 11.5
    assert both["valueQuantity"]["code"] == "%"
    assert both["bodySite"]["coding"][0]["code"] == "74101002"
    found = components(both)
    assert [found[code] for code in ("118565006", "interval-low", "ct-score")] == [
        (4000.4, "mL"),
        (8.0, "%"),
        (8, "{score}"),
    ]
    assert found["grade"] == "ct-1"
    assert len(both["hasMember"]) == len(PART_TITLES) - 1
    (unseen,) = [
        one
        for one in resources(bundle, "Observation")
        if one.get("bodySite", {}).get("text") == PART_TITLES["left-lower"]
    ]
    assert "valueQuantity" not in unseen
    assert unseen["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    not_measured = observation(bundle_of(a_ct_diagnosis()), "affected")
    assert not_measured["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


UIDS = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}
NAMED = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "InstitutionName": "St. Else",
}


def test_of_the_patient_it_has_the_id_alone_and_of_the_images_all_that_were_used(tmp_path: Path) -> None:
    files = write_series(
        tmp_path / "ct", PatientID="p17", AccessionNumber="A9", StudyDate="20200314", **NAMED
    )
    bundle = bundle_of(replace(a_ct_diagnosis(), scan=read_scan(tmp_path / "ct")))
    subjects = [value for key, value in everything(bundle) if key == "subject"]
    assert {json.dumps(one) for one in subjects} == {
        json.dumps({"type": "Patient", "identifier": {"value": "p17"}})
    }
    text = json.dumps(bundle)
    for value in ("Doe", "Jane", "1950", "St. Else", str(tmp_path)):
        assert value not in text
    (study,) = resources(bundle, "ImagingStudy")
    heads = [dcmread(file, stop_before_pixels=True) for file in files]
    (series,) = study["series"]
    assert {one["uid"] for one in series["instance"]} == {str(head.SOPInstanceUID) for head in heads}
    assert series["uid"] == heads[0].SeriesInstanceUID
    identifiers = [one["value"] for one in study["identifier"]]
    assert identifiers == [f"urn:oid:{heads[0].StudyInstanceUID}", "A9"]
    assert study["started"] == "2020-03-14"


def test_without_an_id_there_is_none(tmp_path: Path) -> None:
    file = dicom_file(tmp_path / "chest.dcm", chest(), PatientID="", **UIDS, **NAMED)
    bundle = bundle_of(replace(xray(), scan=read_scan(file)))
    (study,) = resources(bundle, "ImagingStudy")
    assert study["subject"] == {"display": "not known"}
    assert all("subject" not in one for one in resources(bundle, "Observation"))
    assert "Doe" not in json.dumps(bundle)


def test_a_picture_has_a_bundle_without_patient_and_study(tmp_path: Path) -> None:
    bundle = bundle_of(replace(xray(), scan=read_scan(save(tmp_path / "Doe.png", film(1)))))
    assert resources(bundle, "ImagingStudy") == []
    assert all(key != "subject" for key, _ in everything(bundle))
    assert "Doe" not in json.dumps(bundle)


def test_equal_input_gives_equal_bytes_and_another_model_other_ids(tmp_path: Path) -> None:
    file = dicom_file(tmp_path / "chest.dcm", chest(), **UIDS)
    found = replace(xray(), scan=read_scan(file))
    again = replace(found, scan=read_scan(file), timings_s={"read": 9.0})
    assert json.dumps(bundle_of(found)) == json.dumps(bundle_of(again))
    other = bundle_of(replace(found, model={**found.model, "sha256": "ef" * 32}))
    urls = [{one["fullUrl"] for one in bundle["entry"]} for bundle in (bundle_of(found), other)]
    assert urls[0].isdisjoint(urls[1])
