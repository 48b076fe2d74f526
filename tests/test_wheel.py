"""The package as a user gets it: a wheel, installed into an environment of its own without the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import pulmoscope

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "pulmoscope"
PIP = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check")
ELSEWHERE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command says, in a folder and without this test's source tree on the path."""
    ended = subprocess.run([*map(str, command)], cwd=cwd, env=ELSEWHERE, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline from a copy of the tree, as building leaves folders behind; its tests and documents are there."""
    folder = tmp_path_factory.mktemp("build")
    unwanted = ignore_patterns(
        ".git", ".venv*", "build", "out", "site", "*.egg-info", "__pycache__", ".*_cache"
    )
    copytree(ROOT, folder / "tree", ignore=unwanted)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "./tree", cwd=folder)
    (built,) = (folder / "dist").iterdir()
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert {"pulmoscope/py.typed", "pulmoscope/bundles/xray-covid/model.onnx"} <= names
    assert any(name.startswith("pulmoscope/report/templates/") for name in names)


def test_the_installed_wheel_diagnoses_like_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    environment, work = tmp_path / "environment", tmp_path / "work"
    work.mkdir()
    venv.create(environment, symlinks=True)
    python, command = environment / "bin" / "python", environment / "bin" / "pulmoscope"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", "--no-compile", wheel, cwd=work)
    # The dependencies are this environment's; its own .pth files, one of which may lead to a source tree, don't count.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=work)
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    place = run(python, "-c", "import pulmoscope; print(pulmoscope.__file__)", cwd=work)
    assert Path(place).is_relative_to(environment)
    run(command, "datasets", "phantom", "--kind", "xray", "--size", "256", "-o", "drawn", cwd=work)
    film = next((work / "drawn").rglob("*.png"))
    run(command, "diagnose", film, "-o", "result", "--quiet", cwd=work)
    (folder,) = (work / "result").glob("xray-*")
    assert (folder / "report.html").is_file()
    found = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))["prediction"]
    expected = pulmoscope.diagnose(film).prediction
    assert found["label"] == expected.label
    assert found["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-6)
