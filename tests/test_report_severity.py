from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from diagnoses import UNCHECKED, a_ct_diagnosis, a_ct_of_pictures
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Decision, Diagnosis, Prediction, Quality, SliceResult
from pulmoscope.pipeline.pictures.ct import ct_pictures
from pulmoscope.pipeline.pictures.lesions import most_affected
from pulmoscope.report import ct_page
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.page import brief, summary
from pulmoscope.report.severity import (
    bands_table,
    beside_network,
    between,
    dense_percent,
    extents_table,
    sentence,
    severity_json,
)
from pulmoscope.segment.ct_error import interval
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


def test_both_lungs_stand_in_the_sentence() -> None:
    found = a_measured().severity
    assert found is not None
    assert f"{found.right:.1f} % of the right lung and 0.0 % of the left lung" in sentence(found)
    assert "left" not in sentence(replace(found, left=None))


def test_the_interval_is_in_the_json_and_holds_the_percentage() -> None:
    found = a_measured()
    assert found.severity is not None
    low, high = to_json(found)["severity"]["interval"]
    assert (low, high) == tuple(round(end, 2) for end in interval(found.severity.percent_affected))
    assert 0 <= low <= found.severity.percent_affected <= high


def test_every_table_has_the_same_regions() -> None:
    severity = a_measured().severity
    assert severity is not None
    plain = severity_json(a_measured())
    regions = ["right-upper", "right-middle", "right-lower", "left-upper", "left-lower"]
    assert sorted(plain["regions"]) == sorted(regions)
    assert sorted(plain["bands"]) == sorted([*regions, "both", "right", "left"])
    assert [row[0] for row in extents_table(severity)] == [row[0] for row in bands_table(severity)]
    assert [row[4] for row in extents_table(severity) if not row[1]] == [severity.score, None, None]
    assert sum(row[4] or 0 for row in extents_table(severity) if row[1]) == severity.score


def test_the_dense_part_is_of_the_slices_with_a_prediction() -> None:
    quiet = {"COVID": 0.1, "Normal": 0.9}
    lungs = [SliceResult(0, "a", -3.0, quiet, 0.1, 0.2), SliceResult(1, "b", -1.0, quiet, 0.3, 0.0)]
    assert dense_percent(lungs) == pytest.approx(5.0)  # 0.02 of 0.4
    assert dense_percent([*lungs, SliceResult(2, "c", 1.0, None, 0.4, 1.0)]) == pytest.approx(5.0)
    assert dense_percent([SliceResult(0, "a", -3.0, quiet, 0.1)]) is None


@pytest.mark.parametrize(("network", "told"), [(0.4122, True), (0.95, False)])
def test_a_network_that_is_no_better_than_the_measure_is_said_to_be(network: float, told: bool) -> None:
    found = a_measured()
    figures = {
        name: {"value": value, "low": None, "high": None}
        for name, value in (("slices_network", network), ("slices_lesion", 0.8733))
    }
    record = {"role": "external", "what": "split all of here", "images": 40, "figures": figures}
    card = {**found.card, "metrics": {**found.card["metrics"], "slices": record}}
    text = ct_page.to_html(replace(found, card=card), ct_pictures(found))
    answer = text.split('aria-label="Answer"')[1].split("</section>")[0]
    assert ["0.41" in answer, "0.87" in answer] == [told, told]


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
    for expected in (sentence(found.severity), "The scan is cut.", "lesions.nii.gz"):
        assert expected in text
    for title in ("Right, upper third", "Left, lower half"):
        assert text.count(f">{title}</th>") == 2
    worst = most_affected(found.masks, 4)
    assert re.findall(r'<figure class="pic" id="(affected|soft)-(\d+)"', text) == [
        (window, str(index)) for index in worst for window in ("affected", "soft")
    ]
    other = a_ct_diagnosis()
    assert 'id="severity"' not in ct_page.to_html(other, ct_pictures(other))


def test_the_figure_leads_and_a_network_that_was_not_calibrated_has_no_percentage() -> None:
    found = a_measured()
    assert found.severity is not None
    calibrated = ct_page.to_html(found, ct_pictures(found))
    unknown = ct_page.to_html(replace(found, card={}, levels={}), ct_pictures(found))
    figure = f"<strong>{found.severity.percent_affected:.1f} %</strong>"
    for text in (calibrated, unknown):
        assert between(found.severity) in text
        assert text.index(figure) < text.index('aria-label="Answer"') < text.index('id="severity"')
    assert re.search(r'class="chance">90\.0 %', calibrated)
    assert re.search(r'class="chance words">COVID<', unknown)
    assert "90.0 %" not in unknown


def test_a_ct_that_was_not_measured_says_so_and_leads_with_the_answer() -> None:
    pictures = a_ct_of_pictures()
    text = ct_page.to_html(pictures, ct_pictures(pictures))
    assert "<strong>not measured</strong>" in text
    assert 'id="affected"' not in text
    assert text.index("not measured") < text.index('aria-label="Answer"')


def test_a_line_for_the_terminal() -> None:
    found = a_measured()
    assert found.severity is not None
    (line,) = [one for one in summary(to_json(found)) if one.startswith("Affected")]
    assert f"{found.severity.percent_affected:.1f} % of the lungs" in line
    assert between(found.severity) in line
    unchecked = replace(found, quality=Quality((UNCHECKED,)))
    assert "90.0 %" in "".join(summary(to_json(found))[:3])
    assert "90.0 %" not in "".join(summary(to_json(unchecked))[:3])
    assert brief(to_json(unchecked)).startswith(f"{found.severity.percent_affected:.1f} % affected, ")
    assert "90.0 %" not in brief(to_json(unchecked))
    assert "90.0 %" in brief(to_json(found))
    assert not [one for one in summary(to_json(a_ct_diagnosis())) if one.startswith("Affected")]
