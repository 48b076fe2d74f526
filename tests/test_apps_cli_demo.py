from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pulmoscope.apps.cli import demo
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of, sha256_of_file

TRUTH = {"affected_left": "18.993", "affected_right": "18.622"}


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name before any other, and the file in it that the demo looks for, not yet written."""
    metadata = folder / "pydicom_data-1.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: pydicom-data\nVersion: 1.0.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder / demo.RADIOGRAPH


def run(out: Path) -> Result:
    return CliRunner().invoke(app, ["demo", "-o", str(out)])


def diagnoses(out: Path) -> dict[str, Any]:
    """Each ``diagnosis.json`` by its modality."""
    files = [
        json.loads(file.read_text(encoding="utf-8")) for file in (out / "results").glob("*/diagnosis.json")
    ]
    return {plain["input"]["modality"]: plain for plain in files}


def codes(plain: dict[str, Any]) -> set[str]:
    return {limit["code"] for limit in plain["limits"]}


def test_without_the_package_the_radiograph_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(demo, "SLICES", 24)
    monkeypatch.setattr(demo, "SIZE", 160)
    ended = run(tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    found = diagnoses(tmp_path / "out")
    assert "synthetic" in codes(found["XRAY"]) & codes(found["CT"])
    first, *lines = ended.stdout.splitlines()
    assert demo.PACKAGE in first
    reports = [Path(line.strip()) for line in lines if line.endswith("report.html")]
    assert sorted(reports) == sorted((tmp_path / "out" / "results").glob("*/report.html"))


def test_the_real_radiograph_is_no_covid_pattern_and_no_normal_chest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    file = installed(tmp_path / "site", monkeypatch)
    file.parent.mkdir(parents=True)
    file.symlink_to(shared / "data" / "xray_dicom" / "pydicom_data" / "RG1_J2KI.dcm")
    out = tmp_path / "out"
    ended = run(out)
    assert ended.exit_code == 0, ended.output
    found = diagnoses(out)
    radiograph, ct = found["XRAY"], found["CT"]
    assert radiograph["input"]["sha256"] == demo.SHA256
    assert radiograph["prediction"]["label"] != "COVID"
    assert radiograph["prediction"]["decision"] == "refer"
    assert "unlike-normal" in codes(radiograph)
    assert ct["prediction"]["label"] == "COVID"
    assert ct["severity"]["left"] == pytest.approx(float(TRUTH["affected_left"]), abs=3)
    assert ct["severity"]["right"] == pytest.approx(float(TRUTH["affected_right"]), abs=3)
    assert [path for path in out.rglob("*") if path.is_file() and sha256_of_file(path) == demo.SHA256] == []


def test_another_file_in_its_place_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed(tmp_path / "site", monkeypatch)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    ended = run(tmp_path / "out")
    assert isinstance(ended.exception, DatasetError)
    message = str(ended.exception)
    assert all(part in message for part in (str(file), sha256_of(b"another"), demo.SHA256))
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def answered(label: str, decision: str = "refer", limit: str = "", **severity: Any) -> str:
    """The sentence about a diagnosis in which COVID has 24.7 % and the other class 75.3 %."""
    fractions = {"COVID": 0.247, "Normal": 0.753}
    plain = {
        "prediction": {"label": label, "probabilities": fractions, "decision": decision},
        "limits": [{"code": limit}] if limit else [],
        "severity": {"percent_affected": None} | severity,
    }
    return demo.answer(plain, TRUTH)


def test_an_answer_has_the_figures_that_it_rests_on() -> None:
    assert "75.3 %" in answered("Normal")
    unlike = answered("Normal", limit="unlike-normal")
    assert ("24.7 %" in unlike, "75.3 %" in unlike) == (True, False)
    assert answered("COVID", limit="unlike-normal") == answered("COVID")
    assert answered("Normal", "report") != answered("Normal", "refer")


def test_a_measured_lung_stands_beside_what_was_simulated() -> None:
    said = answered("COVID", percent_affected=17.0, left=17.4, right=16.6, grade="CT-1")
    assert said.count("17 %") == said.count("19 %") == 2
    assert "CT-1" in said
