"""Calibration on one's own images, by hand from quadrants."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from bundles import quadrants, tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError, DatasetError, OutputExistsError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.calibrate import LEAST, RECOMMENDED, REMAINS, calibrate, expectation, with_sets
from pulmoscope.pipeline.evaluate import evaluate
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.runtime.bundle import CALIBRATION, Bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.training.card.record import add_metrics
from pulmoscope.training.card.text import model_card

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "bundle.schema.json"
FIGURES = {
    "accuracy": {"value": 0.9, "low": 0.8, "high": 1.0},
    "brier": {"value": 0.1, "low": 0.0, "high": 0.2},
    "calibration_error": {"value": 0.02, "low": 0.0, "high": 0.1},
}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    bare = tiny_bundle(tmp_path / "old", gain=40, confidence=0.5, distance=2.0)
    recipe = settings.apply(find("xray-binary-cnn"), ["classes=COVID,Normal"])
    metrics = {"test": {"role": "internal", "what": "before", "images": 9, "figures": FIGURES}}
    return Model(replace(bare, recipe=settings.to_plain(recipe), metrics=metrics).save())


def images(root: Path, right: int, wrong: int) -> SampleTable:
    """Images whose upper left quadrant is brighter by 0.2, labelled rightly (COVID) and wrongly (Normal)."""
    root.mkdir()
    assert cv2.imwrite(str(root / "image.png"), np.rint(quadrants((0.6, 0.4), 100) * 255).astype(np.uint8))
    labels = ["COVID"] * right + ["Normal"] * wrong
    rows = [Sample("image.png", label, "val", "", "here") for label in labels]
    return SampleTable(root, "manifest", (*rows, Sample("image.png", "Pneumonia", "val", "", "here")))


def test_temperature_and_threshold_are_those_worked_out_by_hand(model: Model, tmp_path: Path) -> None:
    # Logits differ by 40 / 4 x 0.2 = 2, and three of four are right: T = 2 / ln 3 makes 0.75 of it.
    made, failures = calibrate(model, images(tmp_path / "own", 45, 15), tmp_path / "new", split="val")
    assert failures == ()
    assert made.calibration.temperature == pytest.approx(2 / np.log(3), rel=0.01)
    assert made.calibration.fitted_on == "val of here, 60 images"
    assert made.thresholds.confidence == 0.95  # 99 % are nowhere right
    assert made.thresholds.distance == 2.0
    assert load(tmp_path / "new") == made
    answer = Model(made).predict(Model(made).prepare(quadrants((0.6, 0.4), 100)).tensor[None])
    assert answer.probabilities[0, 0] == pytest.approx(0.75, abs=0.01)
    assert made.calibration.bias == ()  # the temperature does as well
    assert made.conformal is not None
    # COVID (45 images) and Normal (15) are one category: ceil(61 x 0.9) = 55 of 60 reach 0.25, that of Normal.
    assert made.conformal.by_class == pytest.approx({"COVID": 0.25, "Normal": 0.25}, abs=0.01)
    assert made.conformal.by_hospital == {"here": made.conformal.by_class}
    assert made.conformal.images == {"COVID": 45, "Normal": 15}
    assert made.conformal.fitted_on == made.calibration.fitted_on


def test_a_class_that_is_much_rarer_here_gets_a_bias(model: Model, tmp_path: Path) -> None:
    # The network says COVID with a difference of 2, and it is hardly ever so: no temperature mends that.
    figures = FIGURES | {"macro_auroc": FIGURES["accuracy"]}
    metrics = {"test": {**model.bundle.metrics["test"], "figures": figures}}
    model = Model(replace(model.bundle, metrics=metrics).save())
    made, _ = calibrate(model, images(tmp_path / "own", 6, 54), tmp_path / "new")
    assert made.calibration.bias[1] - made.calibration.bias[0] > 1
    answer = Model(made).predict(Model(made).prepare(quadrants((0.6, 0.4), 100)).tensor[None])
    assert answer.probabilities[0, 1] > 0.7
    assert load(tmp_path / "new") == made
    assert list(made.metrics["test"]["figures"]) == ["macro_auroc"]  # a bias moves every other figure
    assert f"bias COVID {made.calibration.bias[0]:+.2f}" in model_card(made)


def test_few_images_leave_the_thresholds_of_referral(model: Model, tmp_path: Path) -> None:
    made, _ = calibrate(model, images(tmp_path / "own", 20, LEAST - 20), tmp_path / "new")
    assert made.thresholds == model.bundle.thresholds
    assert made.calibration.temperature != model.bundle.calibration.temperature
    assert made.conformal is not None
    assert str(RECOMMENDED) in expectation(LEAST)
    assert str(LEAST) not in expectation(RECOMMENDED)
    assert [f"{REMAINS[count]:.0%}" in expectation(count + 1) for count in REMAINS] == [True] * len(REMAINS)


def test_sets_are_fitted_to_answers_that_are_there(model: Model, tmp_path: Path) -> None:
    said, _ = predict_table(model, images(tmp_path / "own", 45, 15))
    made = with_sets(model.bundle, said, "val")
    calibrated, _ = calibrate(Model(made), images(tmp_path / "same", 45, 15), tmp_path / "new")
    assert made.conformal is not None
    assert calibrated.conformal is not None
    assert made.conformal.images == calibrated.conformal.images
    # The model says 0.88 and 0.12; ceil(61 x 0.9) = 55 of 60 reach that of Normal.
    assert made.conformal.by_class["COVID"] == pytest.approx(1 / (1 + np.exp(2)), abs=0.005)
    with pytest.raises(ValueError, match="not COVID, Normal"):
        with_sets(model.bundle, replace(said, classes=("Normal", "COVID")), "val")
    with pytest.raises(ValueError, match=f"at least {LEAST}"):
        with_sets(model.bundle, said.select(np.arange(len(said)) < LEAST - 1), "val")


@pytest.mark.parametrize(("hospital", "told"), [("here", "0.95"), ("unidentified", None)])
def test_thresholds_by_class_are_fitted_anew_or_cleared(
    hospital: str, told: str | None, model: Model, tmp_path: Path
) -> None:
    thresholds = replace(model.bundle.thresholds, by_class={"COVID": 0.4, "Normal": 0.4})
    own = Model(replace(model.bundle, thresholds=thresholds).save())
    table = images(tmp_path / "own", 45, 15)
    table = table.with_samples(replace(sample, hospital=hospital) for sample in table)
    made, _ = calibrate(own, table, tmp_path / "new")
    # Of the 15 normal images all are called COVID with 0.75: more than is borne below 0.76. Nothing is called Normal.
    assert made.thresholds.by_class == ({"COVID": 0.76, "Normal": 0.7} if told else {})
    assert made.thresholds.of("COVID") == (0.76 if told else made.thresholds.confidence)


def test_what_is_no_longer_true_is_left_out(model: Model, tmp_path: Path) -> None:
    made, _ = calibrate(model, images(tmp_path / "own", 60, 1), tmp_path / "new")
    assert list(made.metrics["test"]["figures"]) == ["accuracy"]
    assert made.version.startswith("0.1+")
    assert made.calibration.fitted_on == "all of here, 61 images"
    again, _ = calibrate(model, images(tmp_path / "same", 60, 1), tmp_path / "again", version="2.0")
    assert again.version == "2.0"


def own_images(root: Path, split: str = "val", source: str = "mine", row: int = 99) -> SampleTable:
    """LEAST files, no two alike, all called COVID; two of three are labelled so."""
    root.mkdir()
    rows = []
    for number in range(LEAST):
        picture = np.rint(quadrants((0.6, 0.4), 100) * 255).astype(np.uint8)
        picture[row, number] = 255
        assert cv2.imwrite(str(root / f"{number}.png"), picture)
        label = "Normal" if number % 3 == 2 else "COVID"
        rows.append(Sample(f"{number}.png", label, split, "", source))
    return SampleTable(root, "manifest", tuple(rows))


def recorded_role(folder: Path, table: SampleTable, split: str, out: Path) -> tuple[str, int]:
    """Of an evaluation, recorded in the bundle: its role, and how many images calibration has used."""
    found = evaluate(Model.load(str(folder)), table, out, split=split, bootstrap=0)
    made = add_metrics(folder, out.name, found)
    return made.metrics[out.name]["role"], found["data"]["used_for_calibration"]


def test_images_that_calibration_used_are_external_no_longer(model: Model, tmp_path: Path) -> None:
    known = replace(model.bundle, training_data={"sources": {"here": 9}, "counts": {}})
    own = Model(known.save())
    mine, old = own_images(tmp_path / "mine"), own.bundle.folder
    other = SampleTable(mine.root, "manifest", tuple(replace(own, split="test") for own in mine)[:3])
    elsewhere = own_images(tmp_path / "elsewhere", source="far", row=98)
    for name, table, split in (("same", mine, "val"), ("part", other, "test"), ("far", elsewhere, "val")):
        assert recorded_role(old, table, split, tmp_path / name) == ("external", 0)
    made, _ = calibrate(Model.load(str(old)), mine, tmp_path / "new", split="val")
    roles = {name: found["role"] for name, found in made.metrics.items()}
    # Of the split test nothing was used as far as the bundle knows; evaluated again, the files themselves tell.
    assert roles == {"test": "internal", "same": CALIBRATION, "part": "external", "far": "external"}
    assert len(set(made.calibration.images)) == LEAST
    assert load(tmp_path / "new") == made
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(manifest(made)))
    write = [("same-again", mine, "val", LEAST), ("part-again", other, "test", 3)]
    (tmp_path / "new" / "MODEL_CARD.md").write_text(model_card(made), encoding="utf-8")
    for name, table, split, used in write:
        assert recorded_role(tmp_path / "new", table, split, tmp_path / name) == (CALIBRATION, used)
    copies = own_images(tmp_path / "copies", source="far")  # the same files under another name
    assert recorded_role(tmp_path / "new", copies, "val", tmp_path / "copied") == (CALIBRATION, LEAST)
    card = (tmp_path / "new" / "MODEL_CARD.md").read_text(encoding="utf-8")
    header = next(line for line in card.splitlines() if "(calibration)" in line)
    assert header.index("(calibration)") < header.index("(external)")


@pytest.mark.parametrize(
    ("recorded", "split", "used"),
    [("all", "val", True), ("val", "all", True), ("val", "val", True), ("test", "val", False)],
)
def test_recorded_figures_of_a_split_in_common_may_be_of_the_same_images(
    recorded: str, split: str, used: bool, model: Model, tmp_path: Path
) -> None:
    entry = {
        "role": "external",
        "what": "x",
        "images": 9,
        "figures": {},
        "split": recorded,
        "sources": ["mine"],
        "data_sha256": "0" * 64,
    }
    audit = {**entry, "role": "audit"}
    own = Model(replace(model.bundle, metrics={"mine": entry, "audit": audit}).save())
    made, _ = calibrate(own, own_images(tmp_path / "mine"), tmp_path / "new", split=split)
    assert made.metrics["mine"]["role"] == (CALIBRATION if used else "external")
    assert made.metrics["audit"]["role"] == "audit"


def manifest(made: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.folder / "bundle.json").read_text(encoding="utf-8"))
    return found


def test_too_little_is_refused_and_nothing_is_replaced(model: Model, tmp_path: Path) -> None:
    few = images(tmp_path / "few", LEAST - 2, 1)
    with pytest.raises(DatasetError, match=rf"at least {LEAST} images .* \(found: {LEAST - 1} images"):
        calibrate(model, few, tmp_path / "new")
    with pytest.raises(DatasetError, match=r"two or more .* \(found: 80 images of COVID\)"):
        calibrate(model, images(tmp_path / "one", 80, 0), tmp_path / "new")
    assert not (tmp_path / "new" / "bundle.json").exists()
    with pytest.raises(OutputExistsError):
        calibrate(model, few, model.bundle.folder)
    with pytest.raises(BundleError, match="is the model itself"):
        calibrate(model, few, model.bundle.folder, force=True)
    assert load(model.bundle.folder) == model.bundle


def test_a_bundle_that_is_replaced_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    plain = Model(replace(tiny_bundle(tmp_path / "plain"), recipe=model.bundle.recipe).save())
    table = images(tmp_path / "own", 45, 15)
    before, _ = calibrate(model, table, tmp_path / "new")
    assert "reference.npz" in before.files
    few = images(tmp_path / "few", 3, 3)
    with pytest.raises(DatasetError):
        calibrate(plain, few, tmp_path / "new", force=True)
    assert load(tmp_path / "new") == before  # what can't be done costs nothing
    after, _ = calibrate(plain, table, tmp_path / "new", force=True)
    assert list(after.files) == ["model.onnx"]
    again, _ = calibrate(Model(after), table, tmp_path / "again")
    assert again.version == after.version


def test_the_command_writes_a_bundle_with_its_card(model: Model, tmp_path: Path) -> None:
    table = images(tmp_path / "own", 45, 15)
    manifest = table.root / "manifest.csv"
    rows = [f"{own.file},{own.label},{own.split},,here" for own in table]
    for number in range(len(rows)):  # a manifest names every file once
        name = f"{number}.png"
        (table.root / name).write_bytes((table.root / "image.png").read_bytes())
        rows[number] = rows[number].replace("image.png", name)
    manifest.write_text("\n".join(["file,label,split,patient,source", *rows, ""]), encoding="utf-8")
    command = ["models", "calibrate", model.bundle.folder, "--data", manifest, "-o", tmp_path / "new"]
    ended = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert ended.exit_code == 0
    assert "temperature     1.000 -> 1.8" in ended.stdout
    assert "referred below  0.500 -> 0.950" in ended.stdout
    assert expectation(60) in ended.stdout
    card = (tmp_path / "new" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "fitted on val of here, 60 images" in card
    assert CliRunner().invoke(app, ["models", "check", str(tmp_path / "new")]).exit_code == 0
