from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np

from diagnoses import a_ct_diagnosis, a_diagnosis
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Decision, Diagnosis, Prediction
from pulmoscope.pipeline.pictures.ct import ct_pictures
from pulmoscope.report import ct_page
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.page import summary
from pulmoscope.report.severity import beside_network, sentence, severity_json
from pulmoscope.segment.ct_severity import measure

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "diagnosis.schema.json"


def a_measured(label: str = "COVID") -> Diagnosis:
    """The drawn study with its opacity measured: a ball of ground glass in the right lung."""
    found = a_ct_diagnosis()
    labels = np.zeros(found.scan.pixels.shape, dtype=np.uint8)
    z, row, column = np.meshgrid(np.arange(24), np.arange(56), np.arange(64), indexing="ij")
    for label_, centre in ((1, 18), (2, 46)):
        labels[((row - 28) / 15) ** 2 + ((column - centre) / 10) ** 2 + ((z - 11.5) / 11) ** 2 < 1] = label_
    measured = measure(found.scan.pixels, labels, (5.0, 5.5, 5.5))
    assert measured is not None
    severity, masks = measured
    assert isinstance(masks, SeverityMasks)
    return replace(
        found,
        severity=replace(severity, limits=("The scan is cut.",)),
        masks=masks,
        prediction=Prediction({label: 0.9, "Normal": 0.1}, Decision.REPORT, "It is sure."),
    )


def test_the_json_keeps_to_its_schema_and_to_the_numbers() -> None:
    found = a_measured()
    assert found.severity is not None
    plain = to_json(found)
    jsonschema.validate(plain, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert plain["severity"] == severity_json(found)
    assert plain["severity"]["percent_affected"] == round(found.severity.percent_affected, 2)
    assert plain["severity"]["right"] > plain["severity"]["left"] == 0
    assert plain["severity"]["files"]["geometry"] == "patient"
    assert plain["severity"]["network_grade"] is None
    assert plain["severity"]["limits"] == ["The scan is cut."]
    scan = replace(found.scan, geometry=None)
    assert severity_json(replace(found, scan=scan))["files"]["geometry"] == "spacing only"


def test_what_was_not_measured_is_null() -> None:
    assert set(to_json(a_ct_diagnosis())["severity"].values()) == {None}
    assert set(to_json(a_diagnosis())["severity"].values()) == {None}


def test_a_sentence_for_a_newcomer() -> None:
    found = a_measured().severity
    assert found is not None
    said = sentence(found)
    assert f"{found.right:.1f} % of the right lung and 0.0 % of the left lung" in said
    assert found.grade in said
    assert "of the right lung. That is" in sentence(replace(found, left=None))


def test_the_networks_grade_stands_beside_the_measured_one() -> None:
    assert beside_network(a_measured()) == ""
    graded = a_measured("CT-3")
    assert severity_json(graded)["network_grade"] == "CT-3"
    assert graded.severity is not None
    assert beside_network(graded) == f"The network says CT-3; the measure says {graded.severity.grade}."


def test_the_page_has_sentence_tables_pictures_and_limits() -> None:
    found = a_measured()
    text = ct_page.to_html(found, ct_pictures(found))
    assert found.severity is not None
    for expected in (
        "How much of the lung is affected",
        sentence(found.severity),
        "The scan is cut.",
        "Right, upper third",
        "Left, lower half",
        "ground glass",
        "How this was measured",
        "lesions.nii.gz",
    ):
        assert expected in text
    assert text.count('id="affected-') == 6
    assert "How much of the lung is affected" not in ct_page.to_html(
        a_ct_diagnosis(), ct_pictures(a_ct_diagnosis())
    )


def test_a_line_for_the_terminal() -> None:
    found = a_measured()
    assert found.severity is not None
    (line,) = [one for one in summary(to_json(found)) if one.startswith("Affected")]
    assert f"{found.severity.percent_affected:.1f} % of the lungs" in line
    assert not [one for one in summary(to_json(a_ct_diagnosis())) if one.startswith("Affected")]
