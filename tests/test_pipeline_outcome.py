"""A model of an outcome on tables: another outcome, values nobody has, how early values were taken."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.pipeline.outcome.evaluate import DAYS, Source, apply_outcome, evaluate_outcome
from test_runtime_outcome import model_in

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "schemas" / "outcome-metrics.schema.json").read_text()
)


def folder_of(folder: Path) -> Path:
    """A course of LDH that tells of the outcome in the last day alone, and a table of another outcome."""
    random = np.random.default_rng(0)
    course, stays = ["patient,hours_from_admission,ldh_u_l"], ["patient,split,age_years,died,icu,stay_days"]
    for number in range(120):
        died, days = number % 2, int(random.integers(2, 20))
        stays.append(f"p{number},test,{random.integers(30, 80)},{died},{number % 3 == 0:d},{days}")
        for day in range(days):
            near = day == days - 1
            ldh = random.normal(1200 if died and near else 300, 60)
            course.append(f"p{number},{24 * day + 1},{ldh:.0f}")
    (folder / "course.csv").write_text("\n".join(course) + "\n")
    (folder / "t.csv").write_text("\n".join(stays) + "\n")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(folder_of(tmp_path), "course.csv", outcomes="t.csv", hours=24.0)


def test_values_near_the_outcome_tell_it_and_early_ones_do_not(tmp_path: Path, source: Source) -> None:
    report = evaluate_outcome(model_in(tmp_path / "run"), source, tmp_path / "out", bootstrap=100)
    Draft202012Validator(SCHEMA).validate(json.loads((tmp_path / "out" / "metrics.json").read_text()))
    by_time = {row["days"]: row["auroc"]["value"] for row in report["by_time"]}
    assert list(by_time) == [0, *DAYS]
    assert by_time[0] > 0.95
    assert max(by_time[days] for days in DAYS) < 0.7
    assert [row["patients"] for row in report["by_stay"]] == sorted(
        (row["patients"] for row in report["by_stay"]), reverse=True
    )
    assert set(report["data"]["absent"]) == {"crp", "xray_extent"}
    assert report["data"]["same_outcome"]
    assert not report["data"]["learnt_from"]


def test_another_outcome_is_said_to_be_one(tmp_path: Path, source: Source) -> None:
    other = Source(source.folder, "t.csv", outcome="icu")
    report = evaluate_outcome(model_in(tmp_path / "run"), other, tmp_path / "out", bootstrap=0)
    assert not report["data"]["same_outcome"]
    assert report["by_time"] == []
    assert report["figures"]["auroc"]["low"] is None


def test_predictions_are_rows_of_patients(tmp_path: Path, source: Source) -> None:
    model = model_in(tmp_path / "run")
    evaluate_outcome(model, source, tmp_path / "out", bootstrap=0)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 120
    table = source.patients(model)
    expected = model.probabilities(table.columns(model.names))[0]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], expected, rtol=1e-5)
    assert {row["missing"] for row in rows} == {"2"}
    applied = apply_outcome(model, source, tmp_path / "applied")
    assert len(applied) == 120
    header = (tmp_path / "applied" / "predictions.csv").read_text().partition("\n")[0]
    assert header == "patient,probability,low,high,log_odds,missing"


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path, source: Source) -> None:
    model = model_in(tmp_path / "run")
    with pytest.raises(DatasetError):
        evaluate_outcome(model, Source(source.folder, "t.csv", split="val"), tmp_path / "out")
    (tmp_path / "one.csv").write_text("patient,split,age_years,died\na,test,50,1\nb,test,60,1\n")
    with pytest.raises(DatasetError):
        evaluate_outcome(model, Source(tmp_path, "one.csv"), tmp_path / "out")
    evaluate_outcome(model, source, tmp_path / "out", bootstrap=0)
    with pytest.raises(OutputExistsError):
        evaluate_outcome(model, source, tmp_path / "out")
