from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

import grades
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.recipes.published import changed_settings
from pulmoscope.recipes.recipe import travelling
from pulmoscope.recipes.rules import check
from pulmoscope.runtime.bundle import is_bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import TrainedRun, load_run
from pulmoscope.training.severity.regression import fit_regression
from pulmoscope.training.severity.run import fit_severity
from pulmoscope.training.severity.studies import prepare
from pulmoscope.training.three_level.studies import Cache

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
LEARNED = (
    "quality.imputer=misgan",
    "quality.misgan.width=4",
    "quality.misgan.batch=4",
    "quality.misgan.imputer_width=4",
    "quality.misgan.steps=2",
    "quality.misgan.imputing_steps=3",
    *grades.TINY_ANOGAN,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("severity")
    table = grades.table(folder / "studies")
    own = fit_severity(grades.recipe(*LEARNED), table, folder / "run", device="cpu", progress=False)
    export_bundle(own.folder, table, progress=False)
    return own


def test_a_run_has_all_its_networks_and_says_what_it_learnt_from(run: TrainedRun) -> None:
    assert {path.name for path in run.folder.glob("*.onnx")} == {
        "model.onnx",
        "attention.onnx",
        "regression.onnx",
        "imputer.onnx",
        "anomaly.onnx",
    }
    data = run.summary["data"]
    assert data["counts"] == {split: dict.fromkeys(grades.CLASSES, 2) for split in ("train", "val")}
    assert data["damaged_slices"]["train"] > 0
    assert run.summary["quality_seconds"].keys() == {"imputer", "anomaly"}
    assert {path.name for path in (run.folder / "sheets").iterdir()} == {"imputer", "anomaly"}
    assert list((run.folder / "sheets" / "anomaly").glob("*.png"))
    elsewhere = {path.name for path in run.folder.iterdir() if path.is_dir() or path.suffix == ".png"}
    assert elsewhere == {"sheets", "curves.png"}
    card = (run.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "`sheets/`, where it is there, shows slices of the training patients" in card
    assert str(run.folder.parent) not in (run.folder / "recipe.json").read_text(encoding="utf-8")


def test_it_is_a_bundle_that_says_it_is_synthetic(run: TrainedRun) -> None:
    assert is_bundle(run.folder)
    bundle = load(run.folder)
    assert bundle.name == "ct-severity-resnet18-synthetic"
    assert bundle.anomaly is not None
    assert bundle.anomaly["slices"] > 0
    assert bundle.metrics["val"]["images"] == 8
    card = (run.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "simulated" in card
    assert "--split test" not in card  # there was none: all studies had a part in it
    assert "evaluate RUN --data OTHER --split all" in card
    assert "phases.0.epochs=2" in changed_settings(run.recipe)


def test_what_it_writes_keeps_its_schemas(run: TrainedRun) -> None:
    for name, schema in (("recipe", "recipe"), ("run", "run"), ("bundle", "bundle")):
        schema = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
        written = json.loads((run.folder / f"{name}.json").read_text(encoding="utf-8"))
        Draft202012Validator(schema).validate(written)


def test_a_model_grades_slices_and_the_patient_by_every_vote(run: TrainedRun) -> None:
    model = Model.load(run.folder)
    images = np.random.default_rng(1).random((5, 32, 32), dtype=np.float32)
    said = model.study(images)
    assert said.slices.shape == (5, 4)
    assert said.slices.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert set(said.patient.votes) == {"majority", "mean", "attention", "regression"}
    assert said.patient.votes["mean"] == pytest.approx(said.slices.mean(axis=0), abs=1e-5)
    one_by_one = np.concatenate([model.slices(images[i : i + 1])[0] for i in range(5)])
    assert said.slices == pytest.approx(one_by_one, abs=1e-3)
    with pytest.raises(ValueError, match="at least one slice"):
        model.study(images[:0])


def test_a_finished_run_is_given_back_and_never_overwritten_unasked(run: TrainedRun) -> None:
    table = grades.table(run.folder.parent / "studies")
    with pytest.raises(OutputExistsError):
        fit_severity(run.recipe, table, run.folder, device="cpu", progress=False)
    again = fit_severity(
        grades.recipe(*LEARNED), table, run.folder, device="cpu", resume=True, progress=False
    )
    assert again.summary == run.summary
    with pytest.raises(RecipeError, match=r"phases\.train\.epochs"):
        fit_severity(
            grades.recipe(*LEARNED, "phases.train.epochs=3"),
            table,
            run.folder,
            device="cpu",
            resume=True,
            progress=False,
        )


def test_a_grade_without_studies_can_not_be_learnt(tmp_path: Path) -> None:
    table = grades.table(tmp_path, each=1)
    few = dataclasses.replace(table, samples=tuple(own for own in table if own.label != "CT-3"))
    with pytest.raises(DatasetError, match="no sample of class CT-3"):
        fit_severity(grades.recipe(), few, tmp_path / "run", device="cpu", progress=False)


def test_an_unfinished_run_can_not_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"run\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("preprocess.size=48 quality.imputer=misgan", "must be 32, 64, 128"),
        ("preprocess.size=16", r"preprocess\.size=16: must be at least 32 and at most 1024"),
        ("phases.train.epochs=0", r"phases\.train\.epochs=0: must be at least 1"),
        ("loss.beta=1", r"loss\.beta=1\.0: must be at least 0 and at most 0\.9999999"),
        ("classes=CT-0", "at least two classes"),
        (
            "classes=CT-1,CT-2 quality.anomalies=true",
            r"needs CT-0 as the first of classes.*\(found: CT-1, CT-2\)",
        ),
        ("preprocess.hu_high=-1000", r"hu_low=-1000: must be below preprocess\.hu_high"),
        ("preprocess.least_lung=2", "at most 0.99"),
        ("phases.train.momentum=2", "at most 0.9999"),
        ("quality.anogan.learning_rate=0", "at least 1e-09"),
        ("quality.anogan.epochs=0", r"quality\.anogan\.epochs=0: must be at least 1"),
        ("quality.anogan.side=48", "must be one of 32, 64, 128"),
        ("quality.anogan.weight=1.5", "at least 0 and at most 1"),
        ("quality.misgan.batch=1", r"quality\.misgan\.batch=1: must be at least 2"),
        ("quality.misgan.settle=1.5", "at most 1"),
        ("quality.misgan.reconstruction=0", "without reconstruction, adversarial_every must be 1"),
        ("drop=CT-3", "none of them dropped"),
        ("model.hidden=4", r"loss\.kind=ldam: needs a single last layer"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as told:
        check(grades.recipe(*change.split()))
    assert "\n" not in str(told.value)


def test_no_folder_of_the_machine_travels_with_a_bundle() -> None:
    own = travelling(grades.recipe("cache=/fast", "model.weights=/data/net.safetensors"))
    assert own.cache == ""
    assert own.model.weights == "net.safetensors"


def test_without_damage_misgan_learns_from_regions_hidden_on_purpose(tmp_path: Path) -> None:
    table = grades.table(tmp_path / "studies", each=1, damaged=False)
    recipe = grades.recipe(*LEARNED, "quality.anomalies=false", "phases.train.epochs=1")
    own = fit_severity(recipe, table, tmp_path / "run", device="cpu", progress=False)
    assert own.summary["data"]["damaged_slices"]["train"] == 0
    assert (own.folder / "imputer.onnx").is_file()


def test_a_run_that_replaces_another_inherits_nothing(run: TrainedRun, tmp_path: Path) -> None:
    table = grades.table(run.folder.parent / "studies")
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    recipe = grades.recipe("phases.train.epochs=1")
    fit_severity(recipe, table, folder, device="cpu", force=True, progress=False)
    bundle = export_bundle(folder, table, progress=False)
    assert set(bundle.files) == {"model.onnx", "attention.onnx", "regression.onnx"}
    assert not (folder / "sheets").exists()
    assert bundle.anomaly is None


def test_a_vote_has_learnt_from_what_diagnosis_shows_it(tmp_path: Path) -> None:
    table = grades.table(tmp_path / "studies", each=1, damaged=False)
    recipe = grades.recipe("quality.imputer=none", "phases.train.epochs=1")
    fit_severity(recipe, table, tmp_path / "run", device="cpu", progress=False)
    export_bundle(tmp_path / "run", table, progress=False)
    model = Model.load(tmp_path / "run", "onnx")
    studies = prepare(
        table.split("train"),
        recipe.preprocess,
        recipe.classes,
        Cache(tmp_path / "cache"),
        Reporter(),
        search=False,
    )
    said = [model.study(own.grey[own.enough_lung]) for own in studies]
    again = fit_regression(recipe, [own.vectors for own in said], [own.label for own in studies])
    for own in said:
        with torch.no_grad():
            expected = torch.softmax(again(torch.from_numpy(own.vectors)[None]), dim=1)[0].numpy()
        assert own.patient.votes["regression"] == pytest.approx(expected, abs=0.01)


def test_a_run_that_lacks_a_network_keeps_its_manifest(run: TrainedRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "regression.onnx").unlink()
    with pytest.raises(
        RecipeError, match=r"run: regression\.onnx: a run of this version has it; train it again"
    ):
        export_bundle(folder, grades.table(run.folder.parent / "studies"), progress=False)
    assert (folder / "bundle.json").is_file()


def test_healthy_lungs_must_be_held_out_for_the_anomaly_threshold(tmp_path: Path) -> None:
    table = grades.table(tmp_path, each=1)
    without = [own for own in table if (own.label, own.split) != ("CT-0", "val")]
    few = dataclasses.replace(table, samples=tuple(without))
    with pytest.raises(DatasetError, match=r"split val: needs a study of CT-0 \(found: none\)"):
        fit_severity(
            grades.recipe("quality.anomalies=true"), few, tmp_path / "run", device="cpu", progress=False
        )
