"""Training a model of an outcome: its terms beside scikit-learn's own answers, its choice, its files, its fusion."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.datasets.patients import PatientTable
from pulmoscope.phantoms.records.draw import VALUES
from pulmoscope.phantoms.records.folder import TABLE, write_records
from pulmoscope.pipeline.outcome.evaluate import Source, evaluate_outcome
from pulmoscope.recipes.published.outcome_clinical import RECIPE, OutcomeRecipe
from pulmoscope.runtime.outcome import CARD, MANIFEST, OutcomeModel, load_outcome
from pulmoscope.training.outcome.fit import fit_boosting, fit_logistic
from pulmoscope.training.outcome.run import SUMMARY, cross_validate_outcome, train_outcome
from pulmoscope.training.outcome.train import chosen_inputs, fit, threshold

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
NAMES = ("crp", "ldh", "sodium")
OWN = replace(RECIPE, table=TABLE, bootstrap=8, happens="death", penalties=(0.01, 0.1, 1.0), rounds=(20, 60))


def keeps(schema: str, content: object) -> None:
    Draft202012Validator(json.loads((SCHEMAS / f"{schema}.schema.json").read_text())).validate(content)


def patients(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    values = np.exp(random.standard_normal((count, len(NAMES))))
    happened = random.random(count) < 1 / (1 + np.exp(-(np.log(values[:, 0]) * 1.5 - np.log(values[:, 1]))))
    values[random.random(values.shape) < 0.2] = np.nan
    return values, happened


def test_the_logistic_model_is_scikit_learns_on_standardised_values_and_indicators() -> None:
    values, happened = patients()
    model = fit_logistic(NAMES, values, happened, penalty=0.5)
    logs = np.log(values)  # they are skewed
    missing = np.isnan(values)
    centred = np.where(missing, 0, (logs - np.nanmedian(logs, axis=0)) / np.nanstd(logs, axis=0))
    design = np.column_stack([centred, missing])
    expected = LogisticRegression(C=0.5, max_iter=5000).fit(design, happened).decision_function(design)
    np.testing.assert_allclose(model.log_odds(values), expected, atol=1e-6)


def test_steps_are_exactly_what_boosting_without_interactions_gives() -> None:
    values, happened = patients()
    recipe = replace(RECIPE, model="boosting")
    model = fit_boosting(NAMES, values, happened, 50, recipe)
    boosted = HistGradientBoostingClassifier(
        learning_rate=recipe.learning_rate,
        max_iter=50,
        max_leaf_nodes=recipe.leaves,
        min_samples_leaf=recipe.least_patients,
        interaction_cst="no_interactions",
        early_stopping=False,
        random_state=recipe.seed,
    ).fit(values, happened)
    new, _ = patients(500, seed=1)
    np.testing.assert_allclose(model.log_odds(values), boosted.decision_function(values), atol=1e-9)
    # Between two values that training saw the edge may lie elsewhere; nearly all are the same.
    same = np.isclose(model.log_odds(new), boosted.decision_function(new), atol=1e-9)
    assert same.mean() > 0.9
    np.testing.assert_allclose(model.parts(values).mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("model", ["logistic", "boosting"])
def test_any_value_may_be_missing_in_training_and_after(model: str) -> None:
    values, happened = patients(200)
    values = np.column_stack([values, np.full(len(values), np.nan), np.full(len(values), 7.0)])
    values[:3, 3] = [1.0, 2.0, 3.0]  # hardly anybody has it, and no resample or fold need have it
    names = (*NAMES, "rare", "constant")
    splits, nothing = ("train",) * len(values), np.full(len(values), np.nan)
    table = PatientTable("t", "t", "died", names, splits, splits, values, happened, nothing)
    fitted = fit(replace(OWN, model=model), table, names)
    random = np.random.default_rng(2)
    asked = np.where(random.random((500, len(names))) < 0.5, np.nan, random.normal(0, 100, (500, len(names))))
    for additive in (fitted.additive, *fitted.members):
        log_odds = additive.log_odds(asked)
        assert np.isfinite(log_odds).all()
        np.testing.assert_allclose(additive.parts(asked).sum(axis=1) + additive.intercept, log_odds)


def test_of_values_that_are_all_one_nothing_is_learnt() -> None:
    values, happened = np.full((40, 1), 7.0), np.arange(40) < 10
    model = fit_boosting(["constant"], values, happened, 20, RECIPE)
    np.testing.assert_allclose(model.log_odds(np.array([[7.0], [1.0], [np.nan]])), np.log(1 / 3))


def test_the_threshold_is_the_highest_that_reaches_the_sensitivity() -> None:
    log_odds = np.log([0.9, 0.8, 0.6, 0.3, 0.7]) - np.log1p(-np.array([0.9, 0.8, 0.6, 0.3, 0.7]))
    happened = np.array([True, True, True, True, False])
    assert threshold(log_odds, happened, 0.75) == pytest.approx(0.6)
    assert threshold(log_odds, happened, 0.76) == pytest.approx(0.3)
    assert threshold(log_odds, happened, 1.0) == pytest.approx(0.3)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_records(folder, 2500, seed=5)
    return folder


def table_of(folder: Path, recipe: OutcomeRecipe = OWN) -> PatientTable:
    return recipe.patients_in(folder)


@pytest.fixture(scope="module")
def trained(records: Path, tmp_path_factory: pytest.TempPathFactory) -> OutcomeModel:
    """Of all values of the records."""
    return train_outcome(OWN, table_of(records), tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("model", ["logistic", "boosting"])
def test_a_run_is_a_model_with_a_card_that_keeps_its_schema(
    records: Path, tmp_path: Path, model: str
) -> None:
    recipe = replace(OWN, model=model)
    trained = train_outcome(recipe, table_of(records), tmp_path, terms="none needed", command="typed")
    content = json.loads((tmp_path / MANIFEST).read_text())
    keeps("outcome", content)
    loaded = load_outcome(tmp_path)
    assert loaded == trained
    assert loaded.synthetic
    assert loaded.metrics["val"]["figures"]["auroc"]["low"] > 0.6
    assert len(loaded.bootstrap) == 8
    card = (tmp_path / CARD).read_text()
    assert "none needed" in card
    assert loaded.version in card
    assert f"strength {loaded.calibration['base']['strength']:g} " in card
    assert "Synthetic" in card
    assert all(f"`{name}`" in card for name in loaded.names)
    with pytest.raises(OutputExistsError):
        train_outcome(recipe, table_of(records), tmp_path)


def test_the_same_seed_gives_the_same_model(records: Path, trained: OutcomeModel, tmp_path: Path) -> None:
    assert train_outcome(OWN, table_of(records), tmp_path).sha256 == trained.sha256


def test_probabilities_mean_what_they_say(records: Path, trained: OutcomeModel) -> None:
    """Beside the probability that each record was drawn with."""
    test = table_of(records).split("test")
    predicted, low, high = trained.probabilities(test.columns(trained.names))
    assert np.abs(predicted - test.truth["true_probability"]).mean() < 0.05
    assert ((low <= predicted) & (predicted <= high)).all()


def test_fusion_gains_what_the_truth_allows(records: Path, trained: OutcomeModel, tmp_path: Path) -> None:
    values = replace(OWN, inputs=(*VALUES, "sex"))
    without = train_outcome(values, table_of(records), tmp_path / "without")
    assert set(trained.names) - set(without.names) == {
        "xray_extent",
        "xray_opacity",
        "xray_brixia",
        "ct_percent",
    }
    source = Source(records, split="val,test")
    report = evaluate_outcome(trained, source, tmp_path / "figures", beside=without, bootstrap=300)
    keeps("outcome-metrics", report)
    truth, gain = report["truth"], report["beside"]["difference"]
    allowed = truth["true_probability"]["auroc"]["value"] - truth["true_probability_values"]["auroc"]["value"]
    assert allowed > 0.03
    assert 0 < gain["low"] < allowed < gain["high"]


@pytest.mark.parametrize(
    ("split", "change", "seen"),
    [
        ("test", "", (False, False)),
        ("test", "other splits", (True, True)),
        ("train", "order", (True, False)),
        ("val", "order", (False, True)),
        ("all", "only train", (True, False)),
        ("val,test", "", (False, True)),
        ("all", "", (True, True)),
        ("all", "other patients", (False, False)),
    ],
)
def test_patients_that_a_model_has_seen_are_told_whatever_their_table_is_called(
    records: Path, trained: OutcomeModel, tmp_path: Path, split: str, change: str, seen: tuple[bool, bool]
) -> None:
    with (records / TABLE).open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    place = header.index("split")
    if change == "other splits":
        moved = {"train": "test", "val": "train", "test": "train"}
        rows = [[*row[:place], moved[row[place]], *row[place + 1 :]] for row in rows]
    elif change == "order":
        rows = rows[::-1]
    elif change == "only train":
        rows = [[*row[:place], "mine", *row[place + 1 :]] for row in rows if row[place] == "train"]
    elif change == "other patients":
        rows = [row for row in rows if row[place] == "test"]
    with (tmp_path / "new.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    source = Source(tmp_path, "new.csv", split=split)
    report = evaluate_outcome(trained, source, tmp_path / "out", beside=trained, bootstrap=0)
    keeps("outcome-metrics", report)
    assert (report["data"]["learnt_from"], report["data"]["threshold_from"]) == seen
    assert (report["beside"]["learnt_from"], report["beside"]["threshold_from"]) == seen


def test_a_cross_validation_predicts_every_patient_once(records: Path, tmp_path: Path) -> None:
    summary = cross_validate_outcome(OWN, table_of(records).split("val", "test"), 4, tmp_path)
    keeps("outcome-folds", json.loads((tmp_path / SUMMARY).read_text()))
    assert summary["figures"]["patients"] == 750
    assert 0.7 < summary["figures"]["figures"]["auroc"]["value"] < 0.85


def test_inputs_are_those_that_somebody_has(records: Path) -> None:
    table = table_of(records)
    assert chosen_inputs(OWN, table)[-4:] == ("xray_extent", "xray_opacity", "xray_brixia", "ct_percent")
    assert chosen_inputs(replace(OWN, inputs=("xray_extent", "age")), table) == ("age", "xray_extent")
    with pytest.raises(DatasetError, match="ferritin"):
        chosen_inputs(replace(OWN, inputs=("age", "ferritin")), table)
    with pytest.raises(DatasetError):
        chosen_inputs(replace(OWN, inputs=("xray_extent",)), table)


def test_too_few_patients_are_refused(records: Path, tmp_path: Path) -> None:
    table = table_of(records)
    few = table.where(np.arange(len(table)) < 12)
    with pytest.raises(DatasetError):
        train_outcome(OWN, few, tmp_path)


def run(*words: object) -> str:
    ended = CliRunner().invoke(app, [str(word) for word in words])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_the_command_line_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    run("datasets", "phantom", "--kind", "records", "--count", 600, "-o", tmp_path / "data")
    settings = ["--set", f"table={TABLE}", "--set", "bootstrap=3", "--set", "penalties=0.1"]
    said = run("train", "outcome-clinical", "--data", tmp_path / "data", *settings, "-o", tmp_path / "run")
    assert "auroc" in said
    run(
        "outcome",
        "evaluate",
        tmp_path / "run",
        "--data",
        tmp_path / "data",
        "--bootstrap",
        50,
        "-o",
        tmp_path / "e",
    )
    assert {path.name for path in (tmp_path / "e").iterdir()} == {
        *("metrics.json", "predictions.csv", "report.html", "roc.png", "calibration.png")
    }
    run("outcome", "predict", tmp_path / "run", "--data", tmp_path / "data", "-o", tmp_path / "p")
    assert (tmp_path / "p" / "predictions.csv").read_text().count("\n") == 601
    run(
        "train",
        "outcome-clinical",
        "--data",
        tmp_path / "data",
        *settings,
        "--folds",
        3,
        "-o",
        tmp_path / "folds",
    )


@pytest.mark.parametrize(
    "options", [["--device", "cuda"], ["--layout", "x"], ["--data", "other"], ["--leave-out", "x"]]
)
def test_options_that_make_no_sense_are_refused(records: Path, tmp_path: Path, options: list[str]) -> None:
    with pytest.raises((RecipeError, DatasetError)):
        run(
            "train",
            "outcome-clinical",
            "--data",
            records,
            "--set",
            f"table={TABLE}",
            "-o",
            tmp_path / "r",
            *options,
        )
