"""Heat maps of networks whose evidence is known by construction: each quadrant of the image speaks for one class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundles import PREPROCESS, quadrants, tiny_bundle
from pulmoscope.core.types import FloatArray
from pulmoscope.explain.gradcam import place
from pulmoscope.explain.maps import Viewed, maps, partly_veiled, veiled
from pulmoscope.runtime.maps import MAPS
from pulmoscope.runtime.model import Model, Outputs

OF_ANSWERS = ("occlusion", "rise")


def viewed(model: Model, pixels: FloatArray, negative: tuple[int, ...] = ()) -> Viewed:
    prepared = model.prepare(pixels)
    return Viewed(prepared.tensor, model.predict(prepared.tensor[None]), 0, negative)


def heat_of(model: Model, kind: str, pixels: FloatArray, target: int) -> FloatArray:
    (cells,) = maps(kind, viewed(model, pixels), model.predict, [target])
    return place(cells, model.prepare(pixels).framed.box, *pixels.shape)


def given(features: list[object], gradients: list[object], probabilities: list[float]) -> Viewed:
    """What a network has said, by hand; none of these maps asks it again."""
    said = np.array([probabilities], dtype=np.float32)
    return Viewed(
        np.zeros((1, 4, 4), dtype=np.float32),
        Outputs(np.log(said), said, np.array([features], np.float32), np.array([gradients], np.float32)),
    )


def never(batch: FloatArray) -> Outputs:
    raise AssertionError("the network was asked again")


@pytest.mark.parametrize("kind", OF_ANSWERS)
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (200, 120), (90, 301)])
@pytest.mark.parametrize("target", range(4))
def test_evidence_lies_where_it_was_built_in_whatever_the_image_s_shape(
    tmp_path: Path, kind: str, rows: int, columns: int, target: int
) -> None:
    model = Model(tiny_bundle(tmp_path, ("COVID", "Normal", "Tuberculosis", "Viral Pneumonia"), gain=10))
    pixels = np.full((rows, columns), 0.2, dtype=np.float32)
    row, column = divmod(target, 2)
    top, left = round((row / 2 + 0.15) * rows), round((column / 2 + 0.15) * columns)
    pixels[top : top + rows // 8, left : left + columns // 8] = 1
    heat = heat_of(model, kind, pixels, target)
    assert heat.shape == (rows, columns)
    found = np.argwhere(heat == heat.max()).mean(axis=0)
    # A cell of RISE is a sixth of the image.
    assert abs(found[0] - (top + rows / 16)) < rows / 6
    assert abs(found[1] - (left + columns / 16)) < columns / 6


@pytest.mark.parametrize("kind", MAPS)
def test_evidence_within_a_crop_is_placed_in_the_whole_image(tmp_path: Path, kind: str) -> None:
    model = Model(tiny_bundle(tmp_path, preprocess=replace(PREPROCESS, region="square", edge=0.1), gain=10))
    pixels = np.zeros((100, 160), dtype=np.float32)
    # The centre square less a tenth a side is rows 10 to 90, columns 40 to 120: COVID's quadrant is its upper left.
    pixels[12:32, 42:62] = 1
    heat = heat_of(model, kind, pixels, 0)
    found = np.argwhere(heat == heat.max()).mean(axis=0)
    assert abs(found - (22, 52)).max() < 80 / 6
    assert not heat[:10].any()
    assert not heat[90:].any()
    assert not heat[:, :40].any()
    assert not heat[:, 120:].any()


@pytest.mark.parametrize("kind", MAPS)
def test_no_map_shows_evidence_where_nothing_speaks_for_the_class(tmp_path: Path, kind: str) -> None:
    model = Model(tiny_bundle(tmp_path, gain=10))
    (cells,) = maps(kind, viewed(model, np.zeros((64, 64), dtype=np.float32)), model.predict, [0])
    assert not cells.any()


@pytest.mark.parametrize("kind", MAPS)
def test_maps_are_scaled_to_1_and_alike_in_every_call(tmp_path: Path, kind: str) -> None:
    model = Model(tiny_bundle(tmp_path, gain=10))
    pixels = quadrants((0.7, 0.4, 0.1, 0.3))
    pixels[8:20, 8:20] = 1
    first, second = maps(kind, viewed(model, pixels), model.predict, [0, 1])
    assert (first.min(), first.max()) == (0, 1)
    (again,) = maps(kind, viewed(model, pixels), model.predict, [1])
    np.testing.assert_array_equal(second, again)


def test_layer_cam_leaves_out_what_speaks_against_the_class() -> None:
    image = given([[[1, 0], [0, 2]], [[0, 0], [0, 5]]], [[2, -1], [0, 0]], [0.5, 0.5])
    # Grad-CAM: 2 * first - second = [[2, 0], [0, -1]]; LayerCAM: 2 * first.
    assert maps("grad-cam", image, never, [0])[0] == pytest.approx(np.array([[1, 0], [0, 0]]))
    assert maps("layer-cam", image, never, [0])[0] == pytest.approx(np.array([[0.5, 0], [0, 1]]))


def test_grad_cam_plus_plus_damps_what_adds_much() -> None:
    image = given([[[3, 0], [0, 0]], [[0, 0], [0, 1]]], [[2, 2], [0, 0]], [0.5, 0.5])
    # Weights 2 / (2 + 2 * 3) = 1/4 and 2 / (2 + 2 * 1) = 1/2, so 3/4 and 1/2.
    assert maps("grad-cam++", image, never, [0])[0] == pytest.approx(np.array([[1, 0], [0, 2 / 3]]))


def test_contrast_is_blind_to_what_all_classes_share() -> None:
    features = [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    shared = given(features, [[5, 1], [5, 0], [5, 0]], [0.2, 0.4, 0.4])
    assert maps("grad-cam", shared, never, [0])[0] == pytest.approx(np.array([[1, 0], [0, 0.2]]))
    assert maps("contrast-cam", shared, never, [0])[0] == pytest.approx(np.array([[0, 0], [0, 1]]))
    # The others count by their probability: 4 - (0.6 * 6 + 0.2 * 0) / 0.8 = -0.5, and 1 - 0.6 * 0 - 0.4 * 0 = 1.
    likely = given(features, [[4, 1], [6, 0], [0, 0]], [0.2, 0.6, 0.2])
    assert maps("contrast-cam", likely, never, [0])[0] == pytest.approx(np.array([[0, 0], [0, 1]]))
    # Against the second class alone, 4 - 6; against the third alone, 4 - 0.
    assert maps("contrast-cam", replace(likely, negative=(2,)), never, [0])[0] == pytest.approx(
        np.array([[1, 0], [0, 0.25]])
    )


def test_a_negative_class_speaks_against_all_others() -> None:
    image = replace(given([[[1]]], [[1], [1], [1]], [0.2, 0.3, 0.5]), negative=(1,))
    assert image.against(0) == [1]
    assert image.against(1) == [0, 2]
    assert replace(image, negative=()).against(0) == [1, 2]


def test_what_is_hidden_is_blurred_and_the_rest_is_not() -> None:
    rng = np.random.default_rng(1)
    tensor = rng.random((1, 40, 40), dtype=np.float32)
    halves = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]]], dtype=np.float32)
    left_hidden, none_hidden = partly_veiled(tensor, halves)
    np.testing.assert_allclose(none_hidden, tensor, atol=1e-6)
    # From the middle of the left cell, column 10, to that of the right one, column 30, it goes over.
    np.testing.assert_allclose(left_hidden[:, :, 30:], tensor[:, :, 30:], atol=1e-6)
    np.testing.assert_allclose(left_hidden[:, :, :10], veiled(tensor)[:, :, :10], atol=1e-6)
    assert veiled(tensor).std() < 0.2 * tensor.std()
