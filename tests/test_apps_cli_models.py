from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError
from pulmoscope.runtime.bundle import built_in

RUNNER = CliRunner()


def test_list_names_every_built_in_model() -> None:
    ended = RUNNER.invoke(app, ["models", "list"])
    assert ended.exit_code == 0
    for name in built_in() or ["No built-in models."]:
        assert name in ended.stdout
    assert "test: accuracy 0." in ended.stdout


def test_list_takes_brackets_for_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bundle(tmp_path, ("[/a]", "[b]"))
    monkeypatch.setattr("pulmoscope.runtime.bundle.built_in", lambda: {"tiny": tmp_path})
    ended = RUNNER.invoke(app, ["models", "list"])
    assert ended.exit_code == 0, ended.output
    assert "[/a], [b]" in ended.stdout


def test_show_tells_the_contract_the_calibration_and_the_card(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, ("alpha", "beta"), temperature=1.25, confidence=0.7)
    ended = RUNNER.invoke(app, ["models", "show", str(tmp_path)])
    assert ended.exit_code == 0
    for expected in ("alpha, beta", "3 x 32 x 32", "temperature 1.25", "probability of 0.7", bundle.sha256):
        assert expected in ended.stdout
    assert (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8").strip() in ended.stdout


def test_the_lung_finder_is_named_and_its_card_shown() -> None:
    assert "models show xray-lungs" in RUNNER.invoke(app, ["models", "list"]).stdout
    ended = RUNNER.invoke(app, ["models", "show", "xray-lungs"])
    assert ended.exit_code == 0
    assert ended.stdout.startswith("# ")
    assert "Dice" in ended.stdout


def test_check_passes_a_whole_bundle_and_refuses_a_changed_one(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    ended = RUNNER.invoke(app, ["models", "check", str(tmp_path)])
    assert ended.exit_code == 0
    assert "tiny 0.1 is whole, 1 files verified" in ended.stdout
    (tmp_path / "model.onnx").write_bytes(b"another")
    ended = RUNNER.invoke(app, ["models", "check", str(tmp_path)])
    assert isinstance(ended.exception, BundleError)


@pytest.mark.parametrize("classes", [("a", "b", "c")])
def test_check_refuses_a_network_that_does_not_answer_as_the_bundle_says(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    from dataclasses import replace

    bundle = tiny_bundle(tmp_path, classes)
    replace(bundle, classes=classes[:2]).save()
    ended = RUNNER.invoke(app, ["models", "check", str(tmp_path)])
    assert isinstance(ended.exception, BundleError)
    assert "2 classes, but the network gives 3" in str(ended.exception)
