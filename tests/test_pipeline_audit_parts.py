"""The parts of an audit on models whose answers are known by construction: radiographs, slices, whole studies."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import volumes
from bundles import tiny_bundle
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.inference.look import look_at
from pulmoscope.io import read_scan
from pulmoscope.pipeline.audit.run import audit
from pulmoscope.pipeline.audit.subject import Retrained
from pulmoscope.pipeline.predict_studies import predict_studies
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.runtime.model import Model
from severity_bundles import tiny_severity_bundle
from study_bundles import tiny_study_bundle

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "audit.schema.json"


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """The parts of an audit that keeps its schema."""
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    parts: dict[str, Any] = found["parts"]
    return parts


def levels(part: dict[str, Any]) -> dict[str, str]:
    return {verdict["code"]: verdict["level"] for verdict in part["verdicts"]}


def draw(root: Path) -> SampleTable:
    """24 images of each of two hospitals, COVID bright in the upper left quadrant; in the second one darker below."""
    samples = []
    rng = np.random.default_rng(1)
    for hospital in ("east", "west"):
        for number in range(48):
            label = "COVID" if number % 2 else "Normal"
            image = rng.normal(90, 8, (96, 96))
            image[:48, :48] += 90 if label == "COVID" else -30
            image[:48, 48:] += -30 if label == "COVID" else 90
            image[60:, 40:] += 60 if hospital == "west" else 0
            name = f"{hospital}{number}.png"
            cv2.imwrite(str(root / name), image.clip(0, 255).astype(np.uint8))
            sex = "female" if number % 4 < 2 else "male"
            samples.append(
                Sample(name, label, "test", f"{hospital}{number}", hospital, sex=sex, age=30.0 + number % 40)
            )
    return SampleTable(root, "manifest", tuple(samples))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return draw(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tiny_bundle(tmp_path_factory.mktemp("bundle"), gain=10))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def parts(films: SampleTable, model: Model, out: Path) -> dict[str, Any]:
    first = films.samples[0]
    # The first image lies in train, too, under another name and of the same patient.
    copy = replace(first, file="copy.png", split="train")
    (films.root / "copy.png").write_bytes(films.path(first).read_bytes())
    whole = films.with_samples((*films, copy))
    return checked(audit(model, films, out, split="test", bootstrap=20, whole=whole))


def test_every_part_that_speaks_of_radiographs_is_there(parts: dict[str, Any]) -> None:
    assert set(parts) >= {
        "hospitals",
        "erasure",
        "sources",
        "robustness",
        "calibration",
        "groups",
        "duplicates",
    }


def test_hospitals_and_what_is_not_known(parts: dict[str, Any]) -> None:
    part = parts["hospitals"]
    assert [row["hospital"] for row in part["rows"]] == ["east", "west"]
    assert [row["auroc_within"]["value"] for row in part["rows"]] == [1, 1]
    assert part["left_out"] == {}
    assert part["reproducibility"] is None
    assert part["repeatability"]["same_answer"]["value"] == 1
    assert part["repeatability"]["difference"]["value"] < 1e-6
    assert levels(part) == {
        "within-hospital": "good",
        "left-out": "none",
        "reproducibility": "none",
        "repeatability": "good",
    }


def test_hospitals_are_told_from_the_features(parts: dict[str, Any]) -> None:
    """The quadrants are the features: what is below tells the hospital only if the model has a feature there."""
    (covid, normal) = parts["sources"]["results"]
    assert (covid["label"], normal["label"]) == ("COVID", "Normal")
    assert covid["chance"] == 0.5
    assert covid["hospitals"] == {"east": 24, "west": 24}


def test_robustness_counts_flips_as_the_files_say(parts: dict[str, Any], out: Path) -> None:
    part = parts["robustness"]
    assert part["images"] == 96
    clean = called(out / "predictions-clean.csv")
    rows = {row["code"]: row for row in part["results"]}
    assert rows["gamma-0.7"]["flipped"] == 0
    for code in ("rotation-15", "devices-5"):
        changed = called(out / f"predictions-{code}.csv")
        flips = sum(changed[file] != clean[file] for file in clean) / len(clean)
        assert rows[code]["flipped"] == pytest.approx(flips)
    assert levels(part)["robust-jpeg"] == "good"


def called(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["file"]: row["predicted"] for row in csv.DictReader(stream)}


def test_calibration_groups_and_duplicates(parts: dict[str, Any]) -> None:
    calibration = parts["calibration"]
    assert calibration["positive"] == ["COVID"]
    assert [row["source"] for row in calibration["errors"]] == ["", "east", "west"]
    assert calibration["predictive_values"]["all"]["sensitivity"]["value"] == 1
    groups = parts["groups"]
    assert [row["hospital"] for row in groups["by"]["sex"]] == ["female", "male"]
    assert [row["hospital"] for row in groups["by"]["age"]] == ["18–39 years", "40–59 years", "60–79 years"]
    assert groups["by"]["view"] == []
    assert groups["unknown"] == {"age": 0, "sex": 0, "view": 96}
    assert levels(groups) == {"groups-age": "good", "groups-sex": "good", "groups-view": "none"}
    duplicates = parts["duplicates"]
    assert (duplicates["leaked"] >= 1, duplicates["shared"]) == (True, 1)
    assert levels(duplicates)["leak"] == "bad"


def test_what_was_recorded_or_trained_for_the_audit(films: SampleTable, model: Model, tmp_path: Path) -> None:
    worst = {"value": 0.7, "low": 0.6, "high": 0.8, "hospital": "north"}
    record = {
        "role": "left out",
        "what": "models of the same recipe",
        "images": 9,
        "figures": {"AUROC_within_worst": worst},
        "hospitals": {"north": {"images": 9, "AUROC_within": worst}},
    }
    again = {name: {"value": 0.9, "low": 0.8, "high": 1.0} for name in ("same_answer", "difference")}
    audited = {"role": "audit", "figures": {f"reproducibility_{name}": row for name, row in again.items()}}
    known = Model(replace(model.bundle, metrics={"left": record, "audit": audited}))
    few = films.with_samples(films.samples[::8] + films.samples[1::8])  # 6 of each class and hospital
    part = checked(audit(known, few, tmp_path / "recorded", bootstrap=0))["hospitals"]
    assert list(part["left_out"]) == ["left"]
    assert part["reproducibility"]["same_answer"]["value"] == 0.9
    assert (levels(part)["left-out"], levels(part)["reproducibility"]) == ("bad", "doubtful")
    estimate = {"value": 0.95, "low": None, "high": None, "usable": 0}
    row = {"hospital": "east", "counts": True, "images": 48, "auroc_within": estimate}
    summary = {"auroc_within": {"hospitals": 1, "mean": 0.95, "worst": {"hospital": "east", **estimate}}}
    trained = Retrained({"rows": [row], "summary": summary}, model, 21)
    part = checked(audit(known, few, tmp_path / "trained", bootstrap=0, retrained=trained))["hospitals"]
    assert list(part["left_out"]) == ["--retrain"]
    assert part["reproducibility"]["same_answer"]["value"] == 1
    assert (levels(part)["left-out"], levels(part)["reproducibility"]) == ("good", "good")
    assert part["figures"]["reproducibility_same_answer"]["value"] == 1


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    """Two studies of each class, with lungs of a chest's size, and one that can't be read."""
    folder = tmp_path_factory.mktemp("studies")
    found = volumes.table(folder, train=0, val=0, test=2)
    for seed, sample in enumerate(found):
        infected = (np.arange(10) >= 2) & (np.arange(10) < 5) & (sample.label != "Normal")
        volumes.write(found.path(sample), volumes.volume(sample.label, 10, infected, seed), pixel_mm=5.0)
    (folder / "broken.nii.gz").write_bytes(b"no volume")
    samples = (*(replace(sample, infected="") for sample in found), Sample("broken.nii.gz", "COVID", "test"))
    return replace(found, samples=samples)


def test_a_model_of_three_levels_is_audited(studies: SampleTable, tmp_path: Path) -> None:
    model = Model(tiny_study_bundle(tmp_path / "bundle"))
    copy = replace(studies.samples[0], file="copy.nii.gz", split="train", patient="another")
    studies.path(copy).write_bytes(studies.path(studies.samples[0]).read_bytes())
    whole = studies.with_samples((*studies, copy))
    found = audit(model, studies, tmp_path / "out", split="test", bootstrap=10, whole=whole)
    parts = checked(found)
    assert [failure["file"] for failure in found["data"]["failures"]] == ["broken.nii.gz"]
    results = {row["code"]: row for row in parts["erasure"]["results"]}
    assert list(results) == ["clean", "lungs_erased", "lungs_only"]
    # What lungs hold is all that differs between these studies, but for the noise.
    expected, _ = predict_studies(model, studies)
    assert called(tmp_path / "out" / "predictions-clean.csv") == dict(
        zip(expected.ensemble.files, expected.ensemble.predicted, strict=True)
    )
    kinds = {row["kind"] for row in parts["robustness"]["results"]}
    assert kinds == {"noise", "blur", "kernel", "shift", "thick"}
    assert parts["robustness"]["images"] == 6
    duplicates = parts["duplicates"]
    assert (duplicates["within"], duplicates["leaked"], duplicates["shared"]) == (0, 1, 0)
    assert parts["calibration"]["positive"] == ["COVID"]
    assert parts["sources"]["results"] == []


def test_erased_lungs_are_all_alike(studies: SampleTable) -> None:
    """The mask stays where it was found, and the network is shown clear lung there."""
    seen = look_at(read_scan(studies.path(studies.samples[0]), "ct"))
    assert seen.lungs is not None
    inside = seen.lungs.labels > 0
    erased = seen.changed(lambda hu: np.where(inside, np.float32(-850), hu))
    assert erased.lungs is seen.lungs
    assert erased.raw_lungs is seen.raw_lungs
    assert np.unique(erased.scan.pixels[inside]).tolist() == [-850]
    np.testing.assert_array_equal(erased.scan.pixels[~inside], seen.scan.pixels[~inside])
    assert erased.dense is not None
    assert erased.dense.max() == 0


def test_a_model_of_severity_is_audited(studies: SampleTable, tmp_path: Path) -> None:
    model = Model(tiny_severity_bundle(tmp_path / "bundle"))
    grades = {"Normal": "CT-0", "COVID": "CT-2", "CAP": "CT-1"}
    graded = studies.with_samples(
        replace(sample, label=grades[sample.label]) for sample in studies.samples[:-1]
    )
    parts = checked(audit(model, graded, tmp_path / "out", bootstrap=0))
    assert parts["calibration"]["positive"] == ["CT-1", "CT-2", "CT-3"]
    assert [row["code"] for row in parts["erasure"]["results"]] == ["clean", "lungs_erased", "lungs_only"]
    assert parts["hospitals"]["repeatability"]["same_answer"]["value"] == 1


def slice_model(folder: Path) -> Model:
    preprocess = SlicePreprocess(size=32, mean=0.0, std=1.0)
    return Model(tiny_bundle(folder, gain=10, modality="CT", preprocess=preprocess))


def test_a_model_of_slices_is_audited_on_studies(studies: SampleTable, tmp_path: Path) -> None:
    model = slice_model(tmp_path / "bundle")
    known = studies.with_samples(sample for sample in studies if sample.label in ("COVID", "Normal"))
    parts = checked(audit(model, known, tmp_path / "out", bootstrap=0))
    assert "sources" not in parts  # the rule that makes patients of slices has no features
    assert [row["code"] for row in parts["erasure"]["results"]] == ["clean", "lungs_erased", "lungs_only"]


def test_a_model_of_slices_is_audited_on_pictures(tmp_path: Path) -> None:
    model = slice_model(tmp_path / "bundle")
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    samples = []
    for number in range(8):
        label = "COVID" if number % 2 else "Normal"
        picture = np.where((columns / 0.9) ** 2 + (rows / 0.7) ** 2 < 1, 200, 10 + number // 2)
        for side in (-1, 1):
            lung = ((columns - side * 0.4) / 0.28) ** 2 + (rows / 0.5) ** 2 < 1
            picture[lung] = 60
            patch = lung & (np.abs(rows) < 0.2) & (np.abs(columns + 0.4) < 0.12)
            picture[patch] = 150 if label == "COVID" else 60
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture.astype(np.uint8))
        samples.append(Sample(f"{number}.png", label, "test"))
    table = SampleTable(tmp_path, "manifest", tuple(samples))
    found = checked(audit(model, table, tmp_path / "out", bootstrap=0))
    results = {row["code"]: row for row in found["erasure"]["results"]}
    assert {"lungs_grey", "lungs_noise", "lungs_only", "blackout", "border_removed"} <= set(results)
    # All that tells the classes apart lies in the lungs.
    assert results["lungs_grey"]["auroc"]["value"] == pytest.approx(0.5)
    assert results["lungs_grey"]["verdict"] == "good"
    assert results["lungs_only"]["auroc"]["value"] == results["clean"]["auroc"]["value"] == 1
