from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import write_view_network
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.training.view import part as view_part
from pulmoscope.training.view.part import add_view


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A view network that goes by the share of the picture that is bright."""
    path = tmp_path / "package" / "view.onnx"
    path.parent.mkdir()
    write_view_network(path)
    monkeypatch.setattr(view_part, "view_network", lambda: path)
    return path


def table(folder: Path, bright: list[float]) -> SampleTable:
    """Validation pictures with these bright shares, and a training picture that is bright all over but one column."""
    folder.mkdir()
    samples = []
    for number, share in enumerate([0.99, *bright]):
        pixels = np.zeros((100, 100), np.uint8)
        pixels[:, : round(100 * share)] = 250
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        samples.append(Sample(f"{number}.png", "Normal", "val" if number else "train"))
    return SampleTable(folder, "manifest", tuple(samples))


@pytest.mark.usefixtures("network")
def test_it_is_copied_where_it_knows_the_radiographs_and_counts_them(tmp_path: Path, network: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    found = add_view(run, table(tmp_path / "films", [0.3] * 9 + [0.1] * 3), progress=False)
    assert found == {"views": {"Normal": {"child": 3, "frontal": 9}}}
    assert (run / "view.onnx").read_bytes() == network.read_bytes()


@pytest.mark.parametrize(("strange", "fits"), [(1, True), (2, False)])
@pytest.mark.usefixtures("network")
def test_it_is_left_out_where_it_refuses_more_than_a_tenth_of_them(
    tmp_path: Path, strange: int, fits: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "view.onnx").write_bytes(b"of a run before")
    found = add_view(run, table(tmp_path / "films", [0.3] * (10 - strange) + [0.8] * strange), progress=False)
    assert (run / "view.onnx").is_file() == fits
    assert ("views" in found) == fits
    if not fits:
        (warning,) = found["warnings"]
        assert "2 of 10" in warning


def test_a_package_without_one_gives_bundles_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_part, "view_network", lambda: tmp_path / "nowhere.onnx")
    assert add_view(tmp_path, table(tmp_path / "films", [0.3]), progress=False) == {}
    assert not (tmp_path / "view.onnx").exists()
