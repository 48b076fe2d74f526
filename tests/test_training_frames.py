from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import drawn
from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, SampleTable
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.training import frames as module
from pulmoscope.training import settings
from pulmoscope.training.frames import MAP_SIDE, frames_of, learnt_from, load_frames, prepared
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.recipes import find

SMALL = XrayPreprocess(size=32)
SHARED = "COVID 0.6, Normal 0.4"


def recipe(*changes: str) -> Recipe:
    base = ["model.output=softmax", "preprocess.size=32", "labels.Typical=COVID", f"labels.Unsure={SHARED}"]
    return settings.apply(find("xray-binary-cnn"), [*base, *changes])


def table(*rows: tuple[str, str, str]) -> SampleTable:
    """Rows of (label, split, hospital)."""
    samples = [Sample(f"{n}", label, split, "", source) for n, (label, split, source) in enumerate(rows)]
    return SampleTable(Path(), "manifest", tuple(samples))


ROWS = table(
    ("Typical", "train", "north"),
    ("Normal", "train", "south"),
    ("Unsure", "train", "rsna"),
    ("Unsure", "val", "south"),
    ("Flu", "val", "nih"),
    ("COVID", "val", "nih"),
    ("Normal", "val", "south"),
    ("Normal", "test", "south"),
)


def test_a_table_in_a_recipes_words() -> None:
    found = prepared(recipe("classes=COVID,Normal"), ROWS)
    assert [s.label for s in found] == ["COVID", "Normal", "Unsure", "Unsure", "COVID", "Normal", "Normal"]
    assert found.warnings == ("labels that stand for no class are left out: Flu 1",)


def test_without_a_class_list_every_other_label_becomes_a_class() -> None:
    found = prepared(recipe("classes="), ROWS)
    assert [s.label for s in found][4] == "Flu"
    assert found.warnings == ()


def test_hospitals_are_left_out_with_their_parts() -> None:
    found = prepared(recipe("classes=COVID,Normal", "left_out=nih"), ROWS)
    assert {s.source for s in found} == {"north", "south"}
    assert prepared(recipe("classes=COVID,Normal", "left_out=nih"), found) == found
    with pytest.raises(DatasetError, match="leaves no image"):
        prepared(recipe("left_out=nih,north,south"), ROWS)


def test_a_label_of_several_classes_is_learnt_from_and_never_judged_by() -> None:
    chosen = recipe("classes=COVID,Normal")
    found = learnt_from(chosen, prepared(chosen, ROWS))
    assert [(s.label, s.split) for s in found] == [
        ("COVID", "train"),
        ("Normal", "train"),
        ("Unsure", "train"),
        ("COVID", "val"),
        ("Normal", "val"),
    ]
    with pytest.raises(DatasetError, match="no sample of class COVID"):
        learnt_from(chosen, table(("Normal", "train", "x"), ("Normal", "val", "x")))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return drawn.table(tmp_path_factory.mktemp("films"), train=2, val=1, classes=("COVID", "Normal"))


def test_frames_know_shares_and_hospitals(films: SampleTable) -> None:
    labels = ("COVID", "Unsure", "COVID", "Normal", "Normal", "Normal")
    own = films.with_samples(
        replace(s, label=label, hospital=f"h{n}", unread=n == 0)
        for n, (s, label) in enumerate(zip(films, labels, strict=True))
    )
    found = load_frames(
        own, SMALL, ("COVID", "Normal"), progress=False, labels={"Unsure": SHARED}, unread={"Normal": 0.2}
    )
    assert found.hospitals == tuple(f"h{n}" for n in range(6))
    assert found.targets is not None
    expected = [[0.8, 0.2], [0.6, 0.4], [1, 0], [0, 1], [0, 1], [0, 1]]
    np.testing.assert_allclose(found.targets, expected, atol=1e-6)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.maps is None


def test_labels_that_are_sure_need_no_shares(films: SampleTable) -> None:
    found = load_frames(
        films, SMALL, ("COVID", "Normal"), progress=False, labels={"Unsure": SHARED}, unread={"Normal": 0.2}
    )
    assert found.targets is None
    assert found.hospitals == ("drawn",) * 6


@pytest.fixture
def dark_is_lung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lung finder that takes for lung whatever is darker than middle grey."""
    finder = tiny_bundle(tmp_path / "finder", preprocess=lung_preprocess()).folder / "lungs.onnx"
    monkeypatch.setattr(module, "lung_finder", lambda: finder)


def lying(folder: Path) -> SampleTable:
    """Three images of 100 rows and 200 columns: the upper half black, the lower white."""
    image = np.zeros((100, 200), dtype=np.uint8)
    image[50:] = 255
    for name in "abc":
        assert cv2.imwrite(str(folder / f"{name}.png"), image)
    samples = (
        Sample("a.png", "COVID", "train", boxes=((20, 10, 60, 40), (-5, 90, 20, 105))),
        Sample("b.png", "COVID", "train"),
        Sample("c.png", "Normal", "val"),
    )
    return SampleTable(folder, "manifest", samples)


@pytest.mark.usefixtures("dark_is_lung")
def test_maps_lie_where_lungs_and_boxes_lie(tmp_path: Path) -> None:
    found = load_frames(lying(tmp_path), SMALL, ("COVID", "Normal"), progress=False, maps=True).maps
    assert found is not None
    assert found.lungs.shape == found.opacities.shape == (3, MAP_SIDE, MAP_SIDE)
    assert found.lungs[0, :18].min() > 200
    assert found.lungs[0, 22:].max() < 50
    # The whole image is squeezed into the square: a fifth of a column and two fifths of a row a pixel.
    expected = np.zeros((MAP_SIDE, MAP_SIDE))
    expected[4:16, 4:12] = 255
    expected[36:40, 0:4] = 255  # what lies beyond the border is cut off
    np.testing.assert_allclose(found.opacities[0], expected, atol=1)
    assert found.opacities[1:].max() == 0
    # A disease without boxes says nothing of where it is; a normal image has no opacities.
    assert found.known.tolist() == [True, False, True]


@pytest.mark.usefixtures("dark_is_lung")
def test_maps_are_cut_as_the_image_is(tmp_path: Path) -> None:
    square = replace(SMALL, region="square")  # columns 50 to 150
    found = load_frames(lying(tmp_path), square, ("COVID", "Normal"), progress=False, maps=True).maps
    assert found is not None
    expected = np.zeros((MAP_SIDE, MAP_SIDE))
    expected[4:16, 0:4] = 255  # of columns 20 to 60 the last ten
    np.testing.assert_allclose(found.opacities[0], expected, atol=1)


@pytest.mark.usefixtures("dark_is_lung")
@pytest.mark.parametrize(
    ("changes", "maps"), [((), False), (("locate=0.1",), True), (("augment.opacities=0.1",), True)]
)
def test_maps_are_made_for_those_who_need_them(tmp_path: Path, changes: tuple[str, ...], maps: bool) -> None:
    found = frames_of(recipe("classes=COVID,Normal", *changes), lying(tmp_path), progress=False)
    assert (found.maps is not None) == maps
