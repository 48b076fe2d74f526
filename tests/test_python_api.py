"""The public names, and the examples of docs/python.md on synthetic images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pulmoscope
from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.phantoms.ct.folder import write_ct_phantoms
from pulmoscope.phantoms.xray.folder import write_phantoms

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A radiograph, a CT and a data set, all synthetic."""
    folder = tmp_path_factory.mktemp("images")
    table = write_phantoms(folder / "mydata", 20, ("COVID", "Normal"), seed=3, size=256)
    (folder / "radiograph.png").write_bytes(table.path(table.samples[0]).read_bytes())
    studies = write_ct_phantoms(folder / "cts", 1, ("COVID",), seed=3, size=192, slices=40, processes=1)
    studies.path(studies.samples[0]).rename(folder / "ct")
    return folder


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, "docs/python.md", "exec"), {})


def test_every_public_name_is_there_and_told() -> None:
    for name in pulmoscope.__all__:
        assert getattr(pulmoscope, name) is not None
    assert set(pulmoscope.__all__) == set(dir(pulmoscope))
    told = set(re.findall(r"`(\w+)\(", PAGE))
    functions = {name for name in pulmoscope.__all__ if name[0].islower() and not name.startswith("_")}
    assert told == functions
    with pytest.raises(AttributeError):
        pulmoscope.nothing  # noqa: B018


def test_importing_brings_no_library() -> None:
    code = "import sys, pulmoscope; print([m for m in ('numpy', 'cv2', 'torch', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lungs_lie_on_both_sides_of_a_radiograph(folder: Path) -> None:
    scan = pulmoscope.read_scan(folder / "radiograph.png")
    lungs = pulmoscope.find_lungs(scan)
    assert lungs.shape == scan.pixels.shape
    assert lungs.dtype == np.bool_
    columns = np.flatnonzero(lungs[0].any(axis=0))
    middle = scan.pixels.shape[2] / 2
    assert columns.min() < middle < columns.max()


def test_what_is_refused_comes_in_place_of_its_result(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    found = list(pulmoscope.diagnose_many([folder / "radiograph.png", tmp_path / "text.png"], explain=False))
    assert [isinstance(one, InputError) for one in found] == [False, True]
    first = found[0]
    assert isinstance(first, pulmoscope.Diagnosis)
    alone = pulmoscope.predict(folder / "radiograph.png")
    assert first.prediction.probabilities == alone.probabilities


def test_a_radiograph_has_no_measured_severity(folder: Path) -> None:
    with pytest.raises(UnsuitableError):
        pulmoscope.measure_severity(pulmoscope.read_scan(folder / "radiograph.png"))
