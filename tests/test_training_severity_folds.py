"""Cross-validation, the ablation and the stress test on a few drawn studies."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from sklearn.metrics import matthews_corrcoef
from typer.testing import CliRunner

import grades
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.datasets import manifest
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.experiments.ablation import ablate
from pulmoscope.training.experiments.stress import CASES, stress
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import TrainedRun
from pulmoscope.training.severity.folds import severity_folds
from pulmoscope.training.severity.run import fit_severity

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
TINY = (*grades.TINY, *grades.TINY_ANOGAN)
SETTINGS = ("--device", "cpu", *(part for setting in TINY for part in ("--set", setting)))


def fitted(recipe: Recipe, table: SampleTable, folder: Path) -> TrainedRun:
    run = fit_severity(recipe, table, folder, device="cpu", resume=True, progress=False)
    export_bundle(folder, table, progress=False)
    return run


def follows(name: str, written: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(written.read_text(encoding="utf-8"))
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(found)
    return found


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    found = grades.table(tmp_path_factory.mktemp("grades"), each=2, splits=("train",))
    manifest.write(found.root / "manifest.csv", found.samples)
    return found


@pytest.fixture(scope="module")
def folds(studies: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation as a user runs it."""
    out = tmp_path_factory.mktemp("validated") / "folds"
    said = typed("train", "ct-severity-resnet18", *of(studies), "-o", out, "--folds", 2, *SETTINGS)
    assert "MCC of held-out studies" in said
    assert "AnoGAN, AUROC of CT-3 against the first class: slice " in said
    assert "Synthetic: the figures are of " in said
    assert said.endswith(f"Summary: {out / 'summary.json'}\n")
    return out


def typed(*arguments: str | int | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def of(studies: SampleTable) -> tuple[str, Path]:
    return "--data", studies.root


def test_every_patient_is_held_out_once_and_grades_are_shared_out(studies: SampleTable) -> None:
    parts = severity_folds(grades.recipe(), studies, 2, Reporter())
    held_out = [sample.patient for part in parts for sample in part if sample.split == "val"]
    assert sorted(held_out) == sorted(sample.patient for sample in studies)
    for part in parts:
        assert sorted(sample.label for sample in part if sample.split == "val") == list(grades.CLASSES)


def test_dropped_grades_are_left_out(studies: SampleTable) -> None:
    extra = dataclasses.replace(studies.samples[0], file="x.nii", label="CT-4", patient="x")
    table = dataclasses.replace(studies, samples=(*studies.samples, extra))
    parts = severity_folds(grades.recipe(), table, 2, Reporter())
    assert all(sample.label != "CT-4" for part in parts for sample in part)


def test_the_summary_says_what_the_predictions_say(folds: Path, studies: SampleTable) -> None:
    found = follows("severity-folds", folds / "summary.json")
    with (folds / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["file"] for row in rows) == sorted(sample.file for sample in studies)
    for vote in ("majority", "mean", "attention", "regression"):
        mcc = matthews_corrcoef([row["label"] for row in rows], [row[vote] for row in rows])
        assert found["figures"][vote]["scores"]["mcc"]["value"] == pytest.approx(mcc)  # type: ignore[index]
    with (folds / "slices.csv").open(encoding="utf-8") as stream:
        slices = list(csv.DictReader(stream))
    for row in rows:
        own = [one["predicted"] for one in slices if one["file"] == row["file"]]
        most = max(own.count(name) for name in grades.CLASSES)
        assert own.count(row["majority"]) == most
    assert (folds / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_anomaly_scores_are_told_by_slice_and_spread_by_class(folds: Path) -> None:
    with (folds / "slices.csv").open(encoding="utf-8") as stream:
        slices = list(csv.DictReader(stream))
    with (folds / "anomaly.csv").open(encoding="utf-8") as stream:
        spread = list(csv.DictReader(stream))
    assert [row["class"] for row in spread] == list(grades.CLASSES)
    for row in spread:
        scores = np.array([float(own["anomaly"]) for own in slices if own["label"] == row["class"]])
        assert int(row["slices"]) == len(scores)
        told = [
            float(row[name]) for name in ("minimum", "lower_quartile", "median", "upper_quartile", "maximum")
        ]
        assert told == pytest.approx(np.percentile(scores, (0, 25, 50, 75, 100)), abs=1e-5)
        assert float(row["mean"]) == pytest.approx(scores.mean(), abs=1e-5)
    assert (folds / "anomaly.png").read_bytes().startswith(b"\x89PNG")


def test_a_cross_validation_that_was_killed_goes_on_with_what_is_missing(
    folds: Path, studies: SampleTable, tmp_path: Path
) -> None:
    killed = tmp_path / "folds"
    shutil.copytree(folds, killed)
    for path in killed.iterdir():  # as it is while the second fold is under way
        if path.is_file():
            path.unlink()
    shutil.rmtree(killed / "fold-2")
    (killed / "fold-1" / "own").touch()
    command = ("train", "ct-severity-resnet18", *of(studies), "-o", killed, "--folds", 2, *SETTINGS)
    with pytest.raises(OutputExistsError, match=r"--resume .*--force"):
        typed(*command)
    typed(*command, "--resume")
    assert (killed / "fold-1" / "own").is_file()  # it was left as it is
    for name in ("predictions.csv", "slices.csv"):
        assert (killed / name).read_bytes() == (folds / name).read_bytes()


def test_a_fold_says_that_it_must_be_evaluated_elsewhere(folds: Path) -> None:
    card = (folds / "fold-1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "evaluate it on other data" in card
    assert "--split test" not in card


def misled(table: SampleTable) -> SampleTable:
    """The same, every grade to learn from called the next one."""
    following = dict(zip(grades.CLASSES, [*grades.CLASSES[1:], grades.CLASSES[0]], strict=True))
    samples = (
        dataclasses.replace(own, label=following[own.label]) if own.split == "train" else own for own in table
    )
    return dataclasses.replace(table, samples=tuple(samples))


def test_the_ablation_compares_eight_systems_on_the_same_folds(studies: SampleTable, tmp_path: Path) -> None:
    asked: list[tuple[str, str, float]] = []
    scored: list[tuple[str, str, float]] = []
    trained: dict[tuple[str, ...], TrainedRun] = {}

    def once(recipe: Recipe, table: SampleTable, folder: Path) -> TrainedRun:
        """Trains each fold with and without an imputer; other losses take its networks, which saves minutes.

        Those with one learn from wrong grades, so that something is lost against the first system.
        """
        quality = recipe.quality
        asked.append((quality.imputer, recipe.loss.kind, recipe.loss.beta))
        scored.extend(asked[-1:] * quality.anomalies)
        recipe = dataclasses.replace(recipe, quality=dataclasses.replace(quality, anomalies=False))
        key = (quality.imputer, *(sample.file for sample in table.split("val")))
        if key not in trained:
            trained[key] = fitted(recipe, misled(table) if quality.imputer == "linear" else table, folder)
        elif trained[key].folder != folder:
            shutil.copytree(trained[key].folder, folder)
        return dataclasses.replace(trained[key], folder=folder)

    recipe = grades.recipe("phases.train.epochs=1", "loss.beta=0.9", "loss.gamma=3", "quality.anomalies=true")
    ablate(recipe, studies, 2, tmp_path, once, bootstrap=0, progress=False)
    found = follows("severity-ablation", tmp_path / "ablation.json")
    assert [(row["imputer"], row["loss"]) for row in found["rows"]] == [  # type: ignore[attr-defined]
        (imputer, loss) for imputer in ("none", "linear") for loss in ("CE", "LDAM", "CB", "LDAM+CB")
    ]
    rows: list[dict[str, dict[str, dict[str, float]]]] = found["rows"]  # type: ignore[assignment]
    for level in ("slice", "majority", "mean", "attention", "regression"):
        values = [row["mcc"][level]["value"] for row in rows]
        assert [row["gain"][level]["value"] for row in rows] == pytest.approx(np.subtract(values, values[0]))
    assert rows[-1]["gain"]["attention"]["value"] < 0
    losses = [("cross-entropy", 0.0), ("ldam", 0.0), ("cross-entropy", 0.9), ("ldam", 0.9)]
    assert asked == [(imputer, *own) for imputer in ("none", "linear") for own in losses for _ in range(2)]
    # The recipe's own system, whatever it says of another loss's settings.
    assert scored == [("linear", "ldam", 0.9)] * 2
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "linear-ldam+cb" / "summary.json").is_file()


def test_a_loss_that_is_not_compared_is_refused(studies: SampleTable, tmp_path: Path) -> None:
    def never(*_: object) -> TrainedRun:
        raise AssertionError("nothing is trained")

    with pytest.raises(
        RecipeError, match=r"xray-binary-cnn: must be a recipe that grades studies \(ct-severity"
    ):
        typed("ablate", "xray-binary-cnn", *of(studies), "-o", tmp_path)
    with pytest.raises(RecipeError, match=r"loss.kind=focal: must be cross-entropy or ldam"):
        ablate(grades.recipe("loss.kind=focal"), studies, 2, tmp_path, never, progress=False)


def test_the_stress_test_damages_repairs_and_judges(
    folds: Path, studies: SampleTable, tmp_path: Path
) -> None:
    said = typed("stress", folds, *of(studies), "-o", tmp_path, "--bootstrap", 0)
    assert f"Table: {tmp_path / 'stress.csv'}" in said
    found = follows("severity-stress", tmp_path / "stress.json")
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    assert len(rows) == 1 + len(CASES) * 4
    assert {row["imputer"] for row in rows[1:]} == {"none", "mean", "linear", "navier-stokes"}
    assert all(row["studies"] == len(studies) for row in rows)
    damaged = {str(row["case"]): row["damaged_slices"] for row in rows}
    assert damaged["as they are"] == 0
    assert 0 < damaged["10 % large"] < damaged["30 % large"] <= rows[0]["slices"]  # type: ignore[operator]
    assert (tmp_path / "stress-damaged.png").is_file()


def test_a_system_that_looks_for_no_damage_can_not_be_stressed(
    folds: Path, studies: SampleTable, tmp_path: Path
) -> None:
    copied = tmp_path / "folds"
    shutil.copytree(folds, copied)
    own = copied / "fold-1" / "recipe.json"
    plain = json.loads(own.read_text(encoding="utf-8"))
    plain["recipe"]["quality"]["imputer"] = "none"
    own.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(RecipeError, match="looks for no damage"):
        stress(copied, studies, tmp_path / "out", bootstrap=0, progress=False)


def test_a_folder_without_folds_can_not_be_stressed(studies: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no finished cross-validation"):
        stress(tmp_path, studies, tmp_path / "out", progress=False)


def test_a_repaired_study_keeps_every_observed_pixel(studies: SampleTable, tmp_path: Path) -> None:
    from pulmoscope.quality.imputation import imputer
    from pulmoscope.training.severity.studies import prepare, repaired
    from pulmoscope.training.three_level.studies import Cache

    recipe, cache = grades.recipe(), Cache(tmp_path)
    before = prepare(studies, recipe.preprocess, recipe.classes, cache, Reporter(), search=True)
    assert any(study.missing.any() for study in before)
    for name in ("mean", "linear", "navier-stokes"):
        after = repaired(before, imputer(name), cache, name, Reporter())
        for one, other in zip(before, after, strict=True):
            assert np.array_equal(one.images[~one.missing], other.images[~one.missing])


def test_folds_of_other_data_can_not_be_stressed(folds: Path, studies: SampleTable, tmp_path: Path) -> None:
    renamed = tuple(
        dataclasses.replace(own, patient=f"other {number}") for number, own in enumerate(studies.samples)
    )
    fewer = dataclasses.replace(studies, samples=(*renamed[::2], *renamed[1::2])[:-1])
    with pytest.raises(DatasetError, match="from 2 to 1, the patients of the rarest class, CT-"):
        stress(folds, fewer, tmp_path / "few", progress=False)
    summary = json.loads((folds / "summary.json").read_text(encoding="utf-8"))
    summary["folds"][0]["held_out"] = ["elsewhere.nii"]
    copied = tmp_path / "folds"
    shutil.copytree(folds, copied)
    (copied / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(RecipeError, match="fold 1 has held out other studies"):
        stress(copied, studies, tmp_path / "out", progress=False)


def test_nothing_prepared_of_patients_stays_behind(folds: Path) -> None:
    assert {path.name for path in folds.iterdir() if path.is_dir()} == {"fold-1", "fold-2"}
    assert not list(folds.rglob("*.npy"))
