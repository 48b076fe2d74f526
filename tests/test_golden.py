"""The code says what it said when the golden answers were recorded; see ``tests/golden/record.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from golden import cases
from golden.record import ACROSS_MACHINES, SHARED, SIMULATED, asked, differences, recorded
from golden.simulated import Asked
from pulmoscope.report.archive import read_diagnosis

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> cases.Folders:
    place = tmp_path_factory.mktemp("golden")
    return cases.Folders(Asked(place / "asked"), place, None)


@pytest.mark.parametrize("name", cases.simulated())
def test_the_same_of_simulated_images_and_studies(name: str, folders: cases.Folders) -> None:
    ((_, found),) = asked({name: cases.simulated()[name]}, folders)
    assert list(differences(recorded(SIMULATED)[name], found, ACROSS_MACHINES)) == []


@pytest.mark.parametrize("name", cases.shared())
def test_the_same_of_real_images_and_series(name: str, shared: Path, folders: cases.Folders) -> None:
    here = cases.Folders(folders.asked, folders.scratch, shared)
    ((_, found),) = asked({name: cases.shared()[name]}, here)
    assert list(differences(recorded(SHARED)[name], found, ACROSS_MACHINES)) == []


def test_every_recorded_answer_is_asked_for() -> None:
    assert set(recorded(SIMULATED)) == set(cases.simulated())
    assert set(recorded(SHARED)) == set(cases.shared())


@pytest.mark.parametrize(
    ("report", "label", "decision"),
    [("1.4/xray/COVID-0001", "COVID", "report"), ("1.4/ct/study_0008", "CT-3", "refer")],
)
def test_old_reports_are_read(report: str, label: str, decision: str) -> None:
    found = read_diagnosis(TESTS / "data" / "old_reports" / report / "diagnosis.json")
    schema = json.loads(
        (TESTS.parent / "docs" / "schemas" / "diagnosis.schema.json").read_text(encoding="utf-8")
    )
    Draft202012Validator(schema).validate(found)
    assert (found["prediction"]["label"], found["prediction"]["decision"]) == (label, decision)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"p": 0.5}, {"p": 0.52}),
        ({"p": 0.5}, {"q": 0.5}),
        ([1.0], [1.0, 1.0]),
        (1000.0, 1011.0),
        (None, 0.0),
        ("report", "refer"),
        (0.5, float("nan")),
    ],
)
def test_other_answers_are_told(expected: object, found: object) -> None:
    assert list(differences(expected, found, 0.01))


def test_answers_within_the_tolerance_are_the_same() -> None:
    one = {"probabilities": [0.5, None], "volume": 1000.0, "label": "COVID"}
    other = {"probabilities": [0.509, None], "volume": 1009.0, "label": "COVID"}
    assert list(differences(one, other, 0.01)) == []
