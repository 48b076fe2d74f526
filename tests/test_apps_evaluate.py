"""``pulmoscope evaluate`` and ``pulmoscope audit`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from bundles import quadrants, tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    lines = ["file,label,split,patient,source"]
    for number in range(8):
        label = "COVID" if number % 2 else "Normal"
        levels = (0.3 + 0.05 * number, 0.2) if number % 2 else (0.2, 0.3 + 0.05 * number)
        cv2.imwrite(str(root / f"{number}.png"), np.rint(quadrants(levels, 96) * 255).astype(np.uint8))
        lines.append(f"{root / f'{number}.png'},{label},{'test' if number < 6 else 'val'},p{number},here")
    (root / "broken.png").write_bytes(b"no image")
    lines.append("broken.png,COVID,test,p9,here")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "manifest.csv"


def test_evaluate(model: Path, sheet: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(model), "--data", str(sheet), "-o", str(tmp_path), "--bootstrap", "20"]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert found["data"]["split"] == "test"
    assert found["overall"]["scores"]["accuracy"]["value"] == 1
    assert "broken.png" in done.stderr
    assert "AUROC" in done.stdout
    assert "report.html" in done.stdout
    # Absolute names stay as the manifest has them.
    assert str(sheet.parent / "0.png") in (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    again = RUNNER.invoke(app, arguments)
    assert isinstance(again.exception, OutputExistsError)
    assert RUNNER.invoke(app, [*arguments, "--force"]).exit_code == 0


def test_brackets_in_names_are_text(sheet: Path, tmp_path: Path) -> None:
    """rich would take them for markup, and end in an error where it closes what was not opened."""
    model = tiny_bundle(tmp_path / "bundle", ("COVID", "[/b]Normal[red]"), name="[/tiny]").folder
    rows = sheet.read_text(encoding="utf-8").replace(",Normal,", ",[/b]Normal[red],")
    (tmp_path / "manifest.csv").write_text(rows, encoding="utf-8")
    for command in ("evaluate", "audit"):
        arguments = [command, str(model), "--data", str(tmp_path / "manifest.csv"), "--bootstrap", "0"]
        done = RUNNER.invoke(app, [*arguments, "-o", str(tmp_path / command)])
        assert done.exit_code == 0, done.output
        assert "[/tiny]" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root can't read")
def test_a_file_that_can_not_be_read_is_left_out(model: Path, sheet: Path, tmp_path: Path) -> None:
    (tmp_path / "locked.png").symlink_to("/proc/self/mem")
    rows = sheet.read_text(encoding="utf-8") + "locked.png,COVID,test,p10,here\n"
    (tmp_path / "manifest.csv").write_text(rows, encoding="utf-8")
    arguments = ["evaluate", str(model), "--data", str(tmp_path / "manifest.csv"), "--bootstrap", "0"]
    done = RUNNER.invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "locked.png" in done.stderr


def test_all_splits_or_one_that_is_not_there(model: Path, sheet: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(model), "--data", str(sheet), "-o", str(tmp_path), "--bootstrap", "0"]
    assert RUNNER.invoke(app, [*arguments, "--split", "all"]).exit_code == 0
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert (found["data"]["images"], found["data"]["predicted"]) == (9, 8)
    assert found["overall"]["scores"]["accuracy"]["low"] is None
    absent = RUNNER.invoke(app, [*arguments, "--split", "train"])
    assert isinstance(absent.exception, DatasetError)
    assert "test" in str(absent.exception)


def test_audit(model: Path, sheet: Path, tmp_path: Path) -> None:
    done = RUNNER.invoke(
        app, ["audit", str(model), "--data", str(sheet), "-o", str(tmp_path), "--bootstrap", "20"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["data"]["predicted"] == 6
    assert "Border alone" in done.stdout
    assert "report.html" in done.stdout
