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

from diagnoses import CT_LEVELS, UNCHECKED, UNDEREXPOSED, a_ct_diagnosis, a_ct_of_pictures, a_diagnosis
from pulmoscope.core.errors import InputError
from pulmoscope.core.types import Decision, Explanation, PredictionSet, SourceFile
from pulmoscope.report.diagnosis import (
    diagnosed_entry,
    flags_of,
    heat_names,
    input_sha256,
    pixels_sha256,
    refused_entry,
    to_index,
    to_json,
)

FILM, STUDY = a_diagnosis(), a_ct_diagnosis()
SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def check(plain: object, name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(plain)), schema, jsonschema.Draft202012Validator)


def test_it_follows_its_schema() -> None:
    check(to_json(a_diagnosis(flags=(UNDEREXPOSED,))), "diagnosis")
    check(to_json(a_diagnosis(targets=(), decision=Decision.REFER)), "diagnosis")
    check(to_json(a_ct_diagnosis(flags=(UNDEREXPOSED, UNCHECKED))), "diagnosis")
    check(to_json(a_ct_of_pictures()), "diagnosis")


def test_it_says_what_was_found() -> None:
    plain = to_json(a_diagnosis(flags=(UNCHECKED, UNDEREXPOSED)))
    assert plain["input"] == {
        "name": "chest",
        "modality": "XRAY",
        "files": [{"name": "chest.png", "sha256": "ab" * 32}],
        "sha256": "ab" * 32,
        "pixels_sha256": hashlib.sha256(
            b"48 64 " + np.linspace(0, 1, 48 * 64, dtype="<f4").tobytes()
        ).hexdigest(),
        "slices": 1,
        "spacing_mm": [0.0, 0.14, 0.14],
        "units": "grey",
        "acquisition": None,
    }
    assert plain["prediction"]["label"] == "COVID"
    assert plain["prediction"]["decision"] == "report"
    assert plain["quality"] == {
        "verdict": "warn",
        "flags": [
            {
                "code": "underexposed",
                "level": "warn",
                "finding": "bright parts reach 11 %",
                "rule": "20 % and more",
            }
        ],
        "imputed": None,
    }
    assert plain["limits"] == [
        {
            "code": "patient-rule",
            "level": "warn",
            "finding": "checked on 3 patients",
            "rule": "50 are enough",
        }
    ]
    assert flags_of(plain) == (UNDEREXPOSED, UNCHECKED)
    assert plain["slices"] == []
    assert plain["levels"] == {}
    assert (plain["severity"]["geographic_extent"], plain["severity"]["opacity"]) == (None, None)
    assert plain["explanations"][1] == {
        "kind": "grad-cam",
        "target": "Viral Pneumonia",
        "slice": None,
        "stage": 0,
        "file": "heat-Viral-Pneumonia.png",
        "picture": None,
        "array": "heat-Viral-Pneumonia.npz",
        "in_lungs": None,
    }
    assert plain["timings_s"] == {"read": 0.0123, "predict": 0.004}


def test_a_ct_has_its_slices_from_the_feet_to_the_head() -> None:
    plain = to_json(a_ct_diagnosis())
    assert plain["schema_version"] == "3.1"
    assert plain["input"]["acquisition"] == {"kernel": "soft", "kernel_name": "D40S", "thickness_mm": 2.0}
    assert "2020-03-05" not in json.dumps(plain)
    assert [row["instance"] for row in plain["slices"]] == list(range(24, 0, -1))
    assert (plain["input"]["slices"], plain["input"]["units"]) == (24, "HU")
    assert plain["input"]["spacing_mm"] == [5.0, 5.5, 5.5]
    assert [found["index"] for found in plain["slices"]] == list(range(24))
    assert plain["slices"][0] == {
        "index": 0,
        "file": "study/024.dcm",
        "instance": 24,
        "z_mm": -300.0,
        "probabilities": None,
        "lung_fraction": 0.0,
        "dense_fraction": None,
        "network": None,
        "lesion_fraction": None,
        "missing_fraction": None,
        "anomaly_score": None,
    }
    assert plain["slices"][12] == {
        "index": 12,
        "file": "study/012.dcm",
        "instance": 12,
        "z_mm": -240.0,
        "probabilities": {"COVID": 0.85, "CAP": 0.015, "Normal": 0.135},
        "lung_fraction": 0.2,
        "dense_fraction": None,
        "network": None,
        "lesion_fraction": None,
        "missing_fraction": None,
        "anomaly_score": None,
    }
    assert plain["levels"] == CT_LEVELS
    assert plain["severity"] == {
        "percent_affected": None,
        "interval": None,
        "left": None,
        "right": None,
        "grade": None,
    }
    assert plain["explanations"][4] == {
        "kind": "grad-cam",
        "target": "COVID",
        "slice": 8,
        "stage": 4,
        "file": "heat-008-COVID-stage4.png",
        "picture": "slice-008.png",
        "array": None,
        "in_lungs": None,
    }


def test_slices_that_came_as_pictures_have_no_height() -> None:
    plain = to_json(a_ct_of_pictures())
    assert (plain["input"]["units"], plain["input"]["spacing_mm"]) == ("grey", None)
    assert {found["z_mm"] for found in plain["slices"]} == {None}


@given(st.lists(st.floats(0, 60), min_size=2, max_size=12))
def test_rounded_probabilities_still_sum_to_one(logits: list[float]) -> None:
    powers = np.exp(np.array(logits) - max(logits))
    shares = {f"class {index}": float(share) for index, share in enumerate(powers / powers.sum())}
    prediction = to_json(a_diagnosis(probabilities=shares, targets=()))["prediction"]
    written = prediction["probabilities"]
    assert sum(written.values()) == pytest.approx(1, abs=1e-3)
    assert written[prediction["label"]] == max(written.values())


def test_the_same_pixels_have_one_name_in_any_file() -> None:
    scan = a_diagnosis().scan
    elsewhere = replace(scan, files=(SourceFile("other.dcm", "cd" * 32),), spacing_mm=None)
    assert pixels_sha256(scan) == pixels_sha256(elsewhere)
    assert pixels_sha256(replace(scan, pixels=scan.pixels.reshape(1, 64, 48))) != pixels_sha256(scan)
    assert pixels_sha256(a_ct_diagnosis().scan) is None


def test_several_files_have_one_checksum_that_depends_on_their_order() -> None:
    scan = a_diagnosis().scan
    first, second = SourceFile("a", "aa" * 32), SourceFile("b", "bb" * 32)
    expected = hashlib.sha256(("aa" * 32 + "\n" + "bb" * 32).encode()).hexdigest()
    assert input_sha256(replace(scan, files=(first, second))) == expected
    assert input_sha256(replace(scan, files=(second, first))) != expected


@given(st.lists(st.text(max_size=8), max_size=6))
def test_heat_maps_never_share_a_file_nor_leave_the_folder(targets: list[str]) -> None:
    heat = np.zeros((1, 1), dtype=np.float32)
    shown = tuple(Explanation("grad-cam", target, heat) for target in targets)
    for found in (FILM, STUDY):
        names = heat_names(replace(found, explanations=shown))
        assert len({name.lower() for name in names}) == len(targets)
        assert all(name.startswith("heat-") and "/" not in name and "." not in name for name in names)


def test_the_index_counts_outcomes_and_follows_its_schema() -> None:
    plain = to_json(a_diagnosis())
    referred = to_json(a_diagnosis(decision=Decision.REFER))
    study = to_json(
        replace(a_ct_diagnosis(), model={"name": "tiny-ct", "version": "0.2", "sha256": "ef" * 32})
    )
    entries = [
        diagnosed_entry("a/chest.png", "chest", plain, "chest/report.html"),
        diagnosed_entry("b/chest.png", "chest-2", referred, None),
        diagnosed_entry("study", "study", study, "study/report.html"),
        refused_entry(
            "c.png", InputError("c.png", "too-small", "12 x 12 pixels", "at least 64 x 64"), "12 x 12 pixels"
        ),
    ]
    films = {"name": "tiny", "version": "0.1", "sha256": "cd" * 32, "modality": "XRAY"}
    studies = {"name": "tiny-ct", "version": "0.2", "sha256": "ef" * 32, "modality": "CT"}
    index = to_index([films, studies], entries, "0.1.0")
    check(index, "index")
    assert index["schema_version"] == "3.2"
    assert index["models"] == [films, studies]
    assert index["counts"] == {"inputs": 4, "diagnosed": 3, "refused": 1, "report": 2, "refer": 1}
    assert [entry["input"] for entry in index["inputs"]] == ["a/chest.png", "b/chest.png", "study", "c.png"]
    assert [entry.get("model") for entry in index["inputs"]] == ["tiny", "tiny", "tiny-ct", None]
    assert [entry.get("modality") for entry in index["inputs"]] == ["XRAY", "XRAY", "CT", None]
    assert index["inputs"][0]["probability"] == 0.912
    assert index["inputs"][3] == {
        "input": "c.png",
        "outcome": "refused",
        "code": "too-small",
        "finding": "12 x 12 pixels",
        "rule": "at least 64 x 64",
        "message": "c.png: 12 x 12 pixels (at least 64 x 64)",
    }


@pytest.mark.parametrize("classes", [("COVID", "Normal"), ("COVID",), ()])
def test_the_classes_that_cannot_be_ruled_out_are_written(classes: tuple[str, ...]) -> None:
    bare = a_diagnosis()
    assert to_json(bare)["prediction"]["set"] is None
    made = replace(bare, prediction=replace(bare.prediction, set=PredictionSet(0.9, classes)))
    plain = to_json(made)
    check(plain, "diagnosis")
    assert plain["prediction"]["set"] == {"coverage": 0.9, "classes": list(classes)}
