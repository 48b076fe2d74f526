from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from sklearn.metrics import accuracy_score
from typer.testing import CliRunner

import volumes
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets import manifest
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_scan
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.evaluate_studies import evaluate_studies
from pulmoscope.preprocess.ct import prepared_slices
from pulmoscope.runtime.bundle import Conformal
from pulmoscope.runtime.model import Model
from refusals import figures
from study_bundles import tiny_study_bundle

SURE = 0.351
"""Between the largest probabilities of p000 and of p001."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("three")
    return Model(tiny_study_bundle(folder, sources=("phantom", "clinic"), confidence=SURE))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    """Nine readable studies, of one of which no slice label is known, three of them with lungs of a chest's size, and
    a broken one."""
    folder = tmp_path_factory.mktemp("studies")
    found = volumes.table(folder, train=0, val=0, test=3)
    for seed, label in enumerate(volumes.CLASSES):
        infected = (np.arange(10 + seed) >= 2) & (np.arange(10 + seed) < 5) & (label != "Normal")
        hu = volumes.volume(label, 10 + seed, infected, seed)
        volumes.write(folder / found.samples[seed].file, hu, pixel_mm=5.0)
    (folder / "broken.nii.gz").write_bytes(b"no volume")
    samples = [replace(found.samples[1], infected=""), *found.samples[0:1], *found.samples[2:]]
    broken = Sample("broken.nii.gz", "COVID", "test", "p099", "phantom")
    return replace(found, samples=(*samples, broken))


@pytest.fixture(scope="module")
def out(model: Model, table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    evaluate_studies(model, table, folder, split="test", bootstrap=20, command="as typed")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_row_a_study_with_what_the_model_says_of_it(model: Model, table: SampleTable, out: Path) -> None:
    found = rows(out / "predictions.csv")
    assert [row["file"] for row in found] == [sample.file for sample in table][:-1]
    for row, sample in zip(found, table, strict=False):
        said = model.study(prepared_slices(read_scan(table.path(sample)), model.bundle.preprocess))
        shares = [float(row[f"p_{name}"]) for name in volumes.CLASSES]
        np.testing.assert_allclose(shares, said.patient.probabilities, atol=1e-6)
        assert row["label"] == sample.label
        assert row["predicted"] == volumes.CLASSES[int(said.patient.probabilities.argmax())]


def test_a_study_is_referred_where_its_diagnosis_would_be(
    model: Model, table: SampleTable, out: Path
) -> None:
    found = {row["file"]: row for row in rows(out / "predictions.csv")}
    for sample in table.samples[:-1]:
        diagnosis = diagnose_ct(read_scan(table.path(sample)), model, wanted=lambda _: False)
        row = found[sample.file]
        assert row["decision"] == diagnosis.prediction.decision.value
        small = "no-lungs" in [flag.code for flag in diagnosis.quality.flags]
        assert small == (int(sample.file[1:4]) > 2)
    reported = [name for name, row in found.items() if row["decision"] == "report"]
    assert sorted(reported) == ["p001.nii.gz", "p002.nii.gz"]
    sure = [
        name for name, row in found.items() if max(float(row[f"p_{own}"]) for own in volumes.CLASSES) >= SURE
    ]
    assert len(sure) > len(reported)
    referral = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["referral"]["overall"]
    assert referral["reported"]["value"] == pytest.approx(2 / 9)


def test_patients_are_referred_by_a_model_that_knows_drawn_studies_only(
    table: SampleTable, tmp_path: Path
) -> None:
    drawn = Model(tiny_study_bundle(tmp_path / "three"))
    evaluate_studies(drawn, replace(table, samples=table.samples[:3]), tmp_path / "out", bootstrap=0)
    assert [row["decision"] for row in rows(tmp_path / "out/predictions.csv")] == ["refer"] * 3


def test_a_patient_has_the_classes_that_cannot_be_ruled_out(table: SampleTable, tmp_path: Path) -> None:
    sources = ("phantom", "clinic")
    bare = tiny_study_bundle(tmp_path / "three", sources=sources, confidence=SURE)
    least = dict.fromkeys(volumes.CLASSES, 0.33)
    model = Model(replace(bare, conformal=Conformal(0.9, least)).save())
    sample = table.samples[1]
    found = diagnose_ct(read_scan(table.path(sample)), model, wanted=lambda _: False).prediction
    assert found.set is not None
    assert found.set.classes == tuple(name for name, value in found.probabilities.items() if value >= 0.33)
    report = evaluate_studies(model, table, tmp_path / "out", bootstrap=0)
    schema = Path(__file__).parents[1] / "docs" / "schemas" / "metrics.schema.json"
    Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(report)
    assert report["sets"]["overall"]["images"] == report["overall"]["images"]


def test_slices_count_where_their_label_is_known(table: SampleTable, out: Path) -> None:
    found = rows(out / "slices.csv")
    first = [row for row in found if row["file"] == table.samples[0].file]
    assert [row["slice"] for row in first] == [str(index) for index in range(11)]
    assert all(row["label"] == "" for row in first)
    sick = [row for row in found if row["file"] == "p000.nii.gz"]
    assert [row["label"] for row in sick] == ["", "", "CAP", "CAP", "CAP", *[""] * 5]
    normal = [row for row in found if row["file"] == "p002.nii.gz"]
    assert [row["label"] for row in normal] == ["Normal"] * 12


def test_figures_of_every_level_are_those_of_the_tables(out: Path) -> None:
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert list(found["levels"]) == ["slice", "maxpool", "maxpool-weighted", "ensemble"]
    known = [row for row in rows(out / "slices.csv") if row["label"]]
    assert found["levels"]["slice"]["images"] == len(known)
    assert found["levels"]["slice"]["resampled_by"] == "patient"
    assert found["levels"]["slice"]["scores"]["accuracy"]["value"] == pytest.approx(
        accuracy_score([row["label"] for row in known], [row["predicted"] for row in known])
    )
    for name in ("maxpool", "maxpool-weighted", "ensemble"):
        own = [row for row in rows(out / "classifiers.csv") if row["classifier"] == name]
        assert found["levels"][name]["images"] == len(own) == 9
        assert found["levels"][name]["scores"]["accuracy"]["value"] == pytest.approx(
            accuracy_score([row["label"] for row in own], [row["predicted"] for row in own])
        )
    assert found["overall"]["scores"] == found["levels"]["ensemble"]["scores"]
    assert [failure["file"] for failure in found["data"]["failures"]] == ["broken.nii.gz"]
    assert found["command"] == "as typed"
    schema = Path(__file__).parents[1] / "docs" / "schemas" / "metrics.schema.json"
    Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(found)


def test_the_page_shows_all_levels_the_map_and_that_it_is_synthetic(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    for said in (
        "Level by level",
        "maxpool-weighted",
        "A map of the patients",
        '<span class="badge warn">Synthetic</span>',
    ):
        assert said in page
    assert (out / "tsne.png").read_bytes().startswith(b"\x89PNG")
    assert [row["file"] for row in rows(out / "tsne.csv")] == [
        row["file"] for row in rows(out / "predictions.csv")
    ]


def test_results_are_not_overwritten_unasked(model: Model, table: SampleTable, out: Path) -> None:
    with pytest.raises(OutputExistsError):
        evaluate_studies(model, table, out)


def test_a_table_of_unreadable_studies_is_refused(model: Model, table: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"broken\.nii\.gz"):
        evaluate_studies(model, replace(table, samples=table.samples[-1:]), tmp_path)


def test_infected_slices_that_are_not_the_study_s_leave_it_out(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    beyond = replace(table.samples[1], infected="3-40")
    both = replace(table, samples=(beyond, table.samples[2]))
    found = evaluate_studies(model, both, tmp_path, bootstrap=0)
    (failure,) = found["data"]["failures"]
    assert failure["file"] == beyond.file
    assert figures(failure["reason"])[-2:] == (40, 9)  # the slice that is named, the last that there is
    assert found["data"]["predicted"] == 1


def test_as_a_user_types_it(model: Model, table: SampleTable, tmp_path: Path) -> None:
    manifest.write_table(tmp_path / "manifest.csv", table)
    arguments = [
        "evaluate",
        model.bundle.folder,
        "--data",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--bootstrap",
        10,
    ]
    done = CliRunner().invoke(app, [str(own) for own in arguments])
    assert done.exit_code == 0, done.output
    assert "tiny-three on 9 studies" in done.stdout
    assert "Synthetic" in done.stdout
    assert "broken.nii.gz" in done.stderr
