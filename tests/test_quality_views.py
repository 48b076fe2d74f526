from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pulmoscope.core.types import Flag, FlagLevel, Modality, Scan
from pulmoscope.io import read_pixels
from pulmoscope.preprocess.views import VIEW_SIZE, VIEWS, View, view_input, view_of
from pulmoscope.quality import rules
from pulmoscope.quality.views import FLAGS, check, known_children
from pulmoscope.runtime.bundle import built_in_view_network
from pulmoscope.runtime.model import find_view
from pulmoscope.runtime.network import open_network


def view(name: str, share: float = 0.9, distance: float = 0.5) -> View:
    """``name`` has ``share``; what is left is the others'."""
    shares = np.full(len(VIEWS), (1 - share) / (len(VIEWS) - 1), dtype=np.float32)
    shares[VIEWS.index(name)] = share
    return View(shares, distance)


def test_a_frontal_radiograph_passes_and_so_does_whatever_no_network_has_seen() -> None:
    assert check(view("frontal")) == check(None) == ()


@pytest.mark.parametrize("name", VIEWS[1:])
def test_anything_else_is_refused_in_one_line_with_what_was_seen(name: str) -> None:
    (flag,) = check(view(name))
    assert flag.level is FlagLevel.REFUSE
    assert flag.code == ("looks-like-child" if name == "child" else FLAGS[name][0])
    assert flag.rule
    assert "\n" not in flag.message
    if name != "child":
        assert FLAGS[name][1] in flag.finding


def test_views_that_are_likely_only_together_are_no_chest() -> None:
    shares = np.zeros(len(VIEWS), dtype=np.float32)
    shares[[VIEWS.index("frontal"), VIEWS.index("lateral"), VIEWS.index("turned")]] = 0.4, 0.35, 0.25
    (flag,) = check(View(shares, 0.2))
    assert flag.code == "not-frontal"
    assert FLAGS["lateral"][1] in flag.finding
    assert "40 %" in flag.finding


def test_adult_and_child_are_a_chest_together() -> None:
    shares = np.zeros(len(VIEWS), dtype=np.float32)
    shares[[VIEWS.index("frontal"), VIEWS.index("child"), VIEWS.index("part")]] = 0.35, 0.25, 0.4
    assert check(View(shares, 0.2)) == ()


def test_what_is_far_from_all_radiographs_is_refused_however_sure_the_network_is() -> None:
    assert check(view("frontal", 0.999, 1.0)) == ()
    (flag,) = check(view("frontal", 0.999, 1.3))
    assert flag.code == "not-frontal"
    assert "1.30" in flag.finding


def test_a_child_is_only_warned_of_by_a_model_that_knows_children() -> None:
    (flag,) = check(view("child"))
    for views, severity in (
        ({}, FlagLevel.REFUSE),
        ({"Normal": {"frontal": 99, "child": 1}}, FlagLevel.REFUSE),
        ({"Normal": {"frontal": 9}, "Viral Pneumonia": {"child": 9}}, FlagLevel.REFUSE),
        ({"Normal": {"frontal": 75, "child": 25}, "COVID": {"frontal": 99, "child": 1}}, FlagLevel.REFUSE),
        ({"Normal": {"frontal": 75, "child": 25}}, FlagLevel.REFUSE),  # of COVID nothing is known
        ({"Normal": {"frontal": 75, "child": 25}, "COVID": {"frontal": 9, "child": 1}}, FlagLevel.WARN),
    ):
        assert [own.level for own in known_children([flag], views, ("COVID", "Normal"))] == [severity]
    other = Flag("rotated", FlagLevel.REFUSE, "")
    assert known_children([other], {"Normal": {"child": 5}}, ("Normal",)) == (other,)


def test_a_view_network_tells_how_a_film_lies_instead_of_its_grey() -> None:
    negative = np.tile(np.abs(np.linspace(-1, 1, 256, dtype=np.float32)), (256, 1))
    scan = Scan("drawn", Modality.XRAY, negative[None], ())
    assert "looks-inverted" in [flag.code for flag in rules.check(scan, None).flags]
    seen = {flag.code for flag in rules.check(scan, None, view("frontal")).flags}
    assert seen.isdisjoint({"looks-inverted", "rotated"})
    assert "not-frontal" in [flag.code for flag in rules.check(scan, None, view("ct")).flags]


@given(arrays(np.float32, len(VIEWS), elements=st.floats(-80, 80, width=32)))
def test_shares_are_the_softmax_of_the_logits(logits: np.ndarray) -> None:
    found = view_of(logits, 0.3)
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert found.probabilities[logits.argmax()] == found.probabilities.max()
    assert found.distance == 0.3


def test_the_whole_picture_is_seen_at_its_own_aspect_and_stretched() -> None:
    pixels = np.full((50, 100), 0.2, dtype=np.float32)
    pixels[:, 50:] = 0.3
    image = view_input(pixels)[0]
    assert image.shape == (VIEW_SIZE, VIEW_SIZE)
    quarter = VIEW_SIZE // 4
    assert image[:quarter].max() == image[-quarter:].max() == 0
    np.testing.assert_allclose(image[quarter:-quarter, : VIEW_SIZE // 2 - 1], 0, atol=1e-5)
    np.testing.assert_allclose(image[quarter:-quarter, VIEW_SIZE // 2 + 1 :], 1, atol=1e-5)


def seen(folder: Path, wanted: Callable[[dict[str, str]], bool]) -> list[View]:
    """What the shipped network says of the pictures of a data set's manifest that are wanted."""
    network = open_network(built_in_view_network() / "view.onnx")
    with (folder / "manifest.csv").open(newline="") as stream:
        files = [row["file"] for row in csv.DictReader(stream) if wanted(row)]
    return [find_view(network, read_pixels(folder / file)) for file in files]


def test_the_shipped_network_lets_pass_frontal_radiographs_that_it_has_not_learnt(shared: Path) -> None:
    films = seen(shared / "data" / "cxr_lungs", lambda row: row["split"] == "test")
    controls = seen(shared / "data" / "not_frontal", lambda row: row["refuse"] == "no")
    assert sum(check(own) == () for own in films) >= 39
    assert sum(check(own) == () for own in controls) >= 15


def test_the_shipped_network_refuses_slices_that_it_has_not_learnt(shared: Path) -> None:
    slices = seen(shared / "data" / "ct_slices", lambda row: row["split"] == "test")[::8]
    assert not any(own.is_chest for own in slices)
    assert sum(own.name == "ct" for own in slices) >= 0.9 * len(slices)
