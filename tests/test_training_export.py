from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import drawn
from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.errors import BundleError, RecipeError, ResourceError
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.calibration import fit_temperature
from pulmoscope.evaluation.thresholds import class_thresholds
from pulmoscope.inference.hospitals import hospitals_of
from pulmoscope.io import read_pixels
from pulmoscope.quality.distribution import Reference
from pulmoscope.quality.unproven import UNPROVEN, limits_of
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe, travelling
from pulmoscope.runtime.bundle import Bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.training import frames
from pulmoscope.training.export import images as export
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.onnx import file as onnx_file
from pulmoscope.training.run import fit, load_run
from stations import training_data

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
SMALL = ("preprocess.size=32", "phases.0.epochs=2", "batch_size=8", "model.filters=8", "precision=32")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return drawn.table(tmp_path_factory.mktemp("drawn"), train=10, val=6, classes=("COVID", "Normal"))


@pytest.fixture(scope="module")
def small() -> Recipe:
    return settings.apply(find("xray-binary-cnn"), SMALL)


@pytest.fixture(scope="module")
def bundle(small: Recipe, table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    run = tmp_path_factory.mktemp("runs") / "run"
    fit(small, table, run, device="cpu", progress=False)
    return export_bundle(run, table, terms="drawn by a test", progress=False)


def images(model: Model, table: SampleTable, split: str) -> np.ndarray:
    """The images of a split as diagnosis prepares them: from the file, in single precision."""
    return np.stack([model.prepare(read_pixels(table.path(sample))).tensor for sample in table.split(split)])


def test_only_a_release_has_a_number(bundle: Bundle) -> None:
    network = (bundle.folder / "model.onnx").read_bytes()
    assert bundle.version == f"own-{hashlib.sha256(network).hexdigest()[:8]}"


def test_the_run_is_a_bundle_that_says_what_torch_says(bundle: Bundle, table: SampleTable) -> None:
    model = Model.load(bundle.folder)
    found = model.predict(images(model, table, "val"))
    network = load_run(bundle.folder).network()
    with torch.no_grad():
        logits, features, gradients = network.explainable(torch.from_numpy(images(model, table, "val")))
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=0.02 * float(logits.std()))
    np.testing.assert_allclose(found.features, features.numpy(), atol=0.02 * float(features.std()))
    one = gradients.numpy()
    both = np.concatenate([-one, one], axis=1)  # system E: the negative logit stands for the other class
    np.testing.assert_allclose(found.gradients, both, atol=0.02 * float(both.std()))
    assert bundle.classes == ("Normal", "COVID")


def test_the_temperature_is_fitted_on_what_the_bundle_says_of_val(bundle: Bundle, table: SampleTable) -> None:
    model = Model.load(bundle.folder)
    logits = model.predict(images(model, table, "val")).logits
    labels = [bundle.classes.index(sample.label) for sample in table.split("val")]
    assert bundle.calibration.temperature == pytest.approx(fit_temperature(logits, labels), rel=0.05)
    assert bundle.calibration.fitted_on == "val, 12 images"


def test_the_distance_lets_99_of_100_validation_images_pass(bundle: Bundle, table: SampleTable) -> None:
    model = Model.load(bundle.folder)
    reference = Reference.from_bytes((bundle.folder / "reference.npz").read_bytes())
    pooled = model.predict(images(model, table, "val")).features.mean(axis=(2, 3))
    expected = np.quantile(reference.distance(pooled), 0.99)
    assert bundle.thresholds.distance == pytest.approx(expected, rel=0.02)
    assert bundle.thresholds.distance == reference.limit


def test_the_manifest_tells_of_the_data_and_of_nobodys_folders(bundle: Bundle, table: SampleTable) -> None:
    facts = bundle.training_data
    assert facts["counts"] == {"train": {"Normal": 10, "COVID": 10}, "val": {"Normal": 6, "COVID": 6}}
    assert facts["sources"] == {"drawn": 32}
    assert facts["sha256"] == table_checksum(table.split("train", "val"))
    assert facts["terms"] == "drawn by a test"
    assert bundle.metrics["val"]["role"] == "internal"
    assert bundle.metrics["val"]["images"] == 12
    assert bundle.validation is not None
    assert bundle.validation.patients == {
        "Normal": 6,
        "COVID": 6,
    }  # no patient is known: every image is on its own
    assert bundle.validation.auroc == bundle.metrics["val"]["figures"]["auroc"]["value"]
    assert bundle.validation.held_out
    assert [flag.code for flag in limits_of(bundle)] == [UNPROVEN]  # of 12 images
    assert set(bundle.files) == {"model.onnx", "reference.npz"}
    assert (bundle.folder / "weights.safetensors").is_file()
    schema = json.loads((SCHEMAS / "bundle.schema.json").read_text())
    manifest = json.loads((bundle.folder / "bundle.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(manifest)
    written = (bundle.folder / "bundle.json").read_text() + (bundle.folder / "MODEL_CARD.md").read_text()
    assert str(table.root) not in written
    assert str(bundle.folder) not in written


def test_a_weights_file_is_named_without_its_folder(small: Recipe) -> None:
    model = replace(small.model, weights="/home/someone/weights.safetensors")
    assert travelling(replace(small, model=model)).model.weights == "weights.safetensors"


def test_the_network_file_is_small_beside_the_weights(bundle: Bundle) -> None:
    stored = sum(numpy_helper.to_array(own).nbytes for own in _weights(bundle.folder / "model.onnx"))
    parameters = sum(own.numel() for own in load_run(bundle.folder).network().parameters())
    assert stored < 2.6 * parameters


def _weights(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path).graph.initializer)


def test_a_network_file_that_says_something_else_is_refused(
    bundle: Bundle, table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(bundle.folder)
    monkeypatch.setattr(export, "write_onnx", broken(onnx_file.narrowed, monkeypatch))
    before = (run.folder / "bundle.json").read_bytes()
    card, network = (run.folder / "MODEL_CARD.md").read_bytes(), (run.folder / "model.onnx").read_bytes()
    with pytest.raises(BundleError, match="export refused"):
        export_bundle(run.folder, table, progress=False)
    assert not (run.folder / "bundle.json").exists()
    assert not (run.folder / "model.onnx").exists()
    (run.folder / "bundle.json").write_bytes(before)
    (run.folder / "MODEL_CARD.md").write_bytes(card)
    (run.folder / "model.onnx").write_bytes(network)


def broken(
    narrowed: Callable[[onnx.ModelProto], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., object]:
    """``write_onnx`` with an exporter that spoils one weight of the last layer."""

    def spoilt(model: onnx.ModelProto) -> onnx.ModelProto:
        narrow = narrowed(model)
        weight = [own for own in narrow.graph.initializer if own.data_type == TensorProto.FLOAT][-1]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), weight.name))
        return narrow

    monkeypatch.setattr(onnx_file, "narrowed", spoilt)
    return onnx_file.write_onnx


def test_a_bundle_that_sees_lungs_carries_its_finder(
    small: Recipe, table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = tiny_bundle(tmp_path / "finder", preprocess=lung_preprocess()).folder / "lungs.onnx"
    monkeypatch.setattr(frames, "lung_finder", lambda: finder)
    monkeypatch.setattr(export, "lung_finder", lambda: finder)
    lungs = settings.apply(small, ["preprocess.region=lungs", "phases.0.epochs=1", "model.output=softmax"])
    fit(lungs, table, tmp_path / "run", device="cpu", progress=False)
    made = export_bundle(tmp_path / "run", table, progress=False)
    assert (tmp_path / "run" / "lungs.onnx").read_bytes() == finder.read_bytes()
    assert "lungs.onnx" in made.files
    model = Model.load(tmp_path / "run")
    assert model.prepare(read_pixels(table.path(table.samples[0]))).lungs is not None


def test_one_image_a_class_gives_a_bundle_without_distances(small: Recipe, tmp_path: Path) -> None:
    lone = drawn.table(tmp_path / "films", train=1, val=2, classes=("COVID", "Normal"))
    run = tmp_path / "run"
    fit(settings.apply(small, ["phases.0.epochs=1"]), lone, run, device="cpu", progress=False)
    (run / "reference.npz").write_bytes(b"of a run before")
    made = export_bundle(run, lone, progress=False)
    assert made.thresholds.distance is None
    assert set(made.files) == {"model.onnx"}
    assert load(run) == made
    assert "is not measured" in made.training_data["warnings"][-1]
    assert "was not measured" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_memory_that_runs_out_is_told(
    bundle: Bundle, table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(export, "frames_of", too_large)
    before = (bundle.folder / "bundle.json").read_bytes()
    with pytest.raises(ResourceError, match=r"exporting .*: memory ran out"):
        export_bundle(bundle.folder, table, progress=False)
    (bundle.folder / "bundle.json").write_bytes(before)


def test_images_that_are_framed_already_are_not_framed_again(
    bundle: Bundle, small: Recipe, table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed = frames.frames_of(load_run(bundle.folder).recipe, table, progress=False)
    monkeypatch.setattr(export, "frames_of", None)
    again = export_bundle(bundle.folder, table, terms="drawn by a test", progress=False, frames=framed)
    assert again == bundle


def test_a_slice_is_held_against_no_normal_lungs(
    bundle: Bundle, small: Recipe, table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(export, "_normal", asked)
    ready = frames.frames_of(load_run(bundle.folder).recipe, table, progress=False)
    images = export.FramedImages(ready, small.preprocess, None, small.seed)
    for modality in ("CT", "XRAY"):
        draft = replace(bundle, modality=modality)
        if modality == "XRAY":
            with pytest.raises(AssertionError):
                export._measured(draft, table, ready, images, held_out=True)
        else:
            assert export._measured(draft, table, ready, images, True).thresholds.normal_distance is None


def test_only_a_finished_run_is_exported(table: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no finished training run"):
        export_bundle(tmp_path, table, progress=False)


def test_figures_of_what_was_trained_on_are_called_so(
    small: Recipe, table: SampleTable, tmp_path: Path
) -> None:
    everything = settings.apply(small, ["phases.0.train_on=train,val", "phases.0.epochs=1"])
    fit(everything, table, tmp_path, device="cpu", progress=False)
    made = export_bundle(tmp_path, table, progress=False)
    assert made.calibration.fitted_on.endswith("training has seen them")
    assert made.validation is not None
    assert not made.validation.held_out
    assert "trained on, too" in json.loads((tmp_path / "bundle.json").read_text())["metrics"]["val"]["what"]


@pytest.fixture(scope="module")
def two_hospitals(small: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, SampleTable]:
    """A bundle of a run on two hospitals, 25 validation images of each class in each; and the table."""
    folder = tmp_path_factory.mktemp("two")
    table = drawn.table(folder / "films", train=20, val=50, classes=("COVID", "Normal"))
    table = table.with_samples(
        replace(own, hospital="north" if number % 2 else "south") for number, own in enumerate(table)
    )
    changes = ["model.output=softmax", "phases.0.epochs=1"]
    fit(settings.apply(small, changes), table, folder / "run", device="cpu", progress=False)
    return export_bundle(folder / "run", table, progress=False), table


def said_of(bundle: Bundle, table: SampleTable, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What the bundle says of a split: probabilities and pooled features."""
    answers = Model.load(bundle.folder).predict(images(Model.load(bundle.folder), table, split))
    return answers.probabilities, answers.features.mean(axis=(2, 3))


def test_with_several_hospitals_every_class_has_its_threshold(
    two_hospitals: tuple[Bundle, SampleTable],
) -> None:
    bundle, table = two_hospitals
    shares, _ = said_of(bundle, table, "val")
    val = table.split("val")
    labels = [bundle.classes.index(own.label) for own in val]
    expected = class_thresholds(shares, labels, [own.hospital for own in val], bundle.classes)
    assert set(bundle.thresholds.by_class) == set(bundle.classes)
    for name, least in expected.items():
        assert bundle.thresholds.by_class[name] == pytest.approx(
            least, abs=0.011
        )  # from the file, a step at most


def test_most_normal_lungs_of_every_hospital_are_like_normal_ones(
    two_hospitals: tuple[Bundle, SampleTable],
) -> None:
    bundle, table = two_hospitals
    reference = Reference.from_bytes((bundle.folder / "normal.npz").read_bytes())
    _, known = said_of(bundle, table, "train")
    normal = np.array([own.label == "Normal" for own in table.split("train")])
    np.testing.assert_allclose(reference.mean, known[normal].mean(axis=0), rtol=0.02, atol=1e-3)
    assert len(reference.centres) == 2  # a hospital each
    limit = bundle.thresholds.normal_distance
    assert limit == reference.limit
    _, pooled = said_of(bundle, table, "val")
    own = [
        reference.distance(pooled[[s.label == "Normal" and s.hospital == name for s in table.split("val")]])
        for name in ("north", "south")
    ]
    assert limit == pytest.approx(max(np.quantile(part, 0.9) for part in own), rel=0.02)


def test_a_bundle_of_two_hospitals_keeps_its_schema(two_hospitals: tuple[Bundle, SampleTable]) -> None:
    bundle, _ = two_hospitals
    assert set(bundle.files) == {"model.onnx", "reference.npz", "normal.npz"}
    assert load(bundle.folder) == bundle
    schema = json.loads((SCHEMAS / "bundle.schema.json").read_text())
    written = json.loads((bundle.folder / "bundle.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(written)
    assert written["training_data"]["classes_by_hospital"]["north"] == {"COVID": 35, "Normal": 35}


def test_of_one_hospital_nothing_is_said_of_others(bundle: Bundle) -> None:
    assert bundle.thresholds.by_class == {}
    assert bundle.thresholds.normal_distance is None


def test_sets_are_fitted_on_the_validation_images_from_enough_on(
    small: Recipe, bundle: Bundle, tmp_path: Path
) -> None:
    assert bundle.conformal is None  # twelve images are too few
    table = drawn.table(tmp_path / "drawn", train=4, val=15, classes=("COVID", "Normal"))
    fit(small, table, tmp_path / "run", device="cpu", progress=False)
    made = export_bundle(tmp_path / "run", table, progress=False)
    assert made.conformal is not None
    assert made.conformal.images == {"Normal": 15, "COVID": 15}
    assert made.conformal.fitted_on == made.calibration.fitted_on
    model = Model(made)
    shares = model.predict(images(model, table, "val")).probabilities
    labels = [made.classes.index(sample.label) for sample in table.split("val")]
    # Both classes are one category of 30: ceil(31 x 0.9) = 28 of them reach the threshold.
    expected = np.sort(shares[np.arange(30), labels])[30 - 28]
    assert made.conformal.by_class["COVID"] == pytest.approx(expected, abs=2e-3)
    assert made.conformal.by_class["COVID"] == made.conformal.by_class["Normal"]


def test_a_bundle_of_radiographs_knows_its_hospitals(small: Recipe, tmp_path: Path) -> None:
    """North has 80 training images, south 40, which are too few."""
    table = training_data(tmp_path / "films", hospitals=2)
    half = [own for number, own in enumerate(table) if own.source == "north" or number % 2]
    table = table.with_samples(half)
    fit(settings.apply(small, ["phases.0.epochs=1"]), table, tmp_path / "run", device="cpu", progress=False)
    made = export_bundle(tmp_path / "run", table, progress=False)
    known = hospitals_of(load(made.folder))
    assert known is not None
    assert known.names == ("north",)
    assert (known.predicted < 2).all()
    assert known.usual is not None
    assert sum(known.usual.predicted.values()) == pytest.approx(1, abs=0.001)
    export_bundle(tmp_path / "run", table.with_samples(half[-120:]), progress=False)
    assert hospitals_of(load(made.folder)) is None  # what a run before has left is gone
