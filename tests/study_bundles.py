"""A bundle of three levels small enough to write in a test, whose answers can be derived by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.runtime.bundle import Bundle, Calibration, Thresholds
from pulmoscope.runtime.votes import PatientLevel

CLASSES = ("CAP", "COVID", "Normal")
VOTES = ("maxpool", "maxpool-weighted")
SIZE = 32
PREPROCESS = CtPreprocess(size=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

SLICE = np.array([[8.0, 0.0, -8.0], [0.0, 4.0, 0.0], [1.0, 1.0, 1.0]], dtype=np.float32)
"""Logits of a slice are its mean grey in each channel times this."""
PLAIN = np.array([[5.0, 0.0, 0.0], [0.0, -3.0, 1.0], [0.0, 0.0, 2.0]], dtype=np.float32)
WEIGHTED = np.arange(27, dtype=np.float32).reshape(9, 3) % 5 - 2
ENSEMBLE = np.vstack([np.eye(3), 2 * np.eye(3)]).astype(np.float32)


def tiny_study_bundle(
    folder: Path,
    temperature: float = 2.0,
    sources: tuple[str, ...] = ("phantom",),
    confidence: float = 0.5,
) -> Bundle:
    """Write a bundle into ``folder``. With ``m`` the mean grey of each channel of a slice (all channels are equal):

    - the slice's logits are ``m @ SLICE``, its vector is ``m``;
    - ``maxpool`` gives ``max(vectors) @ PLAIN``, ``maxpool-weighted`` ``max(weighted vectors) @ WEIGHTED``;
    - the ensemble gives ``[maxpool, maxpool-weighted] @ ENSEMBLE`` of their probabilities.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_slice(), folder / "model.onnx")
    onnx.save(_patient(PLAIN), folder / "maxpool.onnx")
    onnx.save(_patient(WEIGHTED), folder / "maxpool-weighted.onnx")
    onnx.save(_ensemble(), folder / "ensemble.onnx")
    return Bundle(
        folder=folder,
        name="tiny-three",
        version="0.1",
        modality="CT",
        classes=CLASSES,
        preprocess=PREPROCESS,
        patient=PatientLevel(VOTES, "ensemble", VOTES),
        calibration=Calibration(temperature, "nothing"),
        thresholds=Thresholds(confidence),
        training_data={"sources": dict.fromkeys(sources, 3)},
    ).save()


def _slice() -> onnx.ModelProto:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["means"]),
        helper.make_node("Flatten", ["means"], ["vector"]),
        helper.make_node("MatMul", ["vector", "weights"], ["logits"]),
        helper.make_node("Shape", ["logits"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "tail"], ["shape"], axis=0),
    ]
    outputs: dict[str, list[str | int]] = {"logits": ["batch", 3], "vector": ["batch", 3]}
    for stage, side in ((3, 4), (4, 8), (5, 16)):
        nodes.append(
            helper.make_node(
                "AveragePool", ["image"], [f"features_{stage}"], kernel_shape=[side] * 2, strides=[side] * 2
            )
        )
        nodes.append(helper.make_node("Expand", [f"slope_{stage}", "shape"], [f"gradients_{stage}"]))
        outputs[f"features_{stage}"] = ["batch", 3, SIZE // side, SIZE // side]
        outputs[f"gradients_{stage}"] = ["batch", 3, 3]
    constants = {"weights": SLICE, "tail": np.array([3, 3], dtype=np.int64)}
    constants |= {
        f"slope_{stage}": SLICE.T[None] / np.float32((SIZE // side) ** 2)
        for stage, side in ((3, 4), (4, 8), (5, 16))
    }
    return _model(nodes, "image", ["batch", 3, SIZE, SIZE], outputs, constants)


def _patient(weights: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMax", ["slices", "axis"], ["vector"], keepdims=0),
        helper.make_node("MatMul", ["vector", "weights"], ["logits"]),
    ]
    inputs = len(weights)
    constants = {"weights": weights, "axis": np.array([1], dtype=np.int64)}
    outputs: dict[str, list[str | int]] = {"logits": ["batch", 3], "vector": ["batch", inputs]}
    return _model(nodes, "slices", ["batch", "slices", inputs], outputs, constants)


def _ensemble() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["scores", "weights"], ["logits"])]
    return _model(nodes, "scores", ["batch", 6], {"logits": ["batch", 3]}, {"weights": ENSEMBLE})


def _model(
    nodes: list[onnx.NodeProto],
    name: str,
    shape: list[str | int],
    outputs: dict[str, list[str | int]],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, own) for key, own in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
