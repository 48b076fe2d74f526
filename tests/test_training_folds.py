from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

import drawn
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.recipes.published import find
from pulmoscope.training.folds import cross_validate, folds
from pulmoscope.training.run import TrainedRun

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "folds.schema.json"


def table(patients: int = 6) -> SampleTable:
    """Two classes, 12 images each of train and val and one of test; each patient has several."""
    samples = [
        Sample(f"{label}{n}.png", label, "val" if n % 4 == 0 else "train", f"{label}-{n % patients}")
        for label in ("COVID", "Normal")
        for n in range(12)
    ]
    return SampleTable(Path(), "manifest", (*samples, Sample("t.png", "COVID", "test", "COVID-0")))


def test_every_image_is_held_out_once_and_patients_stay_whole() -> None:
    parts = folds(table(), 3, seed=1)
    held_out = [sample.file for part in parts for sample in part if sample.split == "val"]
    assert sorted(held_out) == sorted(sample.file for sample in table().split("train", "val"))
    for part in parts:
        patients = {split: {s.patient for s in part if s.split == split} for split in ("train", "val")}
        assert not patients["train"] & patients["val"]
        assert {s.label for s in part if s.split == "val"} == {"COVID", "Normal"}
        assert len(part) == 24
    assert [part.samples for part in folds(table(), 3, seed=1)] == [part.samples for part in parts]


def test_images_without_a_patient_stand_alone() -> None:
    samples = tuple(Sample(f"{label}{n}", label, "train") for label in "ab" for n in range(4))
    parts = folds(SampleTable(Path(), "manifest", samples), 4, seed=0)
    assert [sum(sample.split == "val" for sample in part) for part in parts] == [2, 2, 2, 2]


def test_near_duplicates_stay_together(tmp_path: Path) -> None:
    films = drawn.table(tmp_path, train=6, val=0, classes=("COVID", "Normal"))
    rng = np.random.default_rng(1)
    for one, again in zip(films.samples[::2], films.samples[1::2], strict=True):  # the same picture, brighter
        grey = cv2.resize(rng.integers(0, 200, (9, 9), dtype=np.uint8), (90, 90))
        assert cv2.imwrite(str(films.path(one)), grey)
        assert cv2.imwrite(str(films.path(again)), grey + 20)
    for part in folds(films, 3, seed=0):
        splits = [sample.split for sample in part]
        assert splits[::2] == splits[1::2]
        assert splits.count("val") == 4


@pytest.mark.parametrize("count", [1, 7])
def test_a_number_of_folds_that_can_not_be_is_told(count: int) -> None:
    with pytest.raises(DatasetError, match=f"--folds {count}: must be from 2 to 6"):
        folds(table(), count, seed=0)


def test_a_label_of_several_classes_is_none_to_share_out_by(tmp_path: Path) -> None:
    recipe = replace(find("xray-binary-cnn"), classes=(), labels={"?": "COVID 0.5, Normal 0.5"})
    unsure = tuple(Sample(f"u{n}.png", "?", "train", f"u-{n}") for n in range(2))
    parts: list[SampleTable] = []

    def fit(part: SampleTable, folder: Path) -> TrainedRun:
        parts.append(part)
        return TrainedRun(
            folder, recipe, dict.fromkeys(("val_accuracy", "val_loss", "best_epoch", "epochs", "seconds"))
        )

    whole = table()
    cross_validate(recipe, whole.with_samples((*whole.samples, *unsure)), 3, tmp_path, fit)
    assert [part.classes for part in parts] == [("COVID", "Normal")] * 3


def test_the_summary_is_of_all_folds(tmp_path: Path) -> None:
    accuracies = iter((0.8, 0.9, 1.0))
    recipe = find("xray-binary-cnn")

    def fit(part: SampleTable, folder: Path) -> TrainedRun:
        figures = {
            "val_accuracy": next(accuracies),
            "val_loss": 0.5,
            "best_epoch": 1,
            "epochs": 2,
            "seconds": 3.0,
        }
        return TrainedRun(folder, recipe, figures)

    summary = cross_validate(recipe, table(), 3, tmp_path, fit)

    assert summary["val_accuracy"] == {"mean": pytest.approx(0.9), "sd": pytest.approx(0.1)}
    assert [fold["val_accuracy"] for fold in summary["folds"]] == [0.8, 0.9, 1.0]
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written == summary
    jsonschema.validate(written, json.loads(SCHEMA.read_text(encoding="utf-8")))
