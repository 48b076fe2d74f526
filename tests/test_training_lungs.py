from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from safetensors.torch import load_file

import pulmoscope
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.unet import UNet
from pulmoscope.phantoms.xray.folder import write_phantoms
from pulmoscope.recipes.published.xray_lungs import RECIPE
from pulmoscope.runtime.network import open_network
from pulmoscope.segment.xray_lungs import FINDER_SIZE
from pulmoscope.training.lung_finder import fit
from pulmoscope.training.lung_finder.fit import measure, train_lung_finder
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "lungs.schema.json").read_text())
TINY = replace(RECIPE, steps=5, batch_size=2)
INTERVAL = 2
"""Steps between two states saved, so that five steps have three."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    """Eight drawn films with masks: 6 to train, 1 each to validate and test."""
    return write_phantoms(tmp_path_factory.mktemp("films"), count=8, size=96, masks=True)


@pytest.fixture(scope="module")
def run(films: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finder of five steps."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "INTERVAL", INTERVAL)
        train_lung_finder(TINY, films, folder, progress=False)
    return folder


def test_the_finder_and_its_weights_are_there(run: Path) -> None:
    image = np.random.default_rng(0).random((1, 1, FINDER_SIZE, FINDER_SIZE), dtype=np.float32)
    assert open_network(run / "lungs.onnx")(image)["logits"].shape == image.shape
    assert load_file(run / "weights.safetensors").keys() == UNet().state_dict().keys()


def test_lungs_json_tells_of_it(run: Path, films: SampleTable) -> None:
    found = json.loads((run / "lungs.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert found["recipe"]["steps"] == 5
    assert found["films"] == {split: len(films.split(split)) for split in ("test", "train", "val")}
    assert found["sha256"] == sha256_of_file(run / "lungs.onnx")
    assert found["dice"]["val"] == measure(run / "lungs.onnx", films.split("val"))


def test_the_finder_that_is_shipped_has_such_a_file() -> None:
    shipped = Path(pulmoscope.__file__).parent / "bundles" / "xray-lungs"
    found = json.loads((shipped / "lungs.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert found["sha256"] == sha256_of_file(shipped / "lungs.onnx")


class StoppedError(Exception):
    pass


def test_the_same_seed_gives_the_same_weights_also_after_a_kill(
    run: Path, films: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "INTERVAL", INTERVAL)
    epoch = Reporter.epoch

    def stop(self: Reporter, state: PhaseState, *rest: Any, **named: Any) -> None:
        if state.epochs == 2:
            raise StoppedError
        epoch(self, state, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stop)
        with pytest.raises(StoppedError):
            train_lung_finder(TINY, films, tmp_path, progress=False)
    with pytest.raises(RecipeError, match="other recipe"):
        train_lung_finder(replace(TINY, steps=6), films, tmp_path, resume=True, progress=False)
    train_lung_finder(TINY, films, tmp_path, resume=True, progress=False)
    assert (tmp_path / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert not (tmp_path / "checkpoints").exists()


def test_a_finder_is_not_replaced_by_accident(run: Path, films: SampleTable) -> None:
    with pytest.raises(OutputExistsError, match="--force"):
        train_lung_finder(TINY, films, run, progress=False)


@pytest.mark.parametrize("split", ["train", "test"])
def test_films_without_masks_are_told_before_training(films: SampleTable, split: str, tmp_path: Path) -> None:
    bare = tuple(replace(sample, mask="" if sample.split == split else sample.mask) for sample in films)
    with pytest.raises(DatasetError, match="every sample needs a mask"):
        train_lung_finder(TINY, replace(films, samples=bare), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
