"""Two evaluations of the same images compared, with models whose answers are known by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from bundles import quadrants, tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.compare import COMPARED
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


def test_files_may_stand_in_another_order(right: Path, table: SampleTable, tmp_path: Path) -> None:
    other = evaluated(tmp_path / "other", table.with_samples(table.samples[::-1]), ("Normal", "COVID"))
    found = compare(right, other, tmp_path / "out", bootstrap=50)
    # The other model's classes lie the other way round over the quadrants, so it calls all images wrongly.
    assert found["figures"]["accuracy"]["difference"]["value"] == 1


def test_a_model_is_no_better_than_itself(right: Path, tmp_path: Path) -> None:
    found = compare(right, right, tmp_path, bootstrap=50)
    assert found["conclusion"]["better"] == "none"
    assert found["mcnemar"]["p_value"] == 1
    assert all(found["figures"][name]["difference"]["value"] == 0 for name in COMPARED)


@pytest.mark.parametrize("part", ["files", "labels", "classes", "content"])
def test_what_does_not_match_is_refused_in_one_line(
    part: str, right: Path, table: SampleTable, tmp_path: Path
) -> None:
    classes = ("COVID", "Normal", "CAP") if part == "classes" else ("COVID", "Normal")
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
