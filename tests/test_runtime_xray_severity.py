from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.xray_severity import Estimate
from pulmoscope.runtime.bundle import load as load_bundle
from pulmoscope.runtime.xray_severity import (
    CARD,
    MOST,
    Hinge,
    SeverityModel,
    Widths,
    built_in_severity,
    load,
    opacity_map,
)
from xray_severity_models import write


def test_below_the_threshold_a_score_is_none_above_it_rises() -> None:
    found = Hinge(2.0, 0.5)(np.array([-3, 0.5, 0.75, 2.5]))
    np.testing.assert_allclose(found, [0, 0, 0.5, 4])


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (0.0, 0.0, 0.5),
        (0.9, 0.4, 1.4),
        (1.0, 0.0, 2.0),  # from the edge on the next width
        (3.9, 2.9, 4.9),
        (7.0, 5.0, 8.0),  # within the scale
    ],
)
def test_the_ends_of_the_interval(value: float, low: float, high: float) -> None:
    found = Widths((1.0, 4.0), (0.5, 1.0, 2.0)).around(value, 8.0)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high))


@pytest.fixture
def model(tmp_path: Path) -> SeverityModel:
    return write(tmp_path / "tiny")


def six(*brightness: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of two channels over two rows and three columns, one cell a zone, and the zones' weights."""
    first = np.array(brightness, dtype=np.float32).reshape(2, 3)
    return np.stack([first, np.zeros_like(first)]), np.eye(6, dtype=np.float32).reshape(6, 2, 3)


def test_scores_by_hand(model: SeverityModel) -> None:
    """Raw sums are 0.4, 1, 3, -1, -1 and -1, together 1.4: zones 0, 1 and 3, as 5 is too much."""
    found = model.scores(*six(0.7, 1.0, 2.0, 0, 0, 0))
    np.testing.assert_allclose(found.zones, [0, 1, 3, 0, 0, 0], atol=1e-6)
    assert found.brixia == pytest.approx(4)
    assert found.extent == pytest.approx(0.4)
    assert found.opacity == 0
    assert model.estimate("extent", found.extent) == Estimate(found.extent, 0, pytest.approx(0.9))
    assert model.estimate("brixia", 17) == Estimate(17, 14, 18)


@pytest.mark.parametrize(("brightness", "filled"), [(0.0, 0.0), (100.0, 1.0)])
def test_scores_stay_on_their_scale(model: SeverityModel, brightness: float, filled: float) -> None:
    found = model.scores(*six(*[brightness] * 6))
    values = {"extent": found.extent, "opacity": found.opacity, "brixia": found.brixia}
    assert values == {name: filled * MOST[name] for name in values}
    assert found.zones.tolist() == [filled * MOST["zone"]] * 6


def test_the_map_by_hand() -> None:
    features = np.array([[[0.0, math.log(3), -1000.0, 1000.0]]], dtype=np.float32)
    found = opacity_map(np.array([1.0, 0.0], dtype=np.float32), features)
    np.testing.assert_allclose(found, [[0.5, 0.75, 0, 1]], atol=1e-6)


@given(st.lists(st.floats(-2, 4), min_size=6, max_size=6), st.integers(0, 5), st.floats(0, 2))
def test_a_denser_zone_never_lowers_a_score(values: list[float], zone: int, more: float) -> None:
    model = _PLAIN
    before = model.scores(*six(*values))
    values[zone] += more
    after = model.scores(*six(*values))
    for name in ("extent", "opacity", "brixia"):
        assert getattr(after, name) >= getattr(before, name) - 1e-4


_PLAIN = SeverityModel(
    folder=Path(),
    name="plain",
    version="1",
    features={},
    zone=Hinge(2.0, 0.5),
    extent=Hinge(1.0, 1.0),
    opacity=Hinge(0.5, 2.0),
    widths={},
    coverage=0.9,
    zone_weights=np.array([2.0, 0.0, -1.0], dtype=np.float32),
    map_weights=np.zeros(3, dtype=np.float32),
)


def test_what_is_written_is_read_again(model: SeverityModel) -> None:
    again = load(str(model.folder))
    assert (again.zone, again.extent, again.opacity) == (model.zone, model.extent, model.opacity)
    assert again.widths == model.widths
    assert again.facts == {"figures": {"known": 1}}
    np.testing.assert_array_equal(again.zone_weights, model.zone_weights)
    assert again.identity == {
        "name": "tiny-severity",
        "version": "0.1",
        "sha256": sha256_of_file(model.folder / "severity.json"),
    }


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(schema_version="2.0"),
        lambda plain: plain.pop("schema_version"),
        lambda plain: plain.pop("extent"),
        lambda plain: plain["zone"].pop("slope"),
        lambda plain: plain["zone"].update(slope="steep"),
        lambda plain: plain["opacity"].update(slope=-1.0),
        lambda plain: plain["extent"].update(threshold=math.inf),
        lambda plain: plain["features"].pop("sha256"),
        lambda plain: plain["widths"].pop("brixia"),
        lambda plain: plain["widths"]["extent"].update(edges=[4.0, 1.0]),
        lambda plain: plain["widths"]["extent"].update(widths=[1.0]),
        lambda plain: plain["widths"]["opacity"].update(widths=[-1.0]),
        lambda plain: plain.update(coverage="most"),
        lambda plain: plain["files"].clear(),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(model: SeverityModel, change: Change) -> None:
    file = model.folder / "severity.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    change(plain)
    file.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(BundleError) as caught:
        load(model.folder)
    assert str(file) in str(caught.value)


def test_damaged_files_are_refused(model: SeverityModel, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        load(tmp_path / "nowhere")
    weights = model.folder / "severity.npz"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\1")
    with pytest.raises(BundleError, match="sha256"):
        load(model.folder)
    weights.unlink()
    with pytest.raises(BundleError):
        load(model.folder)
    weights.write_bytes(content)
    (model.folder / "severity.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError):
        load(model.folder)


def test_weights_of_two_lengths_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny").folder
    np.savez(folder / "severity.npz", zone=np.zeros(3, np.float32), map=np.zeros(4, np.float32))
    plain = json.loads((folder / "severity.json").read_text(encoding="utf-8"))
    plain["files"]["severity.npz"] = sha256_of_file(folder / "severity.npz")
    (folder / "severity.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(BundleError, match=r"severity\.npz"):
        load(folder)


def test_the_built_in_model_reads_the_built_in_x_ray_model() -> None:
    model, reads = load("xray-severity"), load_bundle("xray-covid")
    assert model.folder == built_in_severity()
    assert model.features == {
        "name": reads.name,
        "version": reads.version,
        "sha256": reads.files[reads.network],
    }
    card = (model.folder / CARD).read_text(encoding="utf-8")
    assert card.startswith(f"# {model.name} {model.version}\n")
    assert sum(path.stat().st_size for path in model.folder.iterdir()) < 2**17
    figures = model.facts["figures"]["cross_validated"]
    for name in MOST:  # what is built in beats the mean of the training's scores
        assert figures[name]["mae"]["high"] < figures[name]["mae_of_mean"]["low"]
