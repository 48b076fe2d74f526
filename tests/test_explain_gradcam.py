from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundles import PREPROCESS, quadrants, tiny_bundle
from pulmoscope.core.types import Box
from pulmoscope.explain.gradcam import explain, grad_cam, place
from pulmoscope.runtime.model import Model

EIGHTHS = st.integers(-80, 80).map(lambda number: number / 8)


def explained(model: Model, pixels: np.ndarray, target: int) -> np.ndarray:
    prepared = model.prepare(pixels)
    outputs = model.predict(np.stack([np.zeros_like(prepared.tensor), prepared.tensor]))
    return explain(outputs, 1, prepared, target, *pixels.shape)


def test_weighted_sum_of_the_maps_without_its_negative_part() -> None:
    features = np.array([[[1, 2], [0, 4]], [[3, 0], [1, 1]]], dtype=np.float32)
    # 2 * first - 1 * second = [[-1, 4], [-1, 7]]; negative values are cut off, the rest is divided by 7
    cam = grad_cam(features, np.array([2, -1], dtype=np.float32))
    assert cam.dtype == np.float32
    assert cam == pytest.approx(np.array([[0, 4 / 7], [0, 1]]))


def test_no_evidence_is_no_heat() -> None:
    features = np.ones((2, 3, 3), dtype=np.float32)
    assert not grad_cam(features, np.array([-1, 0.5], dtype=np.float32)).any()
    assert not grad_cam(features, np.zeros(2, dtype=np.float32)).any()


def test_what_is_left_by_rounding_is_no_evidence() -> None:
    features = np.array([[[3.0]], [[1.0]]], dtype=np.float32)
    # 1/3 in single precision times 3, less 1: what should be nothing is not.
    assert not grad_cam(features, np.array([np.float32(1 / 3), -1], dtype=np.float32)).any()
    assert grad_cam(features, np.array([0.334, -1], dtype=np.float32)) == pytest.approx(np.ones((1, 1)))


@given(
    arrays.arrays(np.float32, (3, 4, 5), elements=EIGHTHS),
    arrays.arrays(np.float32, 3, elements=EIGHTHS),
    st.sampled_from([0.25, 2.0, 16.0]),
)
def test_in_0_to_1_and_blind_to_the_scale_of_the_logit(
    features: np.ndarray, weights: np.ndarray, scale: float
) -> None:
    cam = grad_cam(features, weights)
    assert cam.min() >= 0
    assert cam.max() in (0, 1)
    np.testing.assert_allclose(grad_cam(features, weights * np.float32(scale)), cam, atol=1e-4)


def test_the_centre_of_a_cell_is_placed_at_the_centre_of_its_area() -> None:
    cam = np.zeros((4, 4), dtype=np.float32)
    cam[1, 2] = 1
    heat = place(cam, Box(100, 20, 40, 80), 200, 150)
    # cells are 10 rows by 20 columns: this one's centre is at row 100 + 15, column 20 + 50, between two pixels
    assert heat.shape == (200, 150)
    rows, columns = np.mgrid[0:200, 0:150]
    assert (heat * (rows + 0.5)).sum() / heat.sum() == pytest.approx(115)
    assert (heat * (columns + 0.5)).sum() / heat.sum() == pytest.approx(70)
    assert heat[114:116, 69:71].min() > 0.9
    assert not heat[:100].any()
    assert not heat[140:].any()
    assert not heat[:, 100:].any()


@given(st.integers(-20, 30), st.integers(-20, 30), st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_a_constant_map_fills_just_the_part_of_the_box_within_the_image(
    top: int, left: int, height: int, width: int, rows: int
) -> None:
    heat = place(np.ones((3, 3), dtype=np.float32), Box(top, left, height, width), rows, 33)
    expected = np.zeros((rows, 33))
    expected[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = 1
    np.testing.assert_allclose(heat, expected, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (200, 120), (90, 301)])
@pytest.mark.parametrize("target", range(4))
def test_softmax_evidence_lies_where_it_was_built_in(
    tmp_path: Path, rows: int, columns: int, target: int
) -> None:
    classes = ("COVID", "Normal", "Tuberculosis", "Viral Pneumonia")
    model = Model(tiny_bundle(tmp_path, classes))
    pixels = np.full((rows, columns), 0.2, dtype=np.float32)
    row, column = divmod(target, 2)
    # the middle of the first row's second cell in the class's quadrant; a cell reaches an eighth to each side
    middle_row, middle_column = round((row / 2 + 0.125) * rows), round((column / 2 + 0.375) * columns)
    pixels[middle_row - 3 : middle_row + 3, middle_column - 3 : middle_column + 3] = 1
    heat = explained(model, pixels, target)
    assert heat.shape == (rows, columns)
    hottest = np.argwhere(heat >= 0.999 * heat.max())
    assert abs(hottest[:, 0] + 0.5 - middle_row).max() <= rows / 8 + 1
    assert abs(hottest[:, 1] + 0.5 - middle_column).max() <= columns / 8 + 1
    own = heat[row * rows // 2 :, column * columns // 2 :][: rows // 2, : columns // 2]
    assert own.sum() > 0.75 * heat.sum()


def test_evidence_within_a_crop_is_placed_in_the_whole_image(tmp_path: Path) -> None:
    preprocess = replace(PREPROCESS, region="square", edge=0.1)
    model = Model(tiny_bundle(tmp_path, preprocess=preprocess))
    pixels = np.zeros((100, 160), dtype=np.float32)
    # the centre square less a tenth a side is rows 10 to 90, columns 40 to 120: COVID's quadrant is its upper left
    pixels[10:30, 40:60] = 1
    heat = explained(model, pixels, 0)
    assert heat[15, 45] > 0.95
    assert not heat[:10].any()
    assert not heat[:, :40].any()
    assert not heat[60:].any()


def test_a_single_logit_speaks_for_both_classes_with_opposite_signs(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, single_logit=True))
    pixels = quadrants((0.8, 0.6), 64)
    first, second = explained(model, pixels, 0), explained(model, pixels, 1)
    # the logit is that of the second class: up with the upper right quadrant, down with the upper left one
    assert first[8, 8] == pytest.approx(1, abs=1e-5)
    assert second[8, 56] == pytest.approx(1, abs=1e-5)
    assert not first[:, 40:].any()
    assert not second[:, :24].any()
    assert not first[40:].any()


def test_a_class_that_nothing_speaks_for_has_no_heat(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path))
    assert not explained(model, quadrants((0.9, 0.0), 64), 1).any()


def test_the_exported_gradients_give_torch_s_own_grad_cam(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(3)
    hidden, head = rng.normal(0, 1, (6, 5)), rng.normal(0, 1, (5, 3))
    features = rng.normal(0, 1, (4, 6, 7, 7)).astype(np.float32)
    # by hand, in torch: a hidden ReLU layer on pooled maps; equation 1 by autograd
    maps = torch.tensor(features, requires_grad=True)
    logits = torch.relu(maps.mean((2, 3)) @ torch.tensor(hidden, dtype=torch.float32)) @ torch.tensor(
        head, dtype=torch.float32
    )
    # the same network's gradients as a graph of ONNX operators: W1 (ReLU' (W1' v) * W2) / area
    path = tmp_path / "gradients.onnx"
    onnx.save(_gradient_graph(onnx, hidden, head, 49), path)
    from pulmoscope.runtime.network import open_network

    weights = open_network(path)(features)["gradients"]
    for image in range(4):
        for target in range(3):
            (gradient,) = torch.autograd.grad(logits[image, target], maps, retain_graph=True)
            expected = torch.relu((gradient[image].mean((1, 2))[:, None, None] * maps[image]).sum(0)).detach()
            expected = (expected / expected.max().clamp_min(1e-12)).numpy()
            np.testing.assert_allclose(grad_cam(features[image], weights[image, target]), expected, atol=1e-4)


def _gradient_graph(onnx, hidden: np.ndarray, head: np.ndarray, area: int):  # type: ignore[no-untyped-def]
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = {
        "hidden": hidden.astype(np.float32),
        "hidden_t": hidden.T[None].astype(np.float32),
        "head_t": head.T[None].astype(np.float32) / area,
        "axis": np.array([1], dtype=np.int64),
        "zero": np.zeros(1, dtype=np.float32),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("MatMul", ["vector", "hidden"], ["before"]),
        helper.make_node("Greater", ["before", "zero"], ["on"]),
        helper.make_node("Cast", ["on"], ["gate"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["gate", "axis"], ["gates"]),
        helper.make_node("Mul", ["gates", "head_t"], ["open"]),
        helper.make_node("MatMul", ["open", "hidden_t"], ["gradients"]),
    ]
    inputs = [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["b", *(6, 7, 7)])]
    outputs = [helper.make_tensor_value_info("gradients", onnx.TensorProto.FLOAT, ["b", 3, 6])]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "gradients", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
