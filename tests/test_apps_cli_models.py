from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import volumes
from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.apps.cli.models.commands import _referred
from pulmoscope.core.errors import BundleError
from pulmoscope.datasets.manifest import write_table
from pulmoscope.evaluation.calibration import fit_temperature
from pulmoscope.pipeline.evaluate_studies import evaluate_studies
from pulmoscope.pipeline.predict_studies import predict_answers
from pulmoscope.recipes import settings
from pulmoscope.runtime.audited import UNAUDITED
from pulmoscope.runtime.bundle import Bundle, built_in, load
from pulmoscope.runtime.model import Model, calibrated
from pulmoscope.runtime.xray_severity import built_in_severity
from study_bundles import tiny_study_bundle

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


def test_show_has_a_line_for_every_figure_and_every_fact(tmp_path: Path) -> None:
    figure = {"value": 0.875, "low": 0.75, "high": 0.9375}
    none = {"value": None, "low": None, "high": None}
    command = "pulmoscope evaluate " + "--data folder " * 20
    metrics = {
        "test": {
            "role": "internal",
            "what": "split test of here",
            "images": 1200,
            "figures": {"accuracy": figure, "balanced_accuracy": none},
            "command": command.strip(),
        }
    }
    data = {
        "counts": {"train": {"beta": 1200, "alpha": 2}},
        "sources": {"here": 3},
        "warnings": ["be warned"],
    }
    replace(tiny_bundle(tmp_path, ("alpha", "beta")), metrics=metrics, training_data=data).save()
    lines = RUNNER.invoke(app, ["models", "show", str(tmp_path)]).stdout.splitlines()
    (first,) = [line for line in lines if "0.875" in line]
    second = lines[lines.index(first) + 1]
    assert first.endswith("  0.875  0.750–0.938")
    assert second.endswith("  –")
    assert first.index("0.875") == second.index("–")  # values stand below each other
    assert f"  command  {command.strip()}" in lines  # not wrapped, however long
    assert {
        "  counts, train  beta 1,200, alpha 2",
        "  sources        here 3",
        "  warnings       be warned",
    } <= {*lines}


def test_show_tells_all_thresholds_of_referral(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, ("alpha", "beta"), confidence=0.7)
    limits = replace(bundle.thresholds, by_class={"beta": 0.55})
    replace(bundle, thresholds=limits).save()
    said = RUNNER.invoke(app, ["models", "show", str(tmp_path)]).stdout
    assert "referred     below a probability of 0.7 (by class: beta 0.55)\n" in said
    assert _referred(replace(limits, distance=2.0, normal_distance=1.5)).endswith(
        "; beyond a distance of 2; negative, but beyond a distance of 1.5 from normal lungs"
    )


def test_the_lung_finder_is_named_and_its_card_shown() -> None:
    assert "models show xray-lungs" in RUNNER.invoke(app, ["models", "list"]).stdout
    ended = RUNNER.invoke(app, ["models", "show", "xray-lungs"])
    assert ended.exit_code == 0
    assert ended.stdout.startswith("# ")
    assert "Dice" in ended.stdout


def test_the_view_network_is_named_and_its_card_shown() -> None:
    assert "models show xray-view" in RUNNER.invoke(app, ["models", "list"]).stdout
    ended = RUNNER.invoke(app, ["models", "show", "xray-view"])
    assert ended.exit_code == 0
    assert ended.stdout.startswith("# xray-view")


def test_the_severity_model_is_named_shown_and_checked(tmp_path: Path) -> None:
    assert "models show xray-severity" in RUNNER.invoke(app, ["models", "list"]).stdout
    reads = load("xray-covid")
    for name in ("xray-severity", str(shutil.copytree(built_in_severity(), tmp_path / "copy"))):
        ended = RUNNER.invoke(app, ["models", "show", name])
        assert ended.exit_code == 0
        assert reads.files[reads.network] in ended.stdout
        assert (built_in_severity() / "MODEL_CARD.md").read_text(encoding="utf-8") in ended.stdout
        ended = RUNNER.invoke(app, ["models", "check", name])
        assert ended.exit_code == 0
        assert f"{reads.name} {reads.version}" in ended.stdout
    (tmp_path / "copy" / "severity.npz").write_bytes(b"another")
    ended = RUNNER.invoke(app, ["models", "check", str(tmp_path / "copy")])
    assert isinstance(ended.exception, BundleError)


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
    bundle = tiny_bundle(tmp_path, classes)
    replace(bundle, classes=classes[:2]).save()
    ended = RUNNER.invoke(app, ["models", "check", str(tmp_path)])
    assert isinstance(ended.exception, BundleError)
    assert "2 classes, but model.onnx gives 3" in str(ended.exception)


@pytest.fixture
def three_level(tmp_path: Path) -> Bundle:
    """With what its card is written from."""
    plain = settings.to_plain(volumes.recipe())
    data = {
        "counts": {"train": {"CAP": 1, "COVID": 1, "Normal": 1}},
        "with_slice_labels": {"train": 3},
        "sources": {"phantom": 3},
        "terms": "",
        "warnings": [],
    }
    return replace(tiny_study_bundle(tmp_path / "three"), recipe=plain, training_data=data).save()


def test_a_model_of_three_levels_is_shown_and_checked(three_level: Bundle) -> None:
    ended = RUNNER.invoke(app, ["models", "show", str(three_level.folder)])
    assert ended.exit_code == 0, ended.output
    for expected in (
        "tiny-three 0.1",
        "3 x 32 x 32, region body",
        "by ensemble; votes: maxpool, maxpool-weighted",
        "ensemble.onnx",
    ):
        assert expected in ended.stdout
    ended = RUNNER.invoke(app, ["models", "check", str(three_level.folder)])
    assert ended.exit_code == 0, ended.output
    assert "tiny-three 0.1 is whole, 4 files verified" in ended.stdout


def test_check_refuses_three_levels_that_do_not_answer_as_the_bundle_says(three_level: Bundle) -> None:
    replace(three_level, classes=("COVID", "Normal")).save()
    ended = RUNNER.invoke(app, ["models", "check", str(three_level.folder)])
    assert isinstance(ended.exception, BundleError)
    assert "2 classes, but model.onnx gives 3" in str(ended.exception)


def test_an_evaluation_of_three_levels_is_recorded_in_the_bundle_and_its_card(
    three_level: Bundle, tmp_path: Path
) -> None:
    table = volumes.table(tmp_path / "studies", train=0, val=0, test=1)
    model = Model(three_level)
    found = evaluate_studies(model, table, tmp_path / "out", split="test", bootstrap=0)
    accuracy = found["overall"]["scores"]["accuracy"]["value"]
    arguments = [three_level.folder, "--metrics", tmp_path / "out/metrics.json", "--as", "test"]
    ended = RUNNER.invoke(app, ["models", "record", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    recorded = load(three_level.folder).metrics["test"]
    assert recorded["figures"]["accuracy"]["value"] == accuracy
    assert (recorded["role"], recorded["images"]) == ("internal", 3)
    card = (three_level.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| Accuracy \| {accuracy:.3f}", card, re.MULTILINE)
    assert re.search(r"^\| patients \| 3 \|$", card, re.MULTILINE)
    other = replace(three_level, version="0.2").save()
    ended = RUNNER.invoke(app, ["models", "record", *map(str, arguments)])
    assert isinstance(ended.exception, BundleError)
    assert f"{other.folder}: only figures of this bundle can be recorded (version: 0.2" in str(
        ended.exception
    )


def test_what_an_audit_came_to_is_shown_before_any_figure(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    figures = {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95}}
    test = {"role": "internal", "what": "split test", "images": 8, "figures": figures}
    replace(bundle, metrics={"test": test}).save()
    said = RUNNER.invoke(app, ["models", "show", str(tmp_path)]).stdout
    assert said.index(UNAUDITED) < said.index("Figures «test»")
    audit = test | {
        "role": "audit",
        "trust": {"level": "bad", "says": "No: it reads letters."},
        "verdicts": [{"part": "shortcuts", "code": "letters", "level": "bad", "says": "Letters tell COVID."}],
    }
    replace(bundle, metrics={"test": test, "audit": audit}).save()
    said = RUNNER.invoke(app, ["models", "show", str(tmp_path)]).stdout
    assert UNAUDITED not in said
    places = [
        said.index(text) for text in ("No: it reads letters.", "bad  Letters tell COVID.", "Figures «test»")
    ]
    assert places == sorted(places)


def test_an_audit_of_a_model_of_studies_is_recorded(three_level: Bundle, tmp_path: Path) -> None:
    table = volumes.table(tmp_path / "studies", train=0, val=0, test=1)
    write_table(tmp_path / "studies" / "manifest.csv", table)
    out = tmp_path / "out"
    arguments = [three_level.folder, "--data", tmp_path / "studies", "-o", out, "--bootstrap", "0"]
    ended = RUNNER.invoke(app, ["audit", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    arguments = [three_level.folder, "--metrics", out / "audit.json", "--as", "audit"]
    ended = RUNNER.invoke(app, ["models", "record", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    recorded = load(three_level.folder).metrics["audit"]
    assert recorded["role"] == "audit"
    assert "auroc_lungs_erased" in recorded["figures"]


def test_a_model_of_studies_is_calibrated_on_studies(
    three_level: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulmoscope.pipeline.calibrate.LEAST", 6)
    table = volumes.table(tmp_path / "studies", train=0, val=2)
    write_table(tmp_path / "studies" / "manifest.csv", table)
    out = tmp_path / "calibrated"
    arguments = [three_level.folder, "--data", tmp_path / "studies", "-o", out]
    ended = RUNNER.invoke(app, ["models", "calibrate", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    made = load(out)
    before, after = (predict_answers(Model(own), table)[0] for own in (three_level, made))
    assert before.logits is not None
    assert made.calibration.temperature == pytest.approx(fit_temperature(before.logits, before.truth))
    expected = calibrated(before.logits, made.calibration.temperature)
    np.testing.assert_allclose(after.probabilities, expected, atol=1e-5)
    assert made.files == three_level.files
    assert len(made.calibration.images) == 6
