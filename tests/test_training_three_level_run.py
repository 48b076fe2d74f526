from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import volumes
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.io import read_scan
from pulmoscope.preprocess.ct import prepared_slices
from pulmoscope.recipes.published import changed_settings
from pulmoscope.recipes.recipe import travelling
from pulmoscope.runtime.bundle import is_bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.leave_out import LeaveOut
from pulmoscope.training.run import TrainedRun, load_run
from pulmoscope.training.systems import Options, kind_of
from pulmoscope.training.three_level.run import fit_studies

PARTS = {"model.onnx", "ensemble.onnx"} | {
    f"{name}.onnx" for name in ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted", "attention")
}

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("levels")
    table = volumes.table(folder / "studies", train=2, unknown=1)
    return fit_studies(volumes.recipe(), table, folder / "run", device="cpu", progress=False)


def test_a_run_goes_through_all_levels(run: TrainedRun) -> None:
    courses = {own["name"]: own for own in run.summary["phases"]}
    assert list(courses) == [
        "head", "tune", "picked",
        "2-maxpool", "2-maxpool-weighted", "2-bilstm", "2-bilstm-weighted", "2-attention",
        "3-ensemble",
    ]  # fmt: skip
    assert [own["epochs"] for own in courses.values()] == [1, 2, 1, 2, 2, 2, 2, 2, 3]
    assert run.recipe.classes == volumes.CLASSES
    assert run.summary["data"]["with_slice_labels"] == {"train": 4, "val": 3}
    assert {path.name for path in run.folder.glob("*.onnx")} == PARTS
    assert {path.name for path in run.folder.iterdir() if path.is_dir()} == set()


def test_a_run_becomes_a_bundle_that_says_it_is_synthetic(run: TrainedRun) -> None:
    table = volumes.table(run.folder.parent / "studies", train=2, unknown=1)

    bundle = export_bundle(run.folder, table, progress=False)

    assert is_bundle(run.folder)
    assert load(run.folder) == bundle
    assert bundle.name == "ct-three-level-light-synthetic"
    assert set(bundle.files) == PARTS
    assert bundle.metrics["val"]["images"] == 3
    card = (run.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "simulated" in card
    assert "--set model.backbone=mobilenetv2_035" in card
    assert "slices.per_epoch=24" in changed_settings(run.recipe)
    assert str(run.folder) not in json.dumps(bundle.recipe)


def test_a_bundle_says_of_a_study_what_training_saw(run: TrainedRun) -> None:
    table = volumes.table(run.folder.parent / "studies", train=2, unknown=1)
    bundle = export_bundle(run.folder, table, progress=False)
    model = Model(bundle)
    kept = next(own for own in run.summary["phases"] if own["name"] == "3-ensemble")

    said = [
        model.study(prepared_slices(read_scan(table.path(sample)), model.bundle.preprocess))
        for sample in table
        if sample.split == "val"
    ]

    right = [volumes.CLASSES[int(own.patient.logits.argmax())] for own in said]
    truth = [sample.label for sample in table if sample.split == "val"]
    assert np.mean([a == b for a, b in zip(right, truth, strict=True)]) == pytest.approx(kept["val_accuracy"])


def test_what_it_writes_keeps_its_schemas(run: TrainedRun) -> None:
    table = volumes.table(run.folder.parent / "studies", train=2, unknown=1)
    export_bundle(run.folder, table, progress=False)
    for name, schema in (("recipe", "recipe"), ("run", "run"), ("bundle", "bundle")):
        schema = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
        written = json.loads((run.folder / f"{name}.json").read_text(encoding="utf-8"))
        Draft202012Validator(schema).validate(written)


def test_a_finished_run_is_given_back_and_never_overwritten_unasked(run: TrainedRun) -> None:
    table = volumes.table(run.folder.parent / "studies", train=2, unknown=1)
    before = (run.folder / "weights.safetensors").read_bytes()
    with pytest.raises(OutputExistsError):
        fit_studies(run.recipe, table, run.folder, device="cpu", progress=False)
    again = fit_studies(volumes.recipe(), table, run.folder, device="cpu", resume=True, progress=False)
    assert again.summary == run.summary
    assert (run.folder / "weights.safetensors").read_bytes() == before
    with pytest.raises(RecipeError, match=r"patient\.epochs"):
        fit_studies(
            volumes.recipe("patient.epochs=3"), table, run.folder, device="cpu", resume=True, progress=False
        )


def test_a_class_without_slice_labels_can_not_be_learnt(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=1, unknown=1)
    with pytest.raises(DatasetError, match="none of: CAP, COVID"):
        fit_studies(volumes.recipe(), table, tmp_path / "run", device="cpu", progress=False)


def test_the_normal_class_must_be_there(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=1)
    with pytest.raises(RecipeError, match="healthy"):
        fit_studies(volumes.recipe("normal=healthy"), table, tmp_path / "run", device="cpu", progress=False)


def test_an_unfinished_run_can_not_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"run\.json"):
        load_run(tmp_path)


def test_no_folder_of_the_machine_travels_with_a_bundle() -> None:
    own = volumes.recipe("model.weights=/data/net.safetensors", "cache=/fast", "slices.pretrain=/data/slices")
    assert travelling(own).slices.pretrain == "slices"
    assert travelling(own).cache == ""
    other = travelling(volumes.recipe("model.weights=/data/net.safetensors"))
    assert other.model.weights == "net.safetensors"


def test_mixing_averaging_patience_and_the_loss_are_settings_of_slices_too(run: TrainedRun) -> None:
    table = volumes.table(run.folder.parent / "studies", train=2, unknown=1)
    changes = [
        "mixup=0.3",
        "average=0.5",
        "loss.kind=focal",
        "phases.tune.patience=1",
        "phases.tune.epochs=9",
    ]
    recipe = volumes.recipe(*changes, "phases.tune.monitor=loss", "phases.tune.learning_rate=3")
    other = fit_studies(recipe, table, run.folder.parent / "other", device="cpu", progress=False)
    phases = {own["name"]: own for own in other.summary["phases"]}
    # At such a rate no epoch is better than the first ones: the patience ends the phase.
    assert phases["tune"]["epochs"] < 9
    first = [own["train_loss"] for own in (run.summary["phases"][0], phases["head"])]
    assert first[1] < first[0]  # the focal loss is smaller than the cross-entropy of the same answers


def test_studies_are_cross_validated_and_learnt_without_a_hospital(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=2)
    hospitals = [replace(sample, hospital="north" if at % 3 else "south") for at, sample in enumerate(table)]
    table = table.with_samples(hospitals)
    options = Options(device="cpu", progress=False)
    system = kind_of(volumes.recipe()).of(volumes.recipe(), (table,), options)
    system.cross_validate(2, tmp_path / "folds")
    summary = json.loads((tmp_path / "folds" / "summary.json").read_text(encoding="utf-8"))
    schema = json.loads((SCHEMAS / "folds.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(summary)
    held_out = [
        own["counts"]["val"]
        for own in (load_run(tmp_path / "folds" / f"fold-{n}").summary["data"] for n in (1, 2))
    ]
    assert [sum(own[name] for own in held_out) for name in volumes.CLASSES] == [3, 3, 3]
    with pytest.raises(RecipeError, match="--folds"):
        kind_of(volumes.recipe()).check_free(tmp_path / "none", replace(options, terms="free"), folds=2)
    left = replace(volumes.recipe(), left_out=("south",))
    tried = kind_of(left).for_trials(left, table, (), None, options)
    assert {sample.hospital for sample in tried.table} == {"north"}
    assert len(kind_of(left).of(left, (table,), options).table) == sum(
        own.hospital == "north" for own in table
    )


def test_leaving_hospitals_out_says_nothing_of_this_machine(tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=2)
    table = table.with_samples(
        [replace(sample, hospital="north" if at < 3 else "south") for at, sample in enumerate(table)]
    )
    recipe = volumes.recipe("cache=/home/somebody/cache", "slices.pretrain=/home/somebody/data")
    trainer = LeaveOut(recipe, table, ["north", "south"])
    assert "/home" not in json.dumps(trainer.facts())
    assert trainer.hospitals == ("north",)  # without south there is no validation image
