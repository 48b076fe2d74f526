from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.runtime import bundle, openvino_backend, xray_severity
from pulmoscope.runtime.precision import Export, Precision

RUNNER = CliRunner()


@pytest.fixture
def built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One built-in model, the tiny one."""
    tiny_bundle(tmp_path / "tiny")
    monkeypatch.setattr(bundle, "built_in", lambda: {"tiny": tmp_path / "tiny"})
    return tmp_path / "tiny"


def test_a_sound_installation_passes_and_every_runtime_is_tried(built_in: Path) -> None:
    ended = RUNNER.invoke(app, ["doctor"])
    assert ended.exit_code == 0, ended.stdout
    lines = ended.stdout.splitlines()
    assert any(line.split() == ["ok", "openvino", version("openvino")] for line in lines)
    assert "all checksums right" in ended.stdout
    for runtime in ("openvino", "onnx", "torch"):
        (line,) = [line for line in lines if f"runtime {runtime}" in line]
        assert line.startswith("ok")
        assert "an image takes" in line


@pytest.mark.parametrize(
    ("pinned", "able", "runs"),
    [("bf16", ("FP32", "INT8"), "fp32"), ("bf16", ("FP32", "BF16"), "bf16"), ("fp32", ("FP32",), "fp32")],
)
def test_it_says_at_which_precision_a_built_in_model_runs(
    built_in: Path, monkeypatch: pytest.MonkeyPatch, pinned: Precision, able: tuple[str, ...], runs: str
) -> None:
    made = bundle.load(built_in)
    export = Export(
        pinned, "onnx", {"model.onnx": pinned}, {"name": "tiny", "version": "0", "sha256": "0" * 64}
    )
    replace(made, export=export).save()
    monkeypatch.setattr(openvino_backend, "capabilities", lambda: able)
    ended = RUNNER.invoke(app, ["doctor"])
    (line,) = [line for line in ended.stdout.splitlines() if "precision of tiny" in line]
    assert f"{pinned} in the bundle; runs {runs} " in line


def test_a_library_that_can_not_be_loaded_is_one_line(
    built_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_shared_library() -> None:
        raise ImportError("libGL.so.1: cannot open shared object file:\nno such file")

    monkeypatch.setattr(bundle, "built_in", without_shared_library)
    ended = RUNNER.invoke(app, ["doctor"])
    assert ended.exit_code == 1
    broken = [line for line in ended.stdout.splitlines() if line.startswith("broken")]
    assert [line.split()[1] for line in broken] == ["versions", "precisions", "runtimes"]
    assert all("libGL.so.1" in line for line in broken)


def test_a_damaged_severity_model_is_broken(
    built_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(xray_severity.built_in_severity(), tmp_path / "severity")
    monkeypatch.setattr(xray_severity, "built_in_severity", lambda: copy)
    assert RUNNER.invoke(app, ["doctor"]).exit_code == 0
    (copy / "severity.npz").write_bytes(b"damaged")
    ended = RUNNER.invoke(app, ["doctor"])
    assert ended.exit_code == 1
    (broken,) = [line for line in ended.stdout.splitlines() if line.startswith("broken")]
    assert "model xray-severity" in broken
    assert "severity.npz" in broken


def test_a_damaged_built_in_model_is_broken(built_in: Path) -> None:
    (built_in / "model.onnx").write_bytes(b"damaged")
    ended = RUNNER.invoke(app, ["doctor"])
    assert ended.exit_code == 1
    assert any(line.startswith("broken") and "sha256 differs" in line for line in ended.stdout.splitlines())


def test_it_says_how_many_compiled_networks_are_kept_or_why_none(
    built_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(cache: str) -> list[str]:
        monkeypatch.setenv("PULMOSCOPE_CACHE", cache)
        ended = RUNNER.invoke(app, ["doctor"])
        assert ended.exit_code == 0
        assert str(tmp_path) not in ended.stdout
        (line,) = [line for line in ended.stdout.splitlines() if "compiled networks" in line]
        return line.split()

    off = words("off")
    assert (off[0], off[-1]) == ("missing", "PULMOSCOPE_CACHE=off")
    on = words(str(tmp_path / "cache"))
    (blob,) = (tmp_path / "cache").iterdir()
    assert (on[0], on[3]) == ("ok", "1")
    assert on[-2:] == [f"{blob.stat().st_size / 2**20:.1f}", "MiB"]
