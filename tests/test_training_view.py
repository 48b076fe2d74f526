from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

import pulmoscope
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.preprocess.views import VIEW_SIZE, VIEWS
from pulmoscope.recipes.published.xray_view import RECIPE
from pulmoscope.recipes.settings import apply
from pulmoscope.runtime.network import open_network
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState
from pulmoscope.training.view.fit import train_view

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "view.schema.json").read_text())
TINY = replace(RECIPE, steps=2, more_steps=1, fold_steps=1, batch_size=4)


def table(folder: Path, rows: list[tuple[str, str, str, str]], seed: int) -> SampleTable:
    """Pictures of noise: label, split, patient, source of each."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    samples = []
    for number, (label, split, patient, source) in enumerate(rows):
        coarse = random.integers(0, 255, (6, 8), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (90, 72)))
        samples.append(Sample(f"{number}.png", label, split, patient, source))
    return SampleTable(folder, "manifest", tuple(samples))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[SampleTable]:
    folder = tmp_path_factory.mktemp("pictures")
    films = [("Normal", split, "", "a") for split in ["train"] * 24 + ["val"] * 20 + ["test"] * 2]
    children = [("Viral Pneumonia", split, f"ker_{split}", "a") for split in ("train", "val")]
    strange = [("knee", "all", "", "b"), ("photograph", "all", "", "b"), ("Viral Pneumonia", "all", "", "b")]
    halved = [("Normal", "test", f"p{number // 2}", "nih") for number in range(40)]
    rows = {"films": films + children, "strange": strange, "halved": halved}
    return [table(folder / name, own, seed) for seed, (name, own) in enumerate(rows.items())]


@pytest.fixture(scope="module")
def run(tables: list[SampleTable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_view(TINY, tables, folder, progress=False)
    return folder


def test_the_network_says_what_a_picture_shows_and_how_far_it_is_from_films(run: Path) -> None:
    image = np.random.default_rng(0).random((2, 1, VIEW_SIZE, VIEW_SIZE), dtype=np.float32)
    found = open_network(run / "view.onnx")(image)
    assert found["logits"].shape == (2, len(VIEWS))
    assert found["place"].shape == (2, TINY.dimensions)
    assert (run / "view.onnx").stat().st_size < 1.5e6


def test_view_json_tells_of_it(run: Path) -> None:
    found = json.loads((run / "view.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    learnt = {view: count for view, count in found["learnt"].items() if count and view != "frontal"}
    assert learnt == {"child": 1, "body-part": 1, "other": 1}  # an unknown age is left out
    assert {name: own["pictures"] for name, own in found["unseen"].items()} == {
        "knee, pelvis or shoulder": 1,
        "no radiograph": 1,
    }
    assert {name: own["pictures"] for name, own in found["passed"]["val"].items()} == {
        "a, child": 1,
        "a, frontal": 20,
    }
    assert found["passed"]["test"]["a, frontal"]["pictures"] == 2
    assert found["sha256"] == sha256_of_file(run / "view.onnx")


def test_most_of_the_films_that_set_the_limits_pass(run: Path) -> None:
    passed = json.loads((run / "view.json").read_text())["passed"]["val"]["a, frontal"]["passed"]
    assert passed >= 18  # 0.6 and 0.4 % of 20 films are less than one each


def test_the_network_that_is_shipped_has_such_a_file() -> None:
    shipped = Path(pulmoscope.__file__).parent / "bundles" / "xray-view"
    found = json.loads((shipped / "view.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert found["sha256"] == sha256_of_file(shipped / "view.onnx")
    assert found["recipe"]["weights"].count("/") == 0


def test_the_same_seed_gives_the_same_weights(run: Path, tables: list[SampleTable], tmp_path: Path) -> None:
    train_view(TINY, tables, tmp_path, progress=False)
    assert (tmp_path / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


class StoppedError(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_weights(
    run: Path, tables: list[SampleTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second of its trainings, the first of those without a group of pictures."""
    epoch = Reporter.epoch

    def stop(self: Reporter, state: PhaseState, *rest: Any, **named: Any) -> None:
        if state.rows[-1]["phase"] != "view 0":
            raise StoppedError
        epoch(self, state, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stop)
        with pytest.raises(StoppedError):
            train_view(TINY, tables, tmp_path, progress=False)
    assert not (tmp_path / "view.json").exists()
    train_view(TINY, tables, tmp_path, resume=True, progress=False)
    for name in ("weights.safetensors", "view.json"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


def test_a_network_is_not_replaced_by_accident(run: Path, tables: list[SampleTable]) -> None:
    with pytest.raises(OutputExistsError, match="--force"):
        train_view(TINY, tables, run, progress=False)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_too_few_films_are_told_before_training(
    tables: list[SampleTable], missing: str, tmp_path: Path
) -> None:
    few = replace(tables[0], samples=tuple(sample for sample in tables[0] if sample.split != missing))
    with pytest.raises(DatasetError, match=rf"20 frontal radiographs in {missing} .*\(found: 0\)"):
        train_view(replace(TINY, halved=()), [few, *tables[1:]], tmp_path, progress=False)


def test_of_sources_with_a_test_split_only_half_the_patients_are_learnt_from(run: Path) -> None:
    found = json.loads((run / "view.json").read_text())
    learnt, kept = found["learnt"]["frontal"] - 24, found["passed"]["test"]["nih, frontal"]["pictures"]
    assert learnt + kept == 40
    assert learnt % 2 == kept % 2 == 0
    assert min(learnt, kept) >= 8


def test_weights_that_are_none_are_told(tables: list[SampleTable], tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"none")
    with pytest.raises(RecipeError, match=r"weights=.*: not a safetensors file"):
        train_view(replace(TINY, weights=str(tmp_path / "weights")), tables, tmp_path / "run", progress=False)


def test_settings_are_changed_by_name() -> None:
    found = apply(RECIPE, ["steps=7", "weights=a=b", "learning_rate=0.5"])
    assert (found.steps, found.weights, found.learning_rate) == (7, "a=b", 0.5)
    for wrong in ("steps=x", "kinds=3", "colour=red"):
        with pytest.raises(RecipeError):
            apply(RECIPE, [wrong])
