from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnoses import UNDEREXPOSED, a_diagnosis
from pulmoscope.core.types import Decision, Explanation, SourceFile
from pulmoscope.report.diagnosis import (
    diagnosed_entry,
    heat_names,
    input_sha256,
    refused_entry,
    to_index,
    to_json,
)

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def check(plain: object, name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(plain)), schema, jsonschema.Draft202012Validator)


def test_it_follows_its_schema() -> None:
    check(to_json(a_diagnosis(flags=(UNDEREXPOSED,))), "diagnosis")
    check(to_json(a_diagnosis(targets=(), decision=Decision.REFER)), "diagnosis")


def test_it_says_what_was_found() -> None:
    plain = to_json(a_diagnosis(flags=(UNDEREXPOSED,)))
    assert plain["input"] == {
        "modality": "XRAY",
        "files": [{"name": "chest.png", "sha256": "ab" * 32}],
        "sha256": "ab" * 32,
        "slices": 1,
        "spacing_mm": [0.0, 0.14, 0.14],
    }
    assert plain["prediction"]["label"] == "COVID"
    assert plain["prediction"]["decision"] == "report"
    assert plain["quality"] == {
        "verdict": "warn",
        "flags": [
            {"code": "underexposed", "severity": "warn", "detail": "median grey at least 0.20 (found: 0.11)"}
        ],
    }
    assert plain["slices"] == []
    assert plain["severity"] == {"geographic_extent": None, "opacity": None}
    assert plain["explanations"][1] == {
        "kind": "grad-cam",
        "target": "Viral Pneumonia",
        "file": "heat-Viral-Pneumonia.png",
        "array": "heat-Viral-Pneumonia.npy",
    }
    assert plain["timings_s"] == {"read": 0.0123, "predict": 0.004}


@given(st.lists(st.floats(0, 60), min_size=2, max_size=12))
def test_rounded_probabilities_still_sum_to_one(logits: list[float]) -> None:
    powers = np.exp(np.array(logits) - max(logits))
    shares = {f"class {index}": float(share) for index, share in enumerate(powers / powers.sum())}
    prediction = to_json(a_diagnosis(probabilities=shares, targets=()))["prediction"]
    written = prediction["probabilities"]
    assert sum(written.values()) == pytest.approx(1, abs=1e-3)
    assert written[prediction["label"]] == max(written.values())


def test_several_files_have_one_checksum_that_depends_on_their_order() -> None:
    scan = a_diagnosis().scan
    first, second = SourceFile("a", "aa" * 32), SourceFile("b", "bb" * 32)
    expected = hashlib.sha256(("aa" * 32 + "\n" + "bb" * 32).encode()).hexdigest()
    assert input_sha256(replace(scan, files=(first, second))) == expected
    assert input_sha256(replace(scan, files=(second, first))) != expected


@given(st.lists(st.text(max_size=8), max_size=6))
def test_heat_maps_never_share_a_file_nor_leave_the_folder(targets: list[str]) -> None:
    heat = np.zeros((1, 1), dtype=np.float32)
    names = heat_names([Explanation("grad-cam", target, heat) for target in targets])
    assert len({name.lower() for name in names}) == len(targets)
    assert all(name.startswith("heat-") and "/" not in name and "." not in name for name in names)


def test_the_index_counts_outcomes_and_follows_its_schema() -> None:
    plain = to_json(a_diagnosis())
    referred = to_json(a_diagnosis(decision=Decision.REFER))
    entries = [
        diagnosed_entry("a/chest.png", "chest", plain, "chest/report.html"),
        diagnosed_entry("b/chest.png", "chest-2", referred, None),
        refused_entry("c.png", "a file has content", "0 bytes", "c.png: a file has content (found: 0 bytes)"),
    ]
    index = to_index(plain["model"], entries, "0.1.0")
    check(index, "index")
    assert index["counts"] == {"inputs": 3, "diagnosed": 2, "refused": 1, "report": 1, "refer": 1}
    assert [entry["input"] for entry in index["inputs"]] == ["a/chest.png", "b/chest.png", "c.png"]
    assert index["inputs"][0]["probability"] == 0.912
