"""A predicted outcome beside an image, from a command to ``diagnosis.json``, the page and the terminal."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

import pulmoscope
from bundles import tiny_bundle
from diagnoses import a_diagnosis
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError, PulmoscopeError
from pulmoscope.core.values import ClinicalValue, LinkedValues
from pulmoscope.core.xray_severity import Estimate, XraySeverity
from pulmoscope.pipeline.clinical.outcome import same_beside, with_values
from pulmoscope.pipeline.clinical.values import Values
from pulmoscope.report.diagnosis import to_json
from radiographs import chest, dicom_file
from test_runtime_outcome import model_in
from values import table

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs/schemas/diagnosis.schema.json").read_text(encoding="utf-8")
)
TABLE = """
    patient,time,age_years,ldh_u_l
    SECRET-ID,2020-03-14T09:00,70,600
"""
PARTS = {"age": 0.5, "ldh": 2 * math.log(2), "crp": 0.25}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return dicom_file(tmp_path / "in" / "a.dcm", chest(), StudyDate="20200314", StudyTime="120000")


def linked(link: str = "only") -> LinkedValues:
    settings = {
        "sha256": "ab" * 32,
        "hours_before": 48.0,
        "hours_after": 24.0,
        "age_and_sex_from_header": False,
    }
    return LinkedValues((ClinicalValue("age", 70.0, "70 a"),), (), link, settings)  # type: ignore[arg-type]


def test_an_outcome_stands_in_the_result_on_the_page_and_on_the_terminal(
    tmp_path: Path, bundle: Path, radiograph: Path
) -> None:
    model = model_in(tmp_path / "run")
    values, out = table(tmp_path, TABLE), tmp_path / "out"
    words = [
        "diagnose",
        radiograph,
        "--model",
        bundle,
        "-o",
        out,
        "--values",
        values,
        "--outcome",
        model.folder,
    ]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    (path,) = out.glob("*/diagnosis.json")
    plain = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(plain, SCHEMA, jsonschema.Draft202012Validator)
    found = plain["outcome"]
    extent = found["parts"][-1]["value"]
    assert round(extent, 2) == plain["severity"]["geographic_extent"]
    parts = PARTS | {"xray_extent": 0.3 * (extent - 2)}
    assert {part["name"]: part["log_odds"] for part in found["parts"]} == pytest.approx(parts)
    assert found["log_odds"] == pytest.approx(-1 + sum(parts.values()))
    assert found["missing"] == ["crp"]
    percent = 100 / (1 + math.exp(-found["log_odds"]))
    assert re.search(rf"^Outcome .* {percent:.0f} %", done.output, re.MULTILINE)
    assert 'id="outcome"' in (path.parent / "report.html").read_text(encoding="utf-8")
    assert "SECRET" not in path.read_text(encoding="utf-8")


def test_an_outcome_needs_values_and_a_model(tmp_path: Path, bundle: Path, radiograph: Path) -> None:
    words = [
        "diagnose",
        str(radiograph),
        "--model",
        str(bundle),
        "-o",
        str(tmp_path / "out"),
        "--outcome",
        str(tmp_path),
    ]
    without = CliRunner().invoke(app, words)
    assert isinstance(without.exception, PulmoscopeError)
    with pytest.raises(BundleError):
        Values.of(table(tmp_path, TABLE), tmp_path)


def test_without_a_model_nothing_changes(tmp_path: Path, bundle: Path, radiograph: Path) -> None:
    values = table(tmp_path, TABLE)
    plain = pulmoscope.diagnose(radiograph, bundle, values=values, explain=False)
    assert plain.outcome is None
    assert "outcome" not in to_json(plain)
    asked = pulmoscope.diagnose(
        radiograph, bundle, values=Values.of(values, model_in(tmp_path / "run").folder), explain=False
    )
    assert asked.outcome is not None
    assert asked.prediction == plain.prediction


def test_what_the_image_shows_is_part_of_it(tmp_path: Path) -> None:
    model = model_in(tmp_path / "run")
    values = Values.of(table(tmp_path, TABLE), model.folder)
    extent, none = Estimate(6.0, 4.0, 8.0), Estimate(0.0, 0.0, 0.0)
    severity = XraySeverity(extent, none, none, {}, 0.9, {}, None, (0, 0, 1, 1))  # type: ignore[arg-type]
    ill = with_values(replace(a_diagnosis(), xray_severity=severity), linked(), values)
    assert ill.outcome is not None
    assert ill.outcome.parts[-1].value == 6.0
    assert ill.outcome.parts[-1].log_odds == pytest.approx(1.2)
    assert "xray_extent" not in ill.outcome.missing


def test_values_that_are_not_linked_predict_nothing(tmp_path: Path) -> None:
    values = Values.of(table(tmp_path, TABLE), model_in(tmp_path / "run").folder)
    assert with_values(a_diagnosis(), linked("none"), values).outcome is None
    assert with_values(a_diagnosis(), None, None).outcome is None


def test_a_result_is_kept_for_the_same_model_alone(tmp_path: Path) -> None:
    path = table(tmp_path, TABLE)
    one = Values.of(path, model_in(tmp_path / "run").folder)
    assert one.outcome is not None
    other = replace(one, outcome=replace(one.outcome, sha256="0" * 64))
    used = {
        "sha256": one.file.sha256,
        **{"hours_before": one.window.before, "hours_after": one.window.after},
        **{"age_and_sex_from_header": False, "link": "only"},
    }
    result = {"values": used, "outcome": {"model": {"sha256": one.outcome.sha256}}}
    assert same_beside(one, result)
    assert not same_beside(other, result)
    assert not same_beside(replace(one, outcome=None), result)
    assert not same_beside(one, {"values": used})
    assert same_beside(replace(one, only=False), {"values": used | {"link": "none"}})
    assert not same_beside(None, result)
