"""A bundle of severity small enough to write in a test, whose answers can be derived by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.runtime.bundle import Bundle, Thresholds
from pulmoscope.runtime.votes import DENSITIES, VOTES, PatientLevel

CLASSES = ("CT-0", "CT-1", "CT-2", "CT-3")
SIZE = 32
SLOPES = np.array([[0.0, 10.0, 20.0, 30.0]], dtype=np.float32)
OFFSETS = np.array([0.0, -1.0, -3.0, -6.0], dtype=np.float32)
"""A slice's logits: its mean grey times SLOPES plus OFFSETS. CT-1 wins from 0.1 on, CT-2 from 0.2, CT-3 from 0.3."""
ATTENTION = np.array([[30.0, 20.0, 10.0, 0.0]], dtype=np.float32)
REGRESSION = np.array([[0.0, 10.0, 20.0, 40.0]], dtype=np.float32)
"""The patient's logits by attention are the mean of all slices' grey times the first: it says CT-0 always. Those by
regression are the share that is lighter than 1/12 times the second: CT-3, unless all is dark."""


def tiny_severity_bundle(
    folder: Path,
    *,
    vote: str = "majority",
    imputer: str = "linear",
    anomalous_from: float | None = None,
    sources: tuple[str, ...] = ("phantom",),
    **preprocess: float,
) -> Bundle:
    """Write a bundle into ``folder``.

    Args:
        anomalous_from: with an anomaly network, whose score is a slice's mean grey: the greatest normal one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_slice(), folder / "model.onnx")
    onnx.save(_vote(ATTENTION, 0), folder / "attention.onnx")
    onnx.save(_vote(REGRESSION, 1), folder / "regression.onnx")
    anomaly = None
    if anomalous_from is not None:
        onnx.save(_anomaly(), folder / "anomaly.onnx")
        anomaly = {"value": anomalous_from, "false_alarms": 0.05, "slices": 100, "studies": 10}
    return Bundle(
        folder=folder,
        name="tiny-severity",
        version="0.1",
        modality="CT",
        classes=CLASSES,
        preprocess=Standardisation(size=SIZE, mean=0.0, std=1.0, **preprocess),  # type: ignore[arg-type]
        patient=PatientLevel(VOTES, vote, vectors="densities"),
        imputer=imputer,
        anomaly=anomaly,
        thresholds=Thresholds(0.3),
        training_data={"sources": dict.fromkeys(sources, 3)},
    ).save()


def _slice() -> onnx.ModelProto:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["features"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["features"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "slopes", "offsets"], ["logits"]),
        helper.make_node("Shape", ["logits"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "tail"], ["shape"], axis=0),
        helper.make_node("Expand", ["slope", "shape"], ["gradients"]),
    ]
    constants = {
        "slopes": SLOPES,
        "offsets": OFFSETS,
        "tail": np.array([4, 1], dtype=np.int64),
        "slope": SLOPES.T[None] / np.float32(16),
    }
    outputs = {"logits": ["batch", 4], "features": ["batch", 1, 4, 4], "gradients": ["batch", 4, 1]}
    return _model(nodes, ("image", ["batch", 1, SIZE, SIZE]), outputs, constants)


def _vote(weights: np.ndarray, column: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Slice", ["slices", "first", "second", "last"], ["grey"]),
        helper.make_node("ReduceMean", ["grey", "axis"], ["vector"], keepdims=0),
        helper.make_node("MatMul", ["vector", "weights"], ["logits"]),
    ]
    places = {"axis": 1, "first": column, "second": column + 1, "last": 2}
    constants = {"weights": weights, **{name: np.array([at], dtype=np.int64) for name, at in places.items()}}
    outputs = {"logits": ["batch", 4], "vector": ["batch", 1]}
    return _model(nodes, ("slices", ["batch", "slices", 1 + DENSITIES]), outputs, constants)


def _anomaly() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["slices", "axes"], ["score"], keepdims=0),
        helper.make_node("Identity", ["slices"], ["residual"]),
    ]
    constants = {"axes": np.array([1, 2, 3], dtype=np.int64)}
    outputs = {"score": ["batch"], "residual": ["batch", 1, SIZE, SIZE]}
    return _model(nodes, ("slices", ["batch", 1, SIZE, SIZE]), outputs, constants)


def _model(
    nodes: list[onnx.NodeProto],
    taken: tuple[str, list[str | int]],
    outputs: dict[str, list[str | int]],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(taken[0], TensorProto.FLOAT, taken[1])],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, own) for key, own in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
