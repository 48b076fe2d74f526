"""Two evaluations of the same images compared, with models whose answers are known by construction."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from bundles import quadrants, slice_model, tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.compare import COMPARED
from pulmoscope.evaluation.delong import delong
from pulmoscope.pipeline.compare import compare
from pulmoscope.pipeline.evaluate import evaluate
from pulmoscope.pipeline.predict import read_predictions
from pulmoscope.runtime.model import Model

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "compare.schema.json"
IMAGES = 24


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    """Half COVID, bright at the upper left; half Normal, bright at the upper right. Two images a patient."""
    root = tmp_path_factory.mktemp("images")
    samples = []
    for number in range(IMAGES):
        ill = number < IMAGES // 2
        picture = np.rint(quadrants((0.8, 0.2) if ill else (0.2, 0.8), 64) * 255).astype(np.uint8)
        picture[60, number] = 255  # no two files alike
        assert cv2.imwrite(str(root / f"{number}.png"), picture)
        label = "COVID" if ill else "Normal"
        samples.append(Sample(f"{number}.png", label, "test", f"p{number // 2}", "here"))
    return SampleTable(root, "manifest", tuple(samples))


def evaluated(folder: Path, table: SampleTable, classes: tuple[str, ...], gain: float = 40) -> Path:
    model = Model(tiny_bundle(folder / "model", classes, gain=gain, name=folder.name))
    evaluate(model, table, folder / "out", split="test", bootstrap=0)
    return folder / "out"


@pytest.fixture(scope="module")
def right(table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("right"), table, ("COVID", "Normal"))


@pytest.fixture(scope="module")
def wrong(table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, turned round: with a gain below 0 it calls every image wrongly."""
    return evaluated(tmp_path_factory.mktemp("wrong"), table, ("COVID", "Normal"), gain=-40)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in the words of its readers: 20 Typical, 20 Negative, 6 Viral Pneumonia, their quadrants by chance.

    The upper left of the Typical ones is somewhat brighter.
    """
    root = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(11)
    lines = ["file,label,split,patient,source"]
    for number in range(46):
        label = ("Typical", "Negative", "Viral Pneumonia")[number // 20]
        bright = rng.uniform(0.2, 0.8, 4) + (0.15 if label == "Typical" else 0) * np.eye(4)[0]
        picture = np.rint(quadrants(tuple(bright), 64) * 255).astype(np.uint8)
        assert cv2.imwrite(str(root / f"{number}.png"), picture)
        lines.append(f"{number}.png,{label},test,p{number},here")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models whose words differ: to the first the third label is a class of its own, to the second another one."""
    root = tmp_path_factory.mktemp("systems")
    words = {"Typical": "COVID", "Negative": "Normal"}
    viral = tiny_bundle(root / "one", ("COVID", "Normal", "Viral Pneumonia"), name="one", gain=10)
    other = tiny_bundle(root / "two", ("COVID", "Other pneumonia", "Normal"), name="two", gain=10)
    replace(viral, recipe={"labels": words}).save()
    replace(other, recipe={"labels": words | {"Viral Pneumonia": "Other pneumonia"}}).save()
    return root / "one", root / "two"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)


def test_the_better_model_is_told_with_its_interval_and_test(
    right: Path, wrong: Path, tmp_path: Path
) -> None:
    ended = run(right, wrong, "-o", tmp_path / "out", "--bootstrap", 200)
    assert ended.exit_code == 0
    found = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert (found["data"]["images"], found["data"]["units"]) == (IMAGES, IMAGES // 2)
    accuracy = found["figures"]["accuracy"]
    assert (accuracy["first"], accuracy["second"], accuracy["difference"]["value"]) == (1, 0, 1)
    assert found["by_class"]["COVID"]["sensitivity"]["difference"]["value"] == 1
    # Twelve patients, all for the first: 2 x 1/2 ** 12.
    assert found["mcnemar"] == {"first_only": 12, "second_only": 0, "p_value": 2 / 2**12}
    assert found["conclusion"]["better"] == "first"
    # Of six patients a class a mean of two sensitivities can't be told: 2 x 0.0125 ** (1 / 6) is below 1.
    assert found["conclusion"]["first"] == ["macro_auroc", "accuracy"]
    assert found["conclusion"]["sentence"] in ended.stdout
    turned = compare(wrong, right, tmp_path / "turned", bootstrap=200)
    assert turned["conclusion"]["better"] == "second"


def test_two_models_and_their_data_in_one_command(
    systems: tuple[Path, Path], mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = run(*systems, "--data", mixed, "-o", out, "--bootstrap", 200)
    assert ended.exit_code == 0
    found = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    for side, name in (("first", "one"), ("second", "two")):
        metrics = json.loads((out / side / "metrics.json").read_text(encoding="utf-8"))
        assert (metrics["model"]["name"], metrics["data"]["predicted"]) == (name, 46)
        assert found[side]["name"] == name
    # What the third label is called differs, so only the pair is left, and its 40 images.
    assert found["compared"] == {
        "classes": ["Normal", "COVID"],
        "only_first": ["Viral Pneumonia"],
        "only_second": ["Other pneumonia"],
        "labels_differ": [{"first": "Viral Pneumonia", "second": "Other pneumonia", "images": 6}],
    }
    assert found["data"]["labels"] == {"COVID": 20, "Normal": 20}
    assert (found["data"]["images"], found["data"]["units"], found["data"]["several"]) == (40, 40, 0)
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert escape(found["conclusion"]["sentence"]) in page
    assert page.count("<img") == 1

    # By hand from the two evaluations: the pair's two probabilities alone, and DeLong's test of their ratio.
    scores = []
    for side in ("first", "second"):
        predictions = read_predictions(out / side / "predictions.csv")
        kept = predictions.select([label in ("COVID", "Normal") for label in predictions.labels])
        covid, normal = (kept.probabilities[:, kept.classes.index(name)] for name in ("COVID", "Normal"))
        scores.append(covid / (covid + normal))
        ill = np.array([label == "COVID" for label in kept.labels])
    pair = found["pair"]
    assert (pair["positive"], pair["negative"], pair["images"]) == ("COVID", "Normal", 40)
    for side, values in zip(("first", "second"), scores, strict=True):
        assert pair["auroc"][side] == pytest.approx(roc_auc_score(ill, values))
        assert found["figures"]["accuracy"][side] == pytest.approx(((values > 0.5) == ill).mean())
    expected = delong(scores[0], scores[1], ill)
    assert expected is not None
    assert pair["delong"] == pytest.approx(expected.plain())
    assert pair["delong"] == pytest.approx(found["by_class"]["COVID"]["delong"])
    # The bootstrap and DeLong's normal interval are two ways to the same: here 40 independent patients.
    gap = pair["auroc"]["difference"]
    width = pair["delong"]["high"] - pair["delong"]["low"]
    assert gap["high"] - gap["low"] == pytest.approx(width, rel=0.2)
    assert f"{pair['delong']['p_value']:.3g}" in ended.stdout


def test_a_table_of_labels_is_in_place_of_both_models_words(
    systems: tuple[Path, Path], mixed: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("label,class\nTypical,Normal\nNegative,COVID\n", encoding="utf-8")
    run(*systems, "--data", mixed, "--labels", labels, "-o", tmp_path / "turned", "--bootstrap", 0)
    run(*systems, "--data", mixed, "-o", tmp_path / "out", "--bootstrap", 0)
    turned, plain = (
        json.loads((tmp_path / name / "compare.json").read_text(encoding="utf-8"))["pair"]["auroc"]
        for name in ("turned", "out")
    )
    assert turned["first"] == pytest.approx(1 - plain["first"])
    assert turned["difference"]["value"] == pytest.approx(-plain["difference"]["value"])


def test_models_without_a_label_in_common_are_refused_before_any_work(
    systems: tuple[Path, Path], mixed: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("label,class\nTypical,Round\nNegative,Square\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="Round"):
        run(*systems, "--data", mixed, "--labels", labels, "-o", tmp_path / "out")
    cap = tiny_bundle(tmp_path / "cap", ("COVID", "CAP")).folder
    with pytest.raises(DatasetError, match="CAP"):
        run(systems[0], cap, "--data", mixed, "-o", tmp_path / "out")
    with pytest.raises(DatasetError, match="modality"):
        run(systems[0], slice_model(tmp_path / "ct").bundle.folder, "--data", mixed, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_hospital_that_one_model_has_learnt_from_is_told(tmp_path: Path, mixed: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed, root)
    table = (root / "manifest.csv").read_text(encoding="utf-8")
    (root / "manifest.csv").write_text(table.replace(",here", ",shenzhen"), encoding="utf-8")
    folders = []
    for name, hospitals in (("knows", {"shenzhen": {"COVID": 5}}), ("not", {"nih": {"COVID": 5}})):
        bundle = tiny_bundle(tmp_path / name, name=name, training_data={"classes_by_hospital": hospitals})
        folders.append(
            replace(bundle, recipe={"labels": {"Typical": "COVID", "Negative": "Normal"}}).save().folder
        )
    ended = run(*folders, "--data", root, "-o", tmp_path / "out", "--bootstrap", 0)
    found = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert [found[side]["learnt_from"] for side in ("first", "second")] == [
        {"shenzhen": True},
        {"shenzhen": False},
    ]
    assert "shenzhen" in ended.stdout


def test_labels_without_data_are_refused(right: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--labels"):
        run(right, right, "--labels", tmp_path / "labels.csv", "-o", tmp_path / "out")


def test_folders_of_models_with_other_classes_are_compared_by_the_pair(
    right: Path, table: SampleTable, tmp_path: Path
) -> None:
    other = evaluated(tmp_path / "other", table, ("Normal", "COVID", "CAP"))
    found = compare(right, other, tmp_path / "out", bootstrap=50)
    assert found["compared"]["only_second"] == ["CAP"]
    assert found["compared"]["only_first"] == []
    # The other model's classes lie the other way round over the quadrants.
    assert found["figures"]["accuracy"]["difference"]["value"] == 1
    # Both rank all pairs alike, rightly or wrongly: there is no variance to test by.
    assert found["pair"]["delong"]["z"] is None
    # Two images a patient.
    assert found["data"]["several"] == IMAGES // 2


def test_files_may_stand_in_another_order(right: Path, table: SampleTable, tmp_path: Path) -> None:
    other = evaluated(tmp_path / "other", table.with_samples(table.samples[::-1]), ("Normal", "COVID"))
    found = compare(right, other, tmp_path / "out", bootstrap=50)
    # The other model's classes lie the other way round over the quadrants, so it calls all images wrongly.
    assert found["figures"]["accuracy"]["difference"]["value"] == 1


def test_a_model_is_no_better_than_itself(right: Path, tmp_path: Path) -> None:
    found = compare(right, right, tmp_path, bootstrap=50)
    assert found["conclusion"]["better"] == "none"
    # Two of one name are told apart.
    assert all(f"{letter} (right" in found["conclusion"]["sentence"] for letter in "AB")
    assert found["mcnemar"]["p_value"] == 1
    assert all(found["figures"][name]["difference"]["value"] == 0 for name in COMPARED)


@pytest.mark.parametrize("part", ["files", "labels", "classes", "content"])
def test_what_does_not_match_is_refused_in_one_line(
    part: str, right: Path, table: SampleTable, tmp_path: Path
) -> None:
    classes = ("COVID", "CAP") if part == "classes" else ("COVID", "Normal")
    if part == "files":
        table = table.with_samples(table.samples[:-1])
    if part == "labels":
        table = table.with_samples([replace(table.samples[0], label="Normal"), *table.samples[1:]])
    if part == "content":
        table = table.with_samples(replace(own, split="val") for own in table)
    other = evaluated(tmp_path / "other", table, classes)
    with pytest.raises(DatasetError) as refused:
        compare(right, other, tmp_path / "out")
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_evaluation_is_refused(right: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no evaluation"):
        compare(right, tmp_path, tmp_path / "out")
    (tmp_path / "metrics.json").write_bytes((right / "metrics.json").read_bytes())
    with pytest.raises(DatasetError, match=r"predictions\.csv"):
        compare(right, tmp_path, tmp_path / "out")
    (tmp_path / "predictions.csv").write_text("file\nx.png\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"predictions\.csv"):
        compare(right, tmp_path, tmp_path / "out")


def test_nothing_is_overwritten_unasked(right: Path, wrong: Path, tmp_path: Path) -> None:
    compare(right, wrong, tmp_path, bootstrap=0)
    with pytest.raises(OutputExistsError):
        compare(right, wrong, tmp_path, bootstrap=0)
    compare(right, wrong, tmp_path, bootstrap=0, force=True)


def test_predictions_are_read_as_they_were_written(right: Path, table: SampleTable) -> None:
    found = read_predictions(right / "predictions.csv")
    assert found.files == tuple(own.file for own in table)
    assert (found.labels, found.patients) == tuple(
        tuple(getattr(own, name) for own in table) for name in ("label", "patient")
    )
    assert found.classes == ("COVID", "Normal")
    assert found.predicted == found.labels
    # Logits differ by 40 / 4 x 0.6 = 6.
    assert found.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-6)), rel=1e-2)
