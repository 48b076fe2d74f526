from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from scipy.stats import spearmanr
from typer.testing import CliRunner

import scored_phantoms
from bundles import lung_preprocess, tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.core.xray_severity import ZONES
from pulmoscope.datasets.manifest import read
from pulmoscope.datasets.scores import Scored
from pulmoscope.recipes.published import chosen
from pulmoscope.recipes.published.xray_severity import RECIPE, XraySeverityRecipe
from pulmoscope.runtime.bundle import built_in_lung_finder
from pulmoscope.runtime.bundle import load as load_bundle
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.xray_severity import SeverityModel, Widths, load
from pulmoscope.training.xray_severity.figures import HeldOut, cross_validated, normal_figures, widths_of
from pulmoscope.training.xray_severity.fit import train_xray_severity
from pulmoscope.training.xray_severity.images import (
    Cells,
    Material,
    Normals,
    ScoredImages,
    Zones,
    read_material,
)
from pulmoscope.training.xray_severity.network import dealt, fit_map

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "xray-severity.schema.json"
RUNNER = CliRunner()


def invoke(*words: str | Path) -> str:
    ended = RUNNER.invoke(app, [str(word) for word in words])
    if ended.exception is not None:
        raise ended.exception
    return ended.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_phantoms.write(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the command line, on the features of the built-in X-ray model."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ("--set", "penalty=30", "--release", "1.0", "--terms", "drawn for a test")
    said = invoke("train", "xray-severity", "--data", data, "-o", folder, *options)
    assert "extent, patients left out" in said
    assert "no pneumonia, north: extent " in said
    return folder


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_severity_json_is_as_its_schema_says(run: Path) -> None:
    plain = json.loads((run / "severity.json").read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(plain)
    assert (plain["name"], plain["version"], plain["terms"]) == ("xray-severity", "1.0", "drawn for a test")
    counts = {name: count for name, count in plain["training_data"].items() if name != "fingerprint"}
    assert counts == {
        "scored": 33,
        "patients": 32,
        "with_extent": 33,
        "with_zones": 33,
        "normal": {"north": 2, "south": 3},
        "boxed": 4 + 5,  # and the radiographs of the same data set that show nothing
        "labels": {"COVID": 33},
        "sources": {"phantom": 33},
    }
    reads = load_bundle("xray-covid")
    assert plain["features"]["sha256"] == reads.files[reads.network]


def test_the_built_in_severity_json_is_as_its_schema_says() -> None:
    plain = json.loads((load("xray-severity").folder / "severity.json").read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(plain)
    assert "/" not in plain["recipe"]["features"]


def test_estimates_rise_with_the_disease_that_is_drawn(run: Path) -> None:
    rows = rows_of(run)
    for name in ("extent", "opacity", "brixia", "C", "F"):
        found = spearmanr([float(row[name]) for row in rows], [float(row[f"true_{name}"]) for row in rows])
        assert found.statistic > 0.3, name
        assert found.pvalue < 0.05, name


def test_predictions_have_every_radiograph_once_and_a_patients_in_one_fold(run: Path, data: Path) -> None:
    rows = rows_of(run)
    totals = ("extent", "opacity", "brixia")
    truths = (*(f"true_{name}" for name in totals), *(f"true_{zone}" for zone in ZONES))
    assert tuple(rows[0]) == ("file", "patient", "fold", *totals, *ZONES, *truths)
    assert [row["file"] for row in rows] == [f"ill-{number}.png" for number in range(33)]
    assert rows[0]["patient"] == rows[32]["patient"] == "p0"
    assert rows[0]["fold"] == rows[32]["fold"]
    assert {row["fold"] for row in rows} == {"1", "2", "3", "4", "5"}
    with (data / "scores.csv").open(encoding="utf-8", newline="") as stream:
        stated = list(csv.DictReader(stream))
    for row, true in zip(rows, stated, strict=True):
        assert float(row["true_C"]) == pytest.approx(float(true["one_C"]), abs=1e-4)
        total = sum(float(true[f"one_{zone}"]) for zone in ZONES)
        assert float(row["true_brixia"]) == pytest.approx(total, abs=1e-3)
        assert float(row["brixia"]) == pytest.approx(sum(float(row[zone]) for zone in ZONES), abs=1e-3)


def test_figures_are_those_of_the_predictions(run: Path) -> None:
    rows, figures = rows_of(run), load(run).facts["figures"]["cross_validated"]
    for name in ("extent", "opacity", "brixia"):
        found, true = (np.array([float(row[key]) for row in rows]) for key in (name, f"true_{name}"))
        assert figures[name]["mae"]["value"] == pytest.approx(np.abs(found - true).mean(), abs=1e-3)
        assert figures[name]["bias"]["value"] == pytest.approx((found - true).mean(), abs=1e-3)
        assert figures[name]["correlation"]["value"] == pytest.approx(
            np.corrcoef(found, true)[0, 1], abs=1e-3
        )
        folds = np.array([row["fold"] for row in rows])
        means = np.array([true[folds != fold].mean() for fold in folds])
        assert figures[name]["mae_of_mean"]["value"] == pytest.approx(np.abs(means - true).mean(), abs=1e-3)
    assert "mae_between_readers" not in figures["zone"]  # there is one


def test_the_card_says_that_its_images_are_simulated(run: Path) -> None:
    card = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# xray-severity 1.0\n")
    assert "simulated" in card
    assert "drawn for a test" in card
    assert "simulated" not in (load("xray-severity").folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card in invoke("models", "show", run)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An X-ray model whose first feature is how bright each of 16 x 16 cells is; with the built-in lung finder."""
    pattern = np.stack([np.ones((16, 16), np.float32), np.eye(16, dtype=np.float32)])
    folder = tmp_path_factory.mktemp("bright")
    bundle = tiny_bundle(folder, preprocess=replace(lung_preprocess(), size=64), pattern=pattern)
    shutil.copy(built_in_lung_finder() / "lungs.onnx", folder)
    return Model(bundle.save())


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "set"))


def edit(table: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change a table's lines."""
    lines = change(table.read_text(encoding="utf-8").splitlines())
    table.write_text("\n".join([*lines, ""]), encoding="utf-8")


def recipe_of(model: Model, *changes: str) -> XraySeverityRecipe:
    return chosen("xray-severity", [f"features={model.bundle.folder}", *changes], XraySeverityRecipe)


def trained(data: Path, out: Path, model: Model, *changes: str, **options: Any) -> SeverityModel:
    return train_xray_severity(recipe_of(model, *changes), [read(data)], out, progress=False, **options)


def test_the_same_data_give_the_same_weights_and_a_run_is_replaced_when_asked(
    data: Path, tmp_path: Path, bright: Model
) -> None:
    first = trained(data, tmp_path / "run", bright)
    before = (tmp_path / "run" / "severity.json").read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        trained(data, tmp_path / "run", bright)
    assert trained(data, tmp_path / "run", bright, force=True).version == first.version
    assert (tmp_path / "run" / "severity.json").read_bytes() == before
    assert bright.bundle.folder.name in before.decode()
    assert str(bright.bundle.folder) not in before.decode()  # no path
    words = ("train", "xray-severity", "--data", tmp_path / "nowhere", "-o", tmp_path / "run")
    with pytest.raises(OutputExistsError):
        invoke(*words)


@pytest.mark.parametrize(
    "changes",
    [
        ("map_factor=0", "normals=0", "normal_scores=0", "penalty=1"),
        ("mirrored=no", "most_normals=1", "most_boxed=1", "folds=2"),
        ("coverage=0.99",),
    ],
)
def test_settings_at_their_limits(
    data: Path, tmp_path: Path, bright: Model, changes: tuple[str, ...]
) -> None:
    found = trained(data, tmp_path, bright, *changes)
    assert np.isfinite(found.zone_weights).all()
    assert np.isfinite(found.map_weights).all()
    if "coverage=0.99" in changes:  # of 33 scores no interval holds 99 %: it is the scale
        assert found.widths["extent"] == Widths((), (8.0,))
        assert found.facts["figures"]["cross_validated"]["extent"]["coverage"]["value"] == 1


def test_neither_normal_radiographs_nor_boxes_are_needed(copy: Path, tmp_path: Path, bright: Model) -> None:
    (copy / "boxes.csv").unlink()
    edit(copy / "manifest.csv", lambda lines: [line for line in lines if ",Normal," not in line])
    found = trained(copy, tmp_path / "run", bright)
    assert found.facts["training_data"]["normal"] == {}
    assert found.facts["figures"]["normals"] == {}
    assert not found.map_weights.any()


def test_what_shows_a_scored_patient_is_learnt_from_by_its_scores_alone(copy: Path, bright: Model) -> None:
    """Else a fold would learn from the patients that it holds out."""
    before = read_material(recipe_of(bright), [read(copy)], bright, progress=False)
    edit(
        copy / "manifest.csv",
        lambda lines: [line.replace(",b0,", ",p3,").replace(",n1,", ",p4,") for line in lines],
    )
    edit(copy / "boxes.csv", lambda lines: [*lines, "ill-5.png,10,10,50,50"])
    after = read_material(recipe_of(bright), [read(copy)], bright, progress=False)
    assert (before.cells.images, after.cells.images) == (9, 7)
    assert (len(before.normals.hospitals), len(after.normals.hospitals)) == (10, 9)
    assert len(after.scored.known) == 33


def test_without_scores_there_is_nothing_to_learn(copy: Path, tmp_path: Path, bright: Model) -> None:
    edit(copy / "scores.csv", lambda lines: lines[:30])
    with pytest.raises(DatasetError, match=r"\(found: 29 of 29\)"):
        trained(copy, tmp_path / "few", bright)
    (copy / "scores.csv").unlink()
    with pytest.raises(DatasetError, match=r"\(found: 0 of 0\)"):
        trained(copy, tmp_path / "none", bright)


@pytest.mark.parametrize(("kept", "missing"), [(3, "zones"), (4, "zones")])
def test_extent_alone_is_not_enough(
    copy: Path, tmp_path: Path, bright: Model, kept: int, missing: str
) -> None:
    edit(copy / "scores.csv", lambda lines: [",".join(line.split(",")[:kept]) for line in lines])
    with pytest.raises(DatasetError, match=rf"scores\.csv: no radiograph has {missing}"):
        trained(copy, tmp_path / "run", bright)


def test_a_scored_image_without_lungs_is_named(copy: Path, tmp_path: Path, bright: Model) -> None:
    scored_phantoms.save(copy / "ill-7.png", np.random.default_rng(1).random((160, 160), np.float32))
    with pytest.raises(DatasetError, match=r"^ill-7\.png: "):
        trained(copy, tmp_path / "run", bright)


def test_the_model_that_is_read_must_be_named_and_find_lungs(data: Path, tmp_path: Path) -> None:
    recipe = chosen("xray-severity-densenet121", [], XraySeverityRecipe)
    with pytest.raises(RecipeError, match="features="):
        train_xray_severity(recipe, [read(data)], tmp_path / "run", progress=False)
    blind = Model(tiny_bundle(tmp_path / "blind"))
    with pytest.raises(RecipeError, match=r"preprocess\.region=lungs"):
        trained(data, tmp_path / "run", blind)
    assert not (tmp_path / "run" / "severity.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--leave-out", "north"],
        ["--labels", "labels.csv"],
        ["--folds", "2"],
        ["--resume"],
        ["--workers", "1"],
        ["--processes", "2"],
        ["--device", "cpu"],
    ],
)
def test_options_that_do_not_apply_are_refused(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"xray-severity: {options[0]} can't be given"):
        invoke("train", "xray-severity", "--data", tmp_path, "-o", tmp_path / "run", *options)


@pytest.mark.parametrize("setting", ["penalty=0", "folds=1", "coverage=1", "normals=-1", "most_normals=0"])
def test_settings_beyond_their_limits_are_refused(setting: str) -> None:
    with pytest.raises(RecipeError, match=setting.partition("=")[0]):
        chosen("xray-severity", [setting], XraySeverityRecipe)


def test_the_recipes_are_listed_and_shown() -> None:
    listed = invoke("recipes", "list")
    for name in ("xray-severity", "xray-severity-densenet121"):
        assert any(line.split()[0] == name for line in listed.splitlines())
        assert "  folds=7\n" in invoke("recipes", "show", name, "--set", "folds=7")


@given(st.lists(st.sampled_from("abcdefghij"), max_size=60), st.integers(2, 8), st.integers(0, 99))
def test_folds_never_split_a_group(groups: list[str], folds: int, seed: int) -> None:
    held = np.array(list(dealt(np.array(groups, dtype=np.str_), folds, seed)))
    assert held.shape == (folds, len(groups))
    np.testing.assert_array_equal(held.sum(axis=0), 1)
    for name in set(groups):
        mine = np.array(groups) == name
        assert held[:, mine].all(axis=1).sum() == 1
    sizes = [len({name for name, own in zip(groups, fold, strict=True) if own}) for fold in held]
    assert max(sizes) - min(sizes) <= 1


def scored_images(extent: np.ndarray) -> ScoredImages:
    count = len(extent)
    known = tuple(Scored(Path(f"{n}.png"), f"{n}.png", f"p{n}", None, None, {}) for n in range(count))
    nothing = np.zeros((count, 6, 1), dtype=np.float32)
    scores = np.asarray(extent, dtype=np.float64)
    return ScoredImages(known, Zones(nothing, nothing), scores, scores, np.tile(scores[:, None], 6) / 4)


def intervals(errors: np.ndarray, coverage: float) -> Widths:
    """Of the extent, where a third of estimates is 1, 2 and 3 each, and readers' scores lie so far above them."""
    estimate = np.repeat([1.0, 2.0, 3.0], len(errors) // 3)
    images = scored_images(estimate + errors)
    zones = np.tile(estimate[:, None], 6) / 4
    scores = {"extent": estimate, "opacity": estimate, "brixia": zones.sum(axis=1), "zone": zones}
    held = HeldOut(np.ones(len(errors), dtype=np.intp), scores, scores)
    return widths_of(replace(RECIPE, coverage=coverage), held, images)["extent"]


def test_half_widths_by_hand() -> None:
    """Of 19 errors, 0.1 to 1.9, the 15th of 20 parts holds 75 %, and the 10th half of them."""
    errors = np.concatenate([factor * np.arange(1, 20) / 10 for factor in (1, 2, 1)])
    found = intervals(errors, 0.75)
    assert found.widths == pytest.approx((1.5, 3.0, 1.5))
    assert 1 < found.edges[0] < 2 < found.edges[1] < 3
    assert intervals(errors, 0.5).widths == pytest.approx((1.0, 2.0, 1.0))


@pytest.mark.parametrize(("count", "expected"), [(12, (1.2,)), (6, (8.0,))])
def test_where_few_are_scored_all_share_an_interval_or_it_is_the_scale(
    count: int, expected: tuple[float, ...]
) -> None:
    found = intervals(np.arange(1, count + 1) / 10, 0.9)
    assert found.edges == ()
    assert found.widths == pytest.approx(expected)


def material(known_hospital: bool) -> Material:
    """Features that are the score itself, and normal radiographs of two hospitals, one without any to learn from."""
    rng = np.random.default_rng(3)
    extent = rng.uniform(0, 6, 40)
    images = scored_images(extent)
    raw = np.repeat(extent[:, None] / 4, 6, axis=1)[..., None].astype(np.float32)
    healthy = rng.uniform(-0.5, 0, (20, 6, 1)).astype(np.float32)
    hospitals = np.array(["learnt"] * 10 + ["seen"] * 10)
    learnt = np.array([True] * 7 + [False] * 3 + [known_hospital] * 5 + [False] * 5)
    empty = Cells(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), 0)
    return Material(
        replace(images, seen=Zones(raw, raw)),
        Normals(Zones(healthy, healthy), hospitals, learnt),
        empty,
        {},
        {},
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_hospital_is_known_only_where_something_of_it_was_learnt(known: bool) -> None:
    extra = np.zeros(2, dtype=np.float32)
    found = normal_figures(replace(RECIPE, penalty=1.0), material(known), extra)
    assert found["learnt"]["known"]["images"] == 3
    assert found["learnt"]["left_out"]["images"] == 10
    assert (found["seen"]["known"] is not None) == known
    assert found["seen"]["left_out"]["extent"]["value"] == pytest.approx(0, abs=0.1)


def test_a_score_that_the_features_hold_is_learnt() -> None:
    made = material(True)
    held = cross_validated(replace(RECIPE, penalty=1.0), made, np.zeros(2, dtype=np.float32))
    assert np.abs(held.scores["extent"] - made.scored.extent).mean() < 0.3
    assert np.abs(held.scores["zone"] - made.scored.zones).mean() < 0.1
    assert not np.allclose(held.guesses["extent"], made.scored.extent.mean())  # of the other folds


def test_the_map_is_learnt_from_what_lies_in_boxes() -> None:
    features = np.array([[0.0], [0.2], [0.8], [1.0]] * 200, dtype=np.float32)
    covered = np.array([0.0, 0.0, 1.0, 1.0] * 200, dtype=np.float32)
    layer = fit_map(Cells(features, covered, 4), 1)
    assert layer[0] > 0
    assert layer[0] * 0.5 + layer[1] == pytest.approx(0, abs=0.05)  # half way: as probable as not
    for nothing in (np.zeros(800, np.float32), np.ones(800, np.float32)):
        assert not fit_map(Cells(features, nothing, 4), 1).any()
