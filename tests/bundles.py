"""Bundles small enough to write in a test, whose evidence is known by construction.

Class *k* is as likely as the *k*-th quadrant of the image is bright: upper left, upper right, lower left, lower
right. So the answer, its probability and the place of its evidence can be derived by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.kinds import Preprocess
from pulmoscope.preprocess.views import VIEW_SIZE, VIEWS
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.bundle import Bundle, Calibration, Thresholds, Validation
from pulmoscope.runtime.model import Model
from pulmoscope.segment.xray_lungs import FINDER_SIZE

GRID = 4
"""Rows and columns of the feature maps; a quadrant is 2 x 2 cells of them."""

PREPROCESS = XrayPreprocess(size=32, mean=0.0, std=1.0, channels=3)


def tiny_bundle(
    folder: Path,
    classes: tuple[str, ...] = ("COVID", "Normal"),
    *,
    single_logit: bool = False,
    gain: float = 40.0,
    temperature: float = 1.0,
    confidence: float = 0.5,
    distance: float | None = None,
    preprocess: Preprocess = PREPROCESS,
    modality: str = "XRAY",
    sources: Sequence[str] = (),
    name: str = "tiny",
    view: bool = False,
    training_data: Mapping[str, Any] | None = None,
    proven: bool = True,
    pattern: np.ndarray | None = None,
) -> Bundle:
    """Write a bundle into ``folder`` and give it back, sealed with checksums.

    With ``q_k`` the mean of the normalised image over quadrant *k*, logit *k* is ``gain / 4 * q_k``; with
    ``single_logit`` (two classes) the logit is ``gain / 4 * (q_1 - q_0)``. Feature map *k* is the image, averaged
    over a grid of 4 x 4 cells, within quadrant *k* and 0 elsewhere; the gradients are ``gain / 16`` on the
    diagonal. With ``distance`` the training images are said to have been nearly black. With ``view`` it has a view
    network, see :func:`write_view_network`. It is said to have been validated on enough patients, but for ``proven``.
    With ``pattern``, float32 (classes, cells, cells), feature map *k* is ``pattern[k]`` times the image, averaged over
    each cell, and logit *k* is ``gain`` times its mean.
    """
    assert 2 <= len(classes) <= 4
    folder.mkdir(parents=True, exist_ok=True)
    quarters = np.stack([quadrants((0,) * k + (1,), GRID) for k in range(len(classes))])
    weights = quarters if pattern is None else pattern
    onnx.save(_classifier(weights, single_logit, gain, preprocess), folder / "model.onnx")
    if preprocess.needs_finder:
        onnx.save(_lung_finder(), folder / "lungs.onnx")
    if view:
        write_view_network(folder / "view.onnx")
    if distance is not None:
        pooled = np.random.default_rng(1).normal(0.02, 0.001, (60, len(classes))).astype(np.float32)
        reference = Reference.fit(pooled, np.arange(60) % len(classes))
        (folder / "reference.npz").write_bytes(reference.to_bytes())
    (folder / "MODEL_CARD.md").write_text("# tiny\n\nDrawn by a test; reads no lungs.\n", encoding="utf-8")
    return Bundle(
        folder=folder,
        name=name,
        version="0.1",
        modality=modality,
        training_data={**({"sources": list(sources)} if sources else {}), **(training_data or {})},
        classes=classes,
        preprocess=preprocess,
        calibration=Calibration(temperature=temperature, fitted_on="nothing"),
        thresholds=Thresholds(confidence=confidence, distance=distance),
        validation=Validation(dict.fromkeys(classes, 100), 0.9, 0.85, 0.95) if proven else None,
        software={"onnx": onnx.__version__},
    ).save()


def write_view_network(path: Path) -> None:
    """A view network that takes a picture whose mean is below middle grey for a frontal radiograph, below a fifth for a
    child's, and any other for a CT slice; the distance is twice the mean."""
    weights, bias = np.zeros((1, len(VIEWS)), np.float32), np.full(len(VIEWS), -50, np.float32)
    for name, slope, start in (("child", -100.0, 20.0), ("frontal", 0.0, 0.0), ("ct", 100.0, -50.0)):
        weights[0, VIEWS.index(name)], bias[VIEWS.index(name)] = slope, start
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["logits"]),
        helper.make_node("Mul", ["mean", "two"], ["place"]),
    ]
    constants = {"weights": weights, "bias": bias, "two": np.array([2.0], dtype=np.float32)}
    shape: list[str | int] = ["batch", 1, VIEW_SIZE, VIEW_SIZE]
    outputs: dict[str, list[str | int]] = {"logits": ["batch", len(VIEWS)], "place": ["batch", 1]}
    onnx.save(_model(nodes, shape, outputs, constants), path)


def lung_preprocess() -> XrayPreprocess:
    """:data:`PREPROCESS` with the lung box; its finder takes whatever is darker than middle grey for lung."""
    return replace(PREPROCESS, region="lungs")


def quadrants(brightness: tuple[float, ...], size: int = 64) -> np.ndarray:
    """An image, float32 (size, size), whose quadrants have these brightnesses (missing ones are 0)."""
    image = np.zeros((size, size), dtype=np.float32)
    half = size // 2
    for index, value in enumerate(brightness):
        row, column = divmod(index, 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] = value
    return image


def _classifier(
    pattern: np.ndarray, single_logit: bool, gain: float, preprocess: Preprocess
) -> onnx.ModelProto:
    classes, cells = pattern.shape[:2]
    cell = preprocess.size // cells
    grey = np.full((classes, preprocess.channels, 1, 1), 1 / preprocess.channels, dtype=np.float32)
    mask = pattern.astype(np.float32)[None]
    head = gain * (np.array([[-1.0], [1.0]]) if single_logit else np.eye(classes)).astype(np.float32)
    logits = head.shape[1]
    constants = {
        "grey": grey,
        "mask": mask,
        "head": head,
        "weights": np.ascontiguousarray(head.T[None] / cells**2),
        "tail": np.array([logits, classes], dtype=np.int64),
    }
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("Conv", ["cells", "grey"], ["maps"]),
        helper.make_node("Mul", ["maps", "mask"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("MatMul", ["vector", "head"], ["logits"]),
        helper.make_node("Shape", ["logits"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "tail"], ["shape"], axis=0),
        helper.make_node("Expand", ["weights", "shape"], ["gradients"]),
    ]
    side = preprocess.size
    return _model(
        nodes,
        ["batch", preprocess.channels, side, side],
        {
            "logits": ["batch", logits],
            "features": ["batch", classes, cells, cells],
            "gradients": ["batch", logits, classes],
        },
        constants,
    )


def _lung_finder() -> onnx.ModelProto:
    shape = ["batch", 1, FINDER_SIZE, FINDER_SIZE]
    nodes = [
        helper.make_node("Sub", ["middle", "image"], ["dark"]),
        helper.make_node("Mul", ["dark", "gain"], ["logits"]),
    ]
    constants = {"middle": np.array([0.5], dtype=np.float32), "gain": np.array([10.0], dtype=np.float32)}
    return _model(nodes, shape, {"logits": shape}, constants)


def _model(
    nodes: list[onnx.NodeProto],
    image: list[str | int],
    outputs: dict[str, list[str | int]],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def slice_model(folder: Path) -> Model:
    """One of CT slices that compares the brightness of a picture's upper quarters."""
    preprocess = SlicePreprocess(size=32, region="full", window=False)
    tiny_bundle(folder, ("non-COVID", "COVID"), preprocess=preprocess, modality="CT", confidence=0.5)
    return Model.load(folder)
