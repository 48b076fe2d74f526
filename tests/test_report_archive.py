from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from diagnoses import UNCHECKED, UNDEREXPOSED, a_ct_diagnosis
from pulmoscope.report.archive import read_diagnosis
from pulmoscope.report.diagnosis import to_json
from pulmoscope.report.page import summary

OLD = Path(__file__).parent / "data" / "diagnosis-1.4.json"
SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "diagnosis.schema.json"


def follows_schema(plain: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(plain, schema, jsonschema.Draft202012Validator)


def written(folder: Path, plain: object) -> Path:
    path = folder / "diagnosis.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def test_a_file_of_1_4_is_read_in_todays_form() -> None:
    old, found = json.loads(OLD.read_text(encoding="utf-8")), read_diagnosis(OLD)
    follows_schema(found)
    assert found["schema_version"] == "3.1"
    assert found["quality"] == {
        "verdict": "warn",
        "flags": [
            {
                "code": "thick-slices",
                "level": "warn",
                "finding": "slices are at most 5 mm apart (found: 6 mm)",
                "rule": "",
            },
            {"code": "patient-rule", "level": "warn", "finding": "enough patients (found: 3)", "rule": ""},
        ],
        "imputed": {"fraction": 0.031, "slices": 1, "imputer": "linear"},
    }
    assert found["limits"] == []
    names = ("lung_fraction", "dense_fraction", "lesion_fraction", "missing_fraction")
    assert [[own[name] for name in names] for own in found["slices"]] == [
        [0.004, 0.0, None, 0.062],
        [0.2, 0.15, 0.12, 0.0],
    ]
    name = found["input"].pop("name")
    assert re.fullmatch("ct-[0-9a-f]{12}", name)
    assert found["prediction"] == {**old["prediction"], "set": None}
    changed = {"schema_version", "quality", "limits", "slices", "prediction"}
    assert (found["input"].pop("acquisition"), found["severity"].pop("interval")) == (None, None)
    assert found.pop("change") is None
    assert {key: found[key] for key in found.keys() - changed} == {
        key: old[key] for key in old.keys() - changed
    }
    assert "Most probable   COVID, 90.0 %" in summary(found)


def test_a_file_of_1_0_lacks_what_came_later(tmp_path: Path) -> None:
    old = json.loads(OLD.read_text(encoding="utf-8"))
    old |= {"schema_version": "1.0", "slices": [], "severity": None, "explanations": []}
    del old["levels"], old["input"]["units"], old["input"]["pixels_sha256"], old["quality"]["imputed"]
    found = read_diagnosis(written(tmp_path, old))
    follows_schema(found)
    assert (found["levels"], found["limits"], found["slices"]) == ({}, [], [])


def test_a_file_of_today_is_read_as_it_is(tmp_path: Path) -> None:
    plain = to_json(a_ct_diagnosis(flags=(UNDEREXPOSED, UNCHECKED)))
    assert read_diagnosis(written(tmp_path, plain)) == plain


@pytest.mark.parametrize("content", [[], {}, {"schema_version": "4.0"}, {"schema_version": 1.4}])
def test_what_is_no_diagnosis_or_of_a_later_version_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match=r"diagnosis\.json"):
        read_diagnosis(written(tmp_path, content))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diagnosis.json").write_text('{"schema_version": "1.4"', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        read_diagnosis(tmp_path / "diagnosis.json")
    with pytest.raises(OSError, match="gone"):
        read_diagnosis(tmp_path / "gone.json")


def test_a_file_of_2_1_is_without_the_thirds_of_the_left_lung(tmp_path: Path) -> None:
    bands = {"well_aerated": 90.0, "ground_glass": 10.0}
    parts = ("both", "right", "right-upper", "left", "left-upper", "left-middle", "left-lower")
    severity = {"percent_affected": 4.0, "left": 4.0, "right": 4.0, "grade": "CT-1", "score": 3}
    plain = to_json(a_ct_diagnosis()) | {"schema_version": "2.1"}
    del plain["input"]["acquisition"]
    for row in plain["slices"]:
        del row["instance"]
    plain["severity"] = {**severity, "bands": dict.fromkeys(parts, bands)}
    found = read_diagnosis(written(tmp_path, plain))
    follows_schema(found)
    kept = ("both", "right", "right-upper", "left")
    assert found["severity"] == {**severity, "interval": None, "bands": dict.fromkeys(kept, bands)}
    assert (found["input"]["acquisition"], found["slices"][0]["instance"]) == (None, None)
    assert any("4.0 %" in line for line in summary(found))


def test_a_file_of_2_0_has_no_set(tmp_path: Path) -> None:
    plain = to_json(a_ct_diagnosis()) | {"schema_version": "2.0"}
    del plain["prediction"]["set"]
    found = read_diagnosis(written(tmp_path, plain))
    assert found["prediction"]["set"] is None
    assert len(summary(found)) == len(summary(to_json(a_ct_diagnosis())))
