from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import drawn
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.datasets.table import SampleTable
from pulmoscope.runtime.bundle import load
from pulmoscope.training import settings
from pulmoscope.training.loop import fit, load_run
from pulmoscope.training.recipes import find
from pulmoscope.training.soup import average_runs, mean_weights

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "run.schema.json"
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
    folder = tmp_path_factory.mktemp("runs")
    return [trained(table, folder / seed, f"seed={seed}") for seed in ("1", "2")]


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
    made = average_runs(runs, table, tmp_path / "soup", progress=False)
    one, two = (weights(run) for run in runs)
    found = weights(tmp_path / "soup")
    learnt = [name for name in found if "running" not in name and "num_batches" not in name]
    assert len(learnt) > 6
    for name in learnt:
        torch.testing.assert_close(found[name], (one[name] + two[name]) / 2)
    plain = json.loads((tmp_path / "soup" / "run.json").read_text(encoding="utf-8"))
    jsonschema.validate(plain, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert plain["epochs"] == 4
    assert [own["settings"][0] for own in plain["averaged"]] == ["model.filters=4"] * 2
    assert ["seed=1" in own["settings"] for own in plain["averaged"]] == [True, False]
    assert plain["averaged"][1]["val_loss"] == load_run(runs[1]).summary["val_loss"]
    assert 0 <= made.summary["val_accuracy"] <= 1
    assert made.recipe == load_run(runs[0]).recipe


def test_batchnorm_is_measured_anew(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    spoilt = []
    for run in runs:
        copy = tmp_path / run.name
        shutil.copytree(run, copy)
        state = {name: value + 1000 if "running" in name else value for name, value in weights(run).items()}
        save_file(state, copy / "weights.safetensors")
        spoilt.append(copy)
    average_runs(spoilt, table, tmp_path / "soup", progress=False)
    average_runs(runs, table, tmp_path / "clean", progress=False)
    found, clean = weights(tmp_path / "soup"), weights(tmp_path / "clean")
    assert any("running_mean" in name for name in found)
    for name, value in found.items():
        torch.testing.assert_close(value, clean[name])


def test_what_can_not_be_averaged_is_refused(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"at least two runs are needed \(found: 1\)"):
        average_runs(runs[:1], table, tmp_path / "soup", progress=False)
    wider = trained(table, tmp_path / "wider", "model.filters=8")
    with pytest.raises(RecipeError, match="wider: must have the same network as"):
        average_runs([runs[0], wider], table, tmp_path / "soup", progress=False)
    larger = trained(table, tmp_path / "larger", "preprocess.size=40")
    with pytest.raises(RecipeError, match="larger: must have the same preprocessing as"):
        average_runs([runs[0], larger], table, tmp_path / "soup", progress=False)
    others = drawn.table(tmp_path / "others", train=6, val=4, classes=("COVID", "Normal"))
    with pytest.raises(RecipeError, match="others: must hold the images that"):
        average_runs(runs, others, tmp_path / "soup", progress=False)
    here = trained(table, tmp_path / "here", "normalise=fixed")
    elsewhere = trained(others, tmp_path / "elsewhere", "normalise=fixed")
    with pytest.raises(RecipeError, match="elsewhere: must have the same images as"):
        average_runs([here, elsewhere], table, tmp_path / "soup", progress=False)
    assert not (tmp_path / "soup").exists()


def test_a_run_is_not_overwritten_without_force(table: SampleTable, runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    with pytest.raises(OutputExistsError, match="--force"):
        average_runs(runs, table, copy, progress=False)
    assert (copy / "run.json").read_bytes() == (runs[0] / "run.json").read_bytes()
    average_runs([copy, runs[1]], table, copy, force=True, progress=False)  # over one of its own members
    assert len(load_run(copy).summary["averaged"]) == 2
    assert not (copy / "curves.png").exists()


def test_the_command_makes_a_model_whose_card_says_how(
    table: SampleTable, runs: list[Path], tmp_path: Path
) -> None:
    lines = [f"{sample.file},{sample.label},{sample.split},,drawn" for sample in table]
    manifest = table.root / "manifest.csv"
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
