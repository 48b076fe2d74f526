"""``pulmoscope leave-out`` as a user types it, on drawn films of four hospitals in two folders."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import drawn
from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError, PulmoscopeError, RecipeError
from pulmoscope.runtime.bundle import load
from pulmoscope.training import leave_out
from pulmoscope.training import run as run_of_images

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "hospitals.schema.json"
SHORT = [
    *("--set", "model.filters=2", "--set", "preprocess.size=32", "--set", "batch_size=8"),
    *("--set", "phases.train.epochs=1", "--device", "cpu", "--bootstrap", "20"),
]
FOLDERS = {
    # folder → hospital, label, images of train, val, test
    "first": (
        ("east", "COVID", 8, 3, 3),
        ("east", "Normal", 8, 3, 3),
        ("rsna", "Normal", 4, 1, 1),
    ),
    "second": (
        ("east", "COVID", 2, 1, 1),
        ("nih", "Pneumonia", 2, 1, 1),
        ("nih", "COVID", 9, 3, 2),
        ("unidentified", "Normal", 2, 1, 1),
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What gives both folders to a command."""
    root, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(9)
    for folder, groups in FOLDERS.items():
        (root / folder).mkdir()
        lines = ["file,label,split,patient,source,hospital"]
        for hospital, label, *counts in groups:
            for split, count in zip(("train", "val", "test"), counts, strict=True):
                for number in range(count):
                    file = f"{hospital}-{label}-{split}-{number}.png"
                    grey = np.rint(drawn.film(label, rng, 64) * 255).astype(np.uint8)
                    assert cv2.imwrite(str(root / folder / file), grey)
                    lines.append(f"{file},{label},{split},{folder}{file},{folder},{hospital}")
        (root / folder / "manifest.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return [part for folder in FOLDERS for part in ("--data", str(root / folder))]


def run(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(
        app, ["leave-out", *(str(argument) for argument in arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0
    return result


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "hospitals.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(found))
    return found


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def trained(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("trained")
    return out, run("xray-binary-cnn", *data, "-o", out, *SHORT)


def test_a_hospital_leaves_every_folder_and_all_of_it_is_asked_about(trained: tuple[Path, Any]) -> None:
    out, _ = trained
    for hospital, others in (("east", {"nih", "rsna", "unidentified"}), ("nih", {"east", "unidentified"})):
        with (out / hospital / "images.csv").open(encoding="utf-8") as stream:
            learnt = list(csv.DictReader(stream))
        assert {row["hospital"] for row in learnt} == others
        bundle = load(out / hospital)
        assert set(bundle.training_data["classes_by_hospital"]) == others
        assert bundle.recipe["left_out"] == [hospital]
    asked = predictions(out / "east")
    assert len(asked) == 14 + 14 + 4
    assert {row["source"] for row in asked} == {"first", "second"}
    # The part goes with the whole; a label that is no class is asked about, too.
    assert {(row["hospital"], row["label"]) for row in predictions(out / "nih")} == {
        ("nih", "COVID"),
        ("nih", "Pneumonia"),
        ("rsna", "Normal"),
    }


def test_a_run_is_that_of_train_without_the_hospital(
    trained: tuple[Path, Any], data: list[str], tmp_path: Path
) -> None:
    """Images that are framed once for all hospitals are those that a run of its own would frame."""
    out, _ = trained
    settings = SHORT[: SHORT.index("--bootstrap")]
    command = ["train", "xray-binary-cnn", *data, "-o", tmp_path / "run", "--leave-out", "nih", *settings]
    ended = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert ended.exit_code == 0
    for name in ("weights.safetensors", "recipe.json"):
        assert (tmp_path / "run" / name).read_bytes() == (out / "nih" / name).read_bytes(), name


def test_rows_and_summary(trained: tuple[Path, Any]) -> None:
    out, ended = trained
    found = read(out)
    rows = {row["hospital"]: row for row in found["rows"]}
    assert list(rows) == ["east", "nih", "rsna"]
    assert [(run["left_out"], run["data"]["images"]) for run in found["runs"]] == [("east", 32), ("nih", 24)]
    assert all(row["learnt"] is False and row["counts"] for row in rows.values())
    assert {label: own["images"] for label, own in rows["nih"]["by_label"].items()} == {
        "COVID": 14,
        "Pneumonia": 4,
    }
    assert rows["east"]["auroc_within"]["value"] is not None
    assert rows["nih"]["auroc_within"]["value"] is rows["rsna"]["auroc_within"]["value"] is None
    # As the file of predictions has it.
    pairs = [(row["label"], float(row["p_COVID"])) for row in predictions(out / "east")]
    positive = [share for label, share in pairs if label == "COVID"]
    negative = [share for label, share in pairs if label == "Normal"]
    won = sum((one > other) + (one == other) / 2 for one in positive for other in negative)
    assert rows["east"]["auroc_within"]["value"] == pytest.approx(
        won / len(positive) / len(negative), abs=1e-6
    )
    assert found["summary"]["auroc_within"]["mean"] == rows["east"]["auroc_within"]["value"]
    assert found["summary"]["normals_called_covid"]["hospitals"] == 1  # rsna has six
    (skipped,) = found["skipped"]
    assert (skipped["hospital"], skipped["images"]) == ("unidentified", 4)

    assert found["recipe"]["settings"]["model"]["filters"] == 2
    assert found["model"] is None
    assert "xray-binary-cnn without east (1 of 2)" in ended.stdout
    assert "unidentified: not asked about its 4 images" in ended.stderr
    assert "worst" in ended.stdout
    page = (out / "hospitals.md").read_text(encoding="utf-8")
    assert "| east | 32 | 18 / 14 |" in page
    assert (out / "hospitals.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_found_is_recorded_in_a_model_of_the_same_recipe(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    out, _ = trained
    shutil.copytree(out / "nih", tmp_path / "model")
    command = [
        "models",
        "record",
        tmp_path / "model",
        "--metrics",
        out / "hospitals.json",
        "--as",
        "left-out",
    ]
    ended = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert ended.exit_code == 0
    assert list(load(tmp_path / "model").metrics["left-out"]["hospitals"]) == ["east", "nih", "rsna"]
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## At a hospital left out of training\n\nleft-out: models of the same recipe" in card
    shown = CliRunner().invoke(app, ["models", "show", str(tmp_path / "model")], catch_exceptions=False)
    assert "  east (32 images): " in shown.stdout


def test_a_killed_run_goes_on_and_trains_nothing_twice(
    trained: tuple[Path, Any], data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("xray-binary-cnn", *data, "-o", tmp_path / "out", *SHORT)
    exported = leave_out.export_bundle

    def killed(folder: Path, *arguments: Any, **options: Any) -> Any:
        if folder.name == "nih":
            raise KeyboardInterrupt
        return exported(folder, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(leave_out, "export_bundle", killed)
        ended = CliRunner().invoke(app, ["leave-out", *map(str, command)])
    assert ended.exit_code == 130
    assert not (tmp_path / "out" / "hospitals.json").exists()

    with pytest.raises(OutputExistsError, match=r"east.*--resume"):
        run(*command)

    with monkeypatch.context() as patch:
        patch.setattr(run_of_images, "fit_stage", None)  # both are trained: nothing is left to learn
        run(*command, "--resume")
    out, _ = trained
    assert read(tmp_path / "out")["rows"] == read(out)["rows"]

    with pytest.raises(OutputExistsError, match=r"hospitals\.json.*--resume"):
        run(*command)


def test_a_hospital_that_alone_has_a_class_is_skipped_with_the_reason(
    data: list[str], tmp_path: Path
) -> None:
    classes = ("--set", "classes=COVID,Normal,Pneumonia")
    ended = run("xray-binary-cnn", *data, "-o", tmp_path, *SHORT, *classes)
    found = read(tmp_path)
    assert [row["hospital"] for row in found["rows"]] == ["east"]
    nih = next(own for own in found["skipped"] if own["hospital"] == "nih")
    assert nih == {
        "hospital": "nih",
        "images": 24,
        "reason": "without it Pneumonia has no training image",
    }
    assert "nih: not asked about its 24 images: without it Pneumonia" in ended.stderr
    assert not (tmp_path / "nih").exists()
    assert found["runs"][0]["model"]["classes"] == ["COVID", "Normal", "Pneumonia"]

    with pytest.raises(DatasetError, match=r"no hospital can be left out \(nih: without it Pneumonia"):
        run("xray-binary-cnn", *data, "-o", tmp_path / "none", *SHORT, *classes, "--hospital", "nih")


def test_labels_of_a_file_are_learnt_and_asked_about(data: list[str], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label,class\nPneumonia,Normal\n", encoding="utf-8")
    labels = ("--labels", tmp_path / "labels.csv")
    run("xray-binary-cnn", *data, "-o", tmp_path / "out", *SHORT, *labels, "--hospital", "nih")
    (row, _) = read(tmp_path / "out")["rows"]
    assert {label: own["images"] for label, own in row["by_label"].items()} == {"COVID": 14, "Normal": 4}
    assert load(tmp_path / "out" / "nih").recipe["labels"] == {"Pneumonia": "Normal"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt from RSNA's images."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle"), sources=("rsna",)).folder


def test_a_model_is_asked_about_all_and_what_it_has_learnt_counts_nowhere(
    model: Path, data: list[str], tmp_path: Path
) -> None:
    run(model, *data, "-o", tmp_path, "--bootstrap", "20")
    found = read(tmp_path)
    rows = {row["hospital"]: row for row in found["rows"]}
    assert {name: (row["learnt"], row["counts"], row["images"]) for name, row in rows.items()} == {
        "east": (False, True, 32),
        "nih": (True, False, 3),  # the split test alone
        "rsna": (True, False, 1),
        "unidentified": (False, False, 4),
    }
    assert list(rows) == ["east", "nih", "rsna", "unidentified"]
    assert found["recipe"] is None
    assert found["model"]["weights_sha256"] == load(model).files["model.onnx"]
    assert found["summary"]["wrongly_called"]["hospitals"] == 1
    assert len(predictions(tmp_path)) == 40
    page = (tmp_path / "hospitals.md").read_text(encoding="utf-8")
    assert "| east | 32 |" in page
    assert "| (nih) | 3 |" in page

    with pytest.raises(OutputExistsError, match="--force"):
        run(model, *data, "-o", tmp_path)
    run(model, *data, "-o", tmp_path, "--force", "--hospital", "nih", "--bootstrap", "0")
    assert [row["hospital"] for row in read(tmp_path)["rows"]] == ["nih", "rsna"]


def test_a_model_that_has_learnt_from_all_is_asked_about_nothing_but_test(
    data: list[str], tmp_path: Path
) -> None:
    known = tiny_bundle(tmp_path / "bundle", sources=("east", "nih", "unidentified")).folder
    rows = [row.split(",") for row in (Path(data[1]) / "manifest.csv").read_text().splitlines()]
    kept = [row for row in rows if row[2] != "test"]
    for row in kept[1:]:
        row[0] = str(Path(data[1]) / row[0])
    (tmp_path / "manifest.csv").write_text("\n".join(map(",".join, kept)) + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"no hospital can be asked about.*has learnt from it"):
        run(known, "--data", tmp_path / "manifest.csv", "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["xray-nothing"], RecipeError, "is no recipe .* and no model"),
        (["xray-lungs"], RecipeError, "--leave-out can't be given"),
        (["xray-covid", "--model", "--set", "batch_size=3"], RecipeError, "--set can't be given"),
        (["xray-covid", "--model", "--resume"], RecipeError, "--resume can't be given"),
        (["xray-binary-cnn", "--set", "batchsize=3"], RecipeError, "no setting batchsize"),
        (["xray-binary-cnn", "--hospital", "west"], DatasetError, "--hospital west: must be a hospital"),
        (["xray-binary-cnn", "--hospital", "rsna"], DatasetError, "is a part of nih"),
        (
            ["xray-covid", "--model", "--hospital", "west"],
            DatasetError,
            "--hospital west: must be a hospital",
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], error: type[PulmoscopeError], says: str, data: list[str], tmp_path: Path
) -> None:
    with pytest.raises(error, match=says) as raised:
        run(*arguments, *data, "-o", tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_folders_are_told_apart_whatever_hospitals_are_called() -> None:
    names = ["a/b", "a b", "A_b", "..", "São Paulo"]
    folders = leave_out.folders_of(names)
    assert list(folders) == names
    assert len({folder.lower() for folder in folders.values()}) == len(names)
    assert all("/" not in folder and folder.strip(".") for folder in folders.values())
