"""A model of an outcome as a file: its terms by hand, any value missing, its parts' sum, and damage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pulmoscope.core.errors import BundleError
from pulmoscope.core.outcome import Part, severity_values
from pulmoscope.inference.outcome import predict_outcome
from pulmoscope.report.html import render
from pulmoscope.report.outcome import outcome_json, outcome_lines, outcome_shown, parts_shown
from pulmoscope.runtime.outcome import (
    BOOTSTRAP,
    MANIFEST,
    Additive,
    Input,
    Linear,
    OutcomeModel,
    Steps,
    load_outcome,
)

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
AGE = Linear(slope=0.05, centre=60.0, low=20.0, high=90.0, logarithm=False, missing=0.0)
LDH = Linear(slope=2.0, centre=math.log(300), low=100.0, high=2000.0, logarithm=True, missing=-0.4)
CRP = Steps(edges=(10.0, 100.0), heights=(-0.8, 0.1, 0.9), missing=0.25)
XRAY = Linear(slope=0.3, centre=2.0, low=0.0, high=8.0, logarithm=False, missing=-0.1)
TERMS = {"age": AGE, "ldh": LDH, "crp": CRP, "xray_extent": XRAY}
INPUTS = (
    Input("age", "Age", "a", 20, 60, 90, 1.0),
    Input("ldh", "Lactate dehydrogenase", "U/L", 100, 300, 2000, 0.9),
    Input("crp", "C-reactive protein", "mg/L", 0.5, 50, 300, 0.8),
    Input("xray_extent", "Radiograph, geographic extent", "of 8", 0, 2, 8, 0.5),
)


def model_in(folder: Path) -> OutcomeModel:
    folder.mkdir(parents=True, exist_ok=True)
    model = OutcomeModel(
        folder=folder,
        name="outcome-clinical",
        version="1",
        outcome="died",
        title="death in hospital",
        hospital="elsewhere",
        synthetic=False,
        inputs=INPUTS,
        additive=Additive(-1.0, TERMS),
        calibration={
            "method": "none",
            "base": {"strength": 1.0, "losses": {}},
            "second_level": Additive(0.0, {"log_odds": AGE}).plain(),
            "input": "log_odds",
        },
        threshold=0.4,
        bootstrap=tuple(Additive(intercept, TERMS) for intercept in (-1.3, -1.1, -0.7)),
        recipe={
            **{"name": "outcome-clinical", "table": "t.csv", "outcomes": "", "outcome": "died"},
            **{"model": "logistic", "hours": 24.0},
        },
        training_data={
            "table": "t",
            "counts": {"train": {"patients": 3, "events": 1}},
            "impossible": {},
            "fingerprint": "0" * 64,
            "sums": dict.fromkeys(("all", "train", "val"), "0" * 64),
            "terms": "",
            "command": "",
        },
    )
    model.save()
    return load_outcome(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OutcomeModel:
    return model_in(tmp_path_factory.mktemp("outcome") / "run")


def test_a_term_adds_what_its_formula_says() -> None:
    values = np.array([30.0, 100.0, np.nan])
    np.testing.assert_allclose(AGE(values), [-1.5, 1.5, 0.0])  # 100 years count as 90
    np.testing.assert_allclose(
        LDH(np.array([600.0, 50.0, np.nan])), [2 * math.log(2), 2 * math.log(1 / 3), -0.4]
    )
    np.testing.assert_allclose(CRP(np.array([10.0, 10.1, 100.0, 101.0, np.nan])), [-0.8, 0.1, 0.1, 0.9, 0.25])


def test_a_prediction_is_the_sum_of_its_parts(model: OutcomeModel) -> None:
    outcome = predict_outcome(model, {"age": 70.0, "ldh": 600.0, "crp": 5.0}, {"xray_extent": 6.0})
    expected = -1.0 + 0.5 + 2 * math.log(2) - 0.8 + 1.2
    assert outcome.log_odds == pytest.approx(expected)
    assert outcome.probability.value == pytest.approx(1 / (1 + math.exp(-expected)))
    assert [part.log_odds for part in outcome.parts] == pytest.approx([0.5, 2 * math.log(2), -0.8, 1.2])
    low, high = (np.percentile([-0.3, -0.1, 0.3], end) + expected for end in (2.5, 97.5))
    assert outcome.probability.low == pytest.approx(1 / (1 + math.exp(-low)))
    assert outcome.probability.high == pytest.approx(1 / (1 + math.exp(-high)))


VALUES = {
    "age": st.floats(-1e6, 1e6),
    "ldh": st.floats(0, 1e9),
    "crp": st.floats(0, 1e9),
    "xray_extent": st.floats(0, 8),
    "sodium": st.floats(-1e9, 1e9),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_any_subset_of_values_gives_a_probability_whose_parts_sum(
    model: OutcomeModel, values: dict[str, float]
) -> None:
    outcome = predict_outcome(model, values)
    assert 0 <= outcome.probability.low <= outcome.probability.value <= outcome.probability.high <= 1
    assert math.fsum([outcome.base, *(part.log_odds for part in outcome.parts)]) == outcome.log_odds
    assert set(outcome.missing) == set(model.names) - set(values)
    assert len(parts_shown(outcome)) == len(model.names) - len(outcome.missing)


def test_the_page_says_the_sex_and_the_unit_of_a_value(model: OutcomeModel) -> None:
    parts = (Part("sex", "Sex", "1", 1.0, 0.2, 0.0, 1.0), Part("ldh", "LDH", "U/L", 420.0, -0.5, 90.0, 900.0))
    outcome = replace(predict_outcome(model, {}), parts=parts)
    assert [text for _, text, _ in parts_shown(outcome)] == ["420 U/L", "male"]


def test_what_limits_a_prediction_is_told(model: OutcomeModel) -> None:
    whole = {"age": 50.0, "ldh": 300.0, "crp": 5.0, "xray_extent": 1.0}
    assert len(predict_outcome(model, whole).limits) == 1  # of one hospital and one outcome
    assert len(predict_outcome(model, whole | {"ldh": 2500.0, "age": 15.0}).limits) == 3
    assert len(predict_outcome(model, {"age": 50.0}).limits) == 2
    assert len(predict_outcome(replace(model, synthetic=True), whole).limits) == 2


def test_the_oldest_are_not_told_apart(model: OutcomeModel) -> None:
    assert predict_outcome(model, {"age": 97.0}) == predict_outcome(model, {"age": 90.0})


def test_values_stand_on_the_page_as_people_write_them(model: OutcomeModel) -> None:
    sex = Input("sex", "Sex", "", 0, 1, 1, 1.0)
    asked = replace(
        model,
        inputs=(sex, *model.inputs[1:]),
        additive=Additive(-1.0, dict(zip("abcd", TERMS.values(), strict=True))),
    )
    texts = [
        text for _, text, _ in parts_shown(predict_outcome(model, {"age": 97.0, "xray_extent": 6.450625}))
    ]
    texts += [text for _, text, _ in parts_shown(predict_outcome(asked, {"sex": 0.0, "ldh": 12345.0}))]
    assert sorted(texts) == ["12,340 U/L", "6.451 of 8", "90 years or more", "female"]


def test_the_section_of_a_page_and_the_json_hold_it(model: OutcomeModel) -> None:
    outcome = predict_outcome(model, {"age": 70.0, "ldh": 600.0})
    plain = outcome_json(outcome)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["called"] is (outcome.probability.value >= 0.4)
    assert plain["missing"] == ["crp", "xray_extent"]
    section = render("outcome.html", outcome=outcome_shown(outcome))
    assert section.count("<tr>") == 1 + 2 + 1  # heading, two known, what is missing
    assert outcome.model["sha256"] in section
    assert render("outcome.html", outcome=outcome_shown(None)).strip() == ""
    assert len(outcome_lines(plain)) == 1 + len(outcome.limits)
    assert outcome_lines(None) == []


def test_no_image_adds_nothing() -> None:
    assert severity_values() == {}


def test_what_is_saved_is_loaded_and_keeps_its_schemas(model: OutcomeModel) -> None:
    assert model.additive == Additive(-1.0, TERMS)
    for schema, file in (("outcome-bootstrap", BOOTSTRAP),):
        content = json.loads((model.folder / file).read_text())
        Draft202012Validator(json.loads((SCHEMAS / f"{schema}.schema.json").read_text())).validate(content)


@pytest.mark.parametrize("file", [MANIFEST, BOOTSTRAP])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, file: str, place: float, byte: int
) -> None:
    model = model_in(tmp_path_factory.getbasetemp() / "damaged")
    path = model.folder / file
    content = bytearray(path.read_bytes())
    index = int(place * len(content))
    if chr(content[index]).isspace() or chr(byte).isspace() or content[index] == byte:
        return  # spaces between values are no content
    content[index] = byte
    path.write_bytes(bytes(content))
    with pytest.raises(BundleError) as refused:
        load_outcome(model.folder)
    assert "\n" not in str(refused.value)


def test_a_missing_part_or_a_later_schema_is_refused(tmp_path: Path) -> None:
    model = model_in(tmp_path / "run")
    (model.folder / BOOTSTRAP).unlink()
    with pytest.raises(BundleError, match=BOOTSTRAP):
        load_outcome(model.folder)
    later = json.loads((model.folder / MANIFEST).read_text()) | {"schema_version": "2.0"}
    (model.folder / MANIFEST).write_text(json.dumps(later))
    with pytest.raises(BundleError, match=r"2\.0"):
        load_outcome(model.folder)
    with pytest.raises(BundleError, match=MANIFEST):
        load_outcome(tmp_path)
