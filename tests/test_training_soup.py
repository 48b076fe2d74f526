from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import drawn
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import OutputExistsError, RecipeError, ResourceError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import build
from pulmoscope.models.spec import ModelSpec
from pulmoscope.runtime.bundle import load
from pulmoscope.training import settings
from pulmoscope.training.data import FramedImages, load_frames
from pulmoscope.training.loop import TrainedRun, fit, load_run
from pulmoscope.training.recipes import find
from pulmoscope.training.soup import average_runs, mean_weights, open_runs

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
SMALL = ("preprocess.size=32", "phases.0.epochs=2", "batch_size=8", "model.filters=4", "precision=32")


def trained(table: SampleTable, folder: Path, *changes: str) -> Path:
    fit(
        settings.apply(find("xray-binary-cnn"), (*SMALL, *changes)),
        table,
        folder,
        device="cpu",
        progress=False,
    )
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return drawn.table(tmp_path_factory.mktemp("drawn"), train=8, val=4, classes=("COVID", "Normal"))


@pytest.fixture(scope="module")
def runs(table: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that began alike."""
    folder = tmp_path_factory.mktemp("runs")
    return [trained(table, folder / rate, f"phases.0.learning_rate={rate}") for rate in ("0.001", "0.0005")]


def averaged(folders: Sequence[Path], table: SampleTable, out: Path, *, force: bool = False) -> TrainedRun:
    return average_runs(open_runs(folders, out, force=force), table, out, progress=False)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights.safetensors")


def test_weights_are_averaged_and_counters_are_not() -> None:
    one = {"w": torch.tensor([1.0, -3.0]), "steps": torch.tensor(7)}
    two = {"w": torch.tensor([4.0, 3.0]), "steps": torch.tensor(9)}
    six = {"w": torch.tensor([4.0, 6.0]), "steps": torch.tensor(9)}
    found = mean_weights([one, two, six])
    assert found["w"].tolist() == [3.0, 2.0]
    assert found["w"].dtype == torch.float32
    assert found["steps"] == 7


def test_a_soup_is_a_run_with_the_mean_weights(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    made = averaged(runs, table, tmp_path / "soup")
    one, two = (weights(run) for run in runs)
    found = weights(tmp_path / "soup")
    learnt = [name for name in found if "running" not in name and "num_batches" not in name]
    assert len(learnt) > 6
    for name in learnt:
        torch.testing.assert_close(found[name], (one[name] + two[name]) / 2)
    for name in ("run", "recipe"):
        plain = json.loads((tmp_path / "soup" / f"{name}.json").read_text(encoding="utf-8"))
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
        jsonschema.validate(plain, schema)
        assert len(plain["averaged"]) == 2
    assert made.recipe == load_run(runs[0]).recipe
    assert made.summary["epochs"] == 4
    first, second = made.summary["averaged"]
    assert "model.filters=4" in first["settings"]
    assert "phases.0.learning_rate=0.0005" in second["settings"]
    assert second["val_loss"] == load_run(runs[1]).summary["val_loss"]


def test_its_accuracy_is_that_of_its_answers(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    made = averaged(runs, table, tmp_path / "soup")
    frames = load_frames(table.split("val"), made.recipe.preprocess, made.recipe.classes, progress=False)
    images = FramedImages(frames, made.recipe.preprocess, None, 0)
    with torch.no_grad():
        logits = made.network()(torch.stack([images[0, 0, place][0] for place in range(len(images))]))
    called = (logits[:, 0] > 0).numpy()
    assert made.summary["val_accuracy"] == (called == frames.labels).mean()


def test_batchnorm_is_measured_anew(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    made = averaged(runs, table, tmp_path / "soup")
    network, recipe = made.network(), made.recipe
    frames = load_frames(table.split("train", "val"), recipe.preprocess, recipe.classes, progress=False)
    images = FramedImages(frames, recipe.preprocess, recipe.augment, recipe.seed)
    order = np.random.default_rng([recipe.seed, 0, 0]).permutation(frames.places("train"))
    first = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    norm = next(layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    means, variances = [], []
    for batch in np.array_split(order, 2):  # 16 images in batches of 8
        with torch.no_grad():
            maps = first(torch.stack([images[0, 0, int(place)][0] for place in batch]))
        means.append(maps.mean(dim=(0, 2, 3)))
        variances.append(maps.var(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(dim=0))


def test_what_can_not_be_averaged_is_refused(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    def refused(message: str, *folders: Path) -> None:
        with pytest.raises(RecipeError, match=message):
            open_runs(folders, tmp_path / "soup")

    refused(r"at least two runs are needed \(found: 1\)", runs[0])
    refused("must have weights of its own", runs[0], runs[0])
    refused(
        "wider: must have the same network as", runs[0], trained(table, tmp_path / "wider", "model.filters=8")
    )
    refused(
        "other: must have the same start as .* one seed",
        runs[0],
        trained(table, tmp_path / "other", "seed=3"),
    )
    larger = trained(table, tmp_path / "larger", "preprocess.size=40")
    refused("larger: must have the same preprocessing as", runs[0], larger)
    averaged(runs, table, tmp_path / "made")
    refused("made: is an average itself", runs[0], tmp_path / "made")
    others = drawn.table(tmp_path / "others", train=6, val=4, classes=("COVID", "Normal"))
    here = trained(table, tmp_path / "here", "normalise=fixed")
    refused("must have the same images as", here, trained(others, tmp_path / "there", "normalise=fixed"))
    with pytest.raises(RecipeError, match="others: must hold the images that"):
        averaged(runs, others, tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_another_seed_is_another_start_only_where_layers_are_drawn(
    table: SampleTable, tmp_path: Path
) -> None:
    """A pretrained backbone begins alike with every seed; a hidden layer on it does not."""
    file = tmp_path / "pretrained.safetensors"
    spec = ModelSpec("mobilenetv2_035", weights=str(file))
    save_file(build(replace(spec, weights="", pretrained=False), 2, 3).backbone.state_dict(), file)
    plain = settings.apply(
        replace(find("xray-4class-mobilenetv2"), model=spec),
        ["preprocess.size=32", "phases.0.epochs=1", "batch_size=8", "precision=32"],
    )
    for name, hidden in (("single", 0), ("hidden", 4)):
        folders = [tmp_path / f"{name}-{seed}" for seed in (1, 2)]
        for seed, folder in enumerate(folders):
            own = settings.apply(plain, [f"model.hidden={hidden}", f"seed={seed}"])
            fit(own, table, folder, device="cpu", progress=False)
        if hidden:
            with pytest.raises(RecipeError, match="must have the same start as"):
                open_runs(folders, tmp_path / "soup")
        else:
            assert len(open_runs(folders, tmp_path / "soup")) == 2


def test_what_was_learnt_from_is_not_called_held_out(table: SampleTable, tmp_path: Path) -> None:
    rates = ("0.001", "0.0005")
    runs = [
        trained(table, tmp_path / rate, f"phases.0.learning_rate={rate}", "phases.0.train_on=train,val")
        for rate in rates
    ]
    made = averaged(runs, table, tmp_path / "soup")
    assert made.summary["val_held_out"] is False
    assert [made.summary["val_accuracy"], made.summary["val_loss"]] == [None, None]
    assert [own["val_accuracy"] for own in made.summary["averaged"]] == [None, None]


def test_a_run_is_not_overwritten_without_force(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    with pytest.raises(OutputExistsError, match="--force") as refused:
        open_runs(runs, copy)
    assert "--resume" not in str(refused.value)
    with pytest.raises(RecipeError, match="is one of the runs"):
        open_runs([copy, runs[1]], copy, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"a run needs a folder \(found: a file\)"):
        open_runs(runs, tmp_path / "file")
    averaged(runs, table, copy, force=True)
    assert len(load_run(copy).summary["averaged"]) == 2
    assert not (copy / "curves.png").exists()


def test_a_soup_is_no_run_to_go_on_with(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    made = averaged(runs, table, tmp_path / "soup")
    with pytest.raises(RecipeError, match="was begun with another averaged"):
        fit(made.recipe, table, tmp_path / "soup", device="cpu", resume=True, progress=False)


def test_the_command_makes_a_model_whose_card_says_how(
    table: SampleTable, runs: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(table.root, tmp_path / "data")  # moved, and still the same images
    lines = [f"{own.file},{own.label},{own.split},,drawn" for own in table]
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text("\n".join(["file,label,split,patient,source", *lines, ""]), encoding="utf-8")
    command = ["models", "average", *runs, "--data", manifest, "-o", tmp_path / "soup", "--release", "1.2"]
    result = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.count("held-out accuracy") == 3
    assert result.stdout.endswith(f"Model: {tmp_path / 'soup'}\n")
    bundle = load(tmp_path / "soup")
    assert bundle.version == "1.2"
    assert len(bundle.training_data["averaged"]) == 2
    card = (tmp_path / "soup" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "the mean of those of 2 such runs" in card
    assert "-o RUN-1 --set model.filters=4" in card
    assert "pulmoscope models average RUN-1 RUN-2 --data DATA -o RUN --release 1.2" in card
