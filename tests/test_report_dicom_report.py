"""The Structured Report: values and codes by hand, and what dciodvfy, dcmtk and highdicom make of it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs the extra `results`")

import highdicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from diagnoses import SYNTHETIC, UNCHECKED, UNDEREXPOSED
from dicom_reports import (
    coded,
    complaints,
    ct_diagnosis,
    ct_scan,
    groups,
    measured,
    name,
    needs_dciodvfy,
    needs_dcmtk,
    numbers,
    report,
    report_bytes,
    says_of_patient,
    texts,
    unknown,
    xray_diagnosis,
    xray_scan,
)
from pulmoscope.core.change import CtChange, MeasuredCt, Verdict
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Decision, Diagnosis, Prediction, PredictionSet, Quality
from pulmoscope.pipeline.objects.write import make_objects
from pulmoscope.report.dicom.common import Common
from pulmoscope.report.dicom.groups import ALONE
from pulmoscope.report.dicom.sources import Sources, read_sources

COVID, SUSPECTED = ("840539006", "SCT"), ("840544004", "SCT")
LUNG, RIGHT, LEFT, BOTH = ("39607008", "SCT"), ("24028007", "SCT"), ("7771000", "SCT"), ("51440002", "SCT")
FAILURE = "114006", "DCM"
"""Measurement failure (PS3.16, CID 42)."""


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return ct_diagnosis(ct_scan(tmp_path_factory.mktemp("ct")))


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return xray_diagnosis(xray_scan(tmp_path_factory.mktemp("xray")))


@pytest.fixture(scope="module")
def ct_report(ct: Diagnosis) -> Dataset:
    return report(ct)


def site(items: list) -> list[tuple[str, str]]:
    """The finding site's code, and those that modify it."""
    found = next(item for item in items if name(item) == "Finding Site")
    parts = [found, *found.ContentSequence]
    return [
        (str(one.ConceptCodeSequence[0].CodeValue), str(one.ConceptCodeSequence[0].CodingSchemeDesignator))
        for one in parts
    ]


def test_every_part_of_the_lungs_has_its_figures(ct_report: Dataset) -> None:
    found = groups(ct_report)
    assert list(found) == [
        "Answer of the model",
        "Quality and limits",
        "Both lungs",
        "Right lung",
        "Right, upper third",
        "Right, middle third",
        "Right, lower third",
        "Left lung",
        "Left, upper half",
        "Left, lower half",
        "Limits of use",
    ]
    both = numbers(found["Both lungs"])
    assert both["Volume"] == (1600.0, "mL")
    assert both["Percent of lung affected"] == (15.0, "%")
    assert both["Lower end of the interval"] == (11.25, "%")
    assert both["Upper end of the interval"] == (19.5, "%")
    assert both["CT severity score"] == (6, "{score}")
    assert both["Percent of lung, from -300 HU on"] == (4.0, "%")
    assert coded(found["Both lungs"])["Grade of severity by percent of lung affected"] == ("ct-1", "99PULMO")
    assert texts(found["Both lungs"])["Limit of the measurement"] == "The lungs are not seen whole."
    assert numbers(found["Left lung"]) == {"Volume": (600.0, "mL"), "Percent of lung affected": (6.67, "%")}
    assert numbers(found["Left, lower half"]) == {
        "Volume": (300.0, "mL"),
        "Percent of lung affected": (13.33, "%"),
        "CT severity score": (2, "{score}"),
    }
    assert coded(found["Right, upper third"])["Percent of lung affected"] == FAILURE
    assert site(found["Both lungs"]) == [LUNG, BOTH]
    assert site(found["Left lung"]) == [LUNG, LEFT]
    assert site(found["Right, lower third"]) == [LUNG, RIGHT, ("right-lower", "99PULMO")]


def test_a_reported_answer_is_a_finding_and_a_referred_one_is_none(ct: Diagnosis) -> None:
    def answer(label: str, decision: Decision) -> list:
        prediction = Prediction({"COVID": 0.2, "CAP": 0.2, "Normal": 0.2, label: 0.6}, decision, "Because.")
        return groups(report(replace(ct, severity=None, prediction=prediction)))["Answer of the model"]

    reported = answer("COVID", Decision.REPORT)
    assert coded(reported)["Finding"] == SUSPECTED  # what an image can say
    assert coded(reported)["Most probable class"] == COVID
    assert coded(reported)["Decision"] == ("report", "99PULMO")
    assert texts(reported)["Reason of the decision"] == "Because."
    assert coded(answer("Pneumonia", Decision.REPORT))["Finding"] == ("233604007", "SCT")
    assert coded(answer("Normal", Decision.REPORT))["Finding"] == ("no-pneumonia", "99PULMO")
    assert coded(answer("non-COVID", Decision.REPORT))["Finding"] == ("no-covid-pattern", "99PULMO")
    assert coded(answer("Strange Thing (II)", Decision.REPORT))["Finding"] == ("strange-thing-ii", "99PULMO")
    referred = coded(answer("COVID", Decision.REFER))
    assert "Finding" not in referred
    assert referred["Decision"] == ("refer", "99PULMO")


def test_a_referred_ct_has_no_finding_in_any_group(ct: Diagnosis) -> None:
    prediction = Prediction({"COVID": 0.6, "Normal": 0.4}, Decision.REFER, "Because.")
    for severity in (ct.severity, None):
        found = groups(report(replace(ct, severity=severity, prediction=prediction)))
        assert "Both lungs" in found
        assert not [title for title, items in found.items() if "Finding" in coded(items)]


def test_a_radiograph_says_that_it_stands_alone(ct: Diagnosis, xray: Diagnosis) -> None:
    limits = [
        texts(groups(report(one))["Answer of the model"]).get("Limit of the model") for one in (xray, ct)
    ]
    assert limits == [ALONE, None]


def test_probabilities_say_what_they_are_of(ct: Diagnosis, ct_report: Dataset) -> None:
    found = numbers(groups(ct_report)["Answer of the model"])
    assert found == {
        "Probability of Disease caused by SARS-CoV-2": (0.91, "1"),
        "Probability of Community acquired pneumonia": (0.07, "1"),
        "Probability of Normal": (0.02, "1"),
    }
    fitting = PredictionSet(0.9, ("COVID", "CAP"))
    items = groups(report(replace(ct, prediction=replace(ct.prediction, set=fitting))))["Answer of the model"]
    assert numbers(items)["Coverage of the set of classes"] == (0.9, "1")
    left = [
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in items
        if name(item) == "Class that can't be ruled out"
    ]
    assert left == ["840539006", "385093006"]


def test_flags_and_limits_are_told(xray: Diagnosis) -> None:
    found = groups(report(replace(xray, quality=Quality((UNDEREXPOSED, SYNTHETIC, UNCHECKED)))))
    items = found["Quality and limits"]
    assert coded(items)["Image Quality"] == ("quality-warn", "99PULMO")
    told = [str(item.TextValue) for item in items if name(item) == "Quality Finding"]
    assert [text.partition(" ")[0] for text in told] == ["underexposed", "synthetic"]
    assert texts(items)["Limit of the model"].startswith("patient-rule (warn)")
    assert "not a medical device" in texts(found["Limits of use"])["Comment"]


def test_scores_of_a_radiograph(xray: Diagnosis) -> None:
    found = groups(report(xray))
    whole = numbers(found["Severity as readers would score it"])
    assert whole["Geographic extent"] == (3.1, "{score}")
    assert whole["Lower end of the interval of Geographic extent"] == (1.9, "{score}")
    assert whole["Opacity"] == (2.2, "{score}")
    assert whole["Brixia score"] == (5.5, "{score}")
    assert whole["Upper end of the interval of Brixia score"] == (10.88, "{score}")
    base = found["Lower third of the right lung"]
    assert numbers(base)["Brixia score"] == (2.5, "{score}")
    assert numbers(base)["Upper end of the interval"] == (3.0, "{score}")
    assert site(base) == [LUNG, RIGHT, ("zone-c", "99PULMO")]
    assert site(found["Upper third of the left lung"])[:2] == [LUNG, LEFT]
    assert texts(base)["Algorithm Name"] == "tiny-severity"


def test_what_was_not_measured_is_a_failure_and_says_why(ct: Diagnosis, xray: Diagnosis) -> None:
    items = groups(report(replace(ct, severity=None)))["Both lungs"]
    assert numbers(items) == {}
    assert coded(items)["Percent of lung affected"] == FAILURE
    assert "Why there is no severity" in texts(items)
    scored = groups(report(replace(xray, xray_severity=None)))["Severity as readers would score it"]
    assert numbers(scored) == {}
    assert {coded(scored)[name] for name in ("Geographic extent", "Opacity", "Brixia score")} == {FAILURE}
    assert texts(scored)["Why there is no severity"] == "no-severity-model"


def test_a_change_is_told(ct: Diagnosis) -> None:
    masks = SeverityMasks(ct.scan.pixels[:0], ct.scan.pixels[:0])
    then = MeasuredCt(replace(ct.scan, files=ct.scan.files[:3]), Quality(), measured(), masks)
    change = CtChange(then, then, Verdict.MORE, 4.5, (1.0, 8.0), 12)
    found = report(replace(ct, change=change))
    items = groups(found)["Change since the earlier scan"]
    assert numbers(items)["Difference from the earlier scan of Percent of lung affected"] == (4.5, "%")
    assert numbers(items)["Time since the earlier scan"] == (12, "d")
    assert coded(items)["Change since the earlier scan"] == ("more", "99PULMO")
    assert found.SOPInstanceUID != report(ct).SOPInstanceUID


def test_the_report_is_about_exactly_the_images_used(ct_report: Dataset) -> None:
    found = ct_report
    (library,) = [item for item in found.ContentSequence if name(item) == "Image Library"]
    (listed,) = library.ContentSequence
    referred = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in listed.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    # Drawn from the feet to the head, and so is a scan.
    assert referred == [str(highdicom_free_uid(index)) for index in range(16)]
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert {str(one.ReferencedSOPInstanceUID) for one in evidence.ReferencedSOPSequence} == set(referred)
    assert found.ContentQualification == "RESEARCH"
    assert (found.PatientID, str(found.PatientName)) == ("SECRET-ID", "Secret^Name")


def highdicom_free_uid(index: int) -> UID:
    """As :func:`ct_series.slice_datasets` names its slices."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["drawn ct", str(index)])


def test_who_and_what_made_it(ct_report: Dataset) -> None:
    found = ct_report
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    observer = {name(item): item for item in found.ContentSequence}
    assert observer["Device Observer Model Name"].TextValue == "tiny 0.1"
    algorithm = groups(found)["Answer of the model"]
    assert texts(algorithm)["Algorithm Version"] == "0.1"
    assert any("cd" * 32 in str(item.get("TextValue", "")) for item in algorithm)
    (scheme,) = found.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99PULMO"


def test_equal_input_gives_equal_bytes_and_changed_input_new_uids(ct: Diagnosis, ct_report: Dataset) -> None:
    again = report(ct)
    assert again.to_json() == ct_report.to_json()
    sources = read_sources(ct.scan)
    fewer = Sources(sources.images[1:])
    other = replace(ct, model={**ct.model, "sha256": "ee" * 32})
    common = [Common(ct, sources), Common(ct, fewer), Common(other, sources)]
    uids = {one.report_uid for one in common}
    assert str(ct_report.SOPInstanceUID) in uids
    assert len(uids) == 3
    for uid in uids:
        number = int(uid.removeprefix("2.25."))
        assert UID(uid).is_valid
        assert (number >> 76 & 0xF, number >> 62 & 0x3) == (8, 2)  # RFC 9562: version 8, variant 10
    # The same part of the lungs of one study is tracked as one.
    assert len({one.tracking_uid("Both lungs") for one in common}) == 1


def test_equal_input_gives_equal_bytes(xray: Diagnosis) -> None:
    assert report_bytes(xray) == report_bytes(xray)


def test_dates_are_those_of_the_study_not_of_the_clock(tmp_path: Path) -> None:
    dated = xray_scan(tmp_path / "dated", StudyDate="20200314", StudyTime="101112", ContentDate="20200315")
    found = report(xray_diagnosis(dated))
    assert (found.ContentDate, found.ContentTime) == ("20200315", "000000")
    undated = report(xray_diagnosis(xray_scan(tmp_path / "undated")))
    assert (undated.ContentDate, undated.ContentTime) == ("19000101", "000000")
    assert "InstanceCreationDate" not in undated


def test_highdicom_reads_it_as_a_measurement_report(ct: Diagnosis) -> None:
    document = highdicom.sr.srread(BytesIO(report_bytes(ct)))
    assert isinstance(document, highdicom.sr.Comprehensive3DSR)
    (group,) = document.content.get_image_measurement_groups(tracking_uid=None)[3:4]
    assert group.tracking_identifier == "Right lung"
    assert [measure.value for measure in group.get_measurements()] == [1000.0, 20.0]


@needs_dciodvfy
def test_dciodvfy_finds_no_error(ct: Diagnosis, xray: Diagnosis, tmp_path: Path) -> None:
    for diagnosis in (ct, xray, replace(ct, severity=None), replace(xray, xray_severity=None)):
        errors, warnings = complaints(report_bytes(diagnosis), tmp_path)
        assert errors == []
        assert unknown(warnings) == []


@needs_dcmtk
def test_dsrdump_reads_it(ct: Diagnosis, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(ct))
    done = subprocess.run(["dsrdump", "+Pc", str(path)], capture_output=True, text=True)
    assert done.returncode == 0
    assert all("VR checker does not support" in line for line in done.stderr.splitlines())  # of text in UTF-8
    assert '"Percent of lung affected")="15.0" (%,UCUM,"Percent")' in done.stdout


def test_nothing_of_the_patient_is_told_about_it(ct: Diagnosis) -> None:
    objects = make_objects(ct)
    assert objects.missing == ()
    assert not says_of_patient(str(objects.plain()))
    assert not says_of_patient(repr(objects.missing))


def test_a_report_lasts_through_pydicom(xray: Diagnosis, tmp_path: Path) -> None:
    content = report_bytes(xray)
    dcmread(BytesIO(content)).save_as(tmp_path / "again.dcm")
    assert groups(dcmread(tmp_path / "again.dcm")).keys() == groups(dcmread(BytesIO(content))).keys()
