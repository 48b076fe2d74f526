"""A patient-level classifier as an ONNX graph, drawn by hand.

The exporter unrolls an LSTM over a number of slices that it takes for fixed, or loops over steps; ONNX has an operator
for the whole of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pulmoscope.models.patient import (
    AttentionMaxPooling,
    AttentionPooling,
    LstmPooling,
    MaxPooling,
    MeanPooling,
    PatientClassifier,
)


class _Graph:
    """Nodes and constants as they are drawn."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Tensor | npt.NDArray[Any]) -> str:
        """A constant's name."""
        held = value.detach().numpy() if isinstance(value, Tensor) else value
        self.constants[name] = np.ascontiguousarray(held)
        return name

    def linear(self, layer: nn.Linear, rows: str, output: str) -> str:
        """A layer on (rows, inputs)."""
        weight = self.constant(f"{output}.weight", layer.weight)
        bias = self.constant(f"{output}.bias", layer.bias)
        return self.add("Gemm", [rows, weight, bias], output, transB=1)


def patient_graph(network: PatientClassifier, opset: int) -> onnx.ModelProto:
    """``slices`` (batch, slices, inputs) -> ``logits`` (batch, classes) and ``vector``, what its last layer gets.

    The values and their rounding are the network's own: no weight is changed.
    """
    graph, pooling, head = _Graph(), network.pooling, network.head
    if isinstance(pooling, LstmPooling):
        pooled = _lstm(graph, pooling.lstm)
    elif isinstance(pooling, AttentionPooling):
        pooled = _attention(graph, pooling)
    elif isinstance(pooling, AttentionMaxPooling):
        pooled = graph.add("Concat", [_attention(graph, pooling.attention), _most(graph)], "both", axis=1)
    elif isinstance(pooling, MeanPooling):
        assert head.hidden is None  # so that the mean is what the last layer gets
        pooled = graph.add("ReduceMean", ["slices", _over_slices(graph)], "vector", keepdims=0)
    else:
        pooled = _most(graph)
    vector = pooled
    if head.hidden is not None:
        vector = graph.add("Relu", [graph.linear(head.hidden, pooled, "hidden")], "vector")
    graph.linear(head.output, vector, "logits")
    sizes = {"logits": head.output.out_features, "vector": head.output.in_features}
    assembled = helper.make_graph(
        graph.nodes,
        "patient",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["batch", "slices", _inputs(network)])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in sizes.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    return helper.make_model(assembled, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _inputs(network: PatientClassifier) -> int:
    """The length of a slice's vector."""
    pooling = network.pooling
    if isinstance(pooling, LstmPooling):
        return pooling.lstm.input_size
    if isinstance(pooling, AttentionMaxPooling):
        return pooling.most.outputs
    assert isinstance(pooling, MaxPooling | MeanPooling | AttentionPooling)
    return pooling.outputs


def _over_slices(graph: _Graph) -> str:
    return graph.constant("over_slices", np.array([1], dtype=np.int64))


def _most(graph: _Graph) -> str:
    """The largest value of each dimension."""
    return graph.add("ReduceMax", ["slices", _over_slices(graph)], "most", keepdims=0)


def _lstm(graph: _Graph, lstm: nn.LSTM) -> str:
    """The mean over the slices of both directions' outputs, side by side."""

    def both(name: str) -> npt.NDArray[Any]:
        return np.stack(
            [_reordered(getattr(lstm, f"{name}_l0{way}").detach().numpy()) for way in ("", "_reverse")]
        )

    biases = np.concatenate([both("bias_ih"), both("bias_hh")], axis=1)
    constants = [
        graph.constant("lstm.inputs", both("weight_ih")),
        graph.constant("lstm.state", both("weight_hh")),
        graph.constant("lstm.biases", biases),
    ]
    steps = graph.add("Transpose", ["slices"], "steps", perm=[1, 0, 2])
    states = graph.add(
        "LSTM", [steps, *constants], "said", direction="bidirectional", hidden_size=lstm.hidden_size
    )
    axis = graph.constant("over_steps", np.array([0], dtype=np.int64))
    mean = graph.add("ReduceMean", [states, axis], "mean", keepdims=0)
    by_study = graph.add("Transpose", [mean], "by_study", perm=[1, 0, 2])
    return graph.add("Flatten", [by_study], "pooled", axis=1)


def _reordered(gates: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """torch's gates are input, forget, cell, output; ONNX's are input, output, forget, cell."""
    ingoing, forget, cell, outgoing = np.split(gates, 4)
    return np.concatenate([ingoing, outgoing, forget, cell])


def _attention(graph: _Graph, pooling: AttentionPooling) -> str:
    """The mean of the slices, each with its fraction."""

    def layer(linear: nn.Linear, name: str) -> str:
        weight = graph.constant(f"{name}.weight", linear.weight.T)
        return graph.add(
            "Add",
            [
                graph.add("MatMul", ["slices", weight], f"{name}.times"),
                graph.constant(f"{name}.bias", linear.bias),
            ],
            name,
        )

    content = graph.add("Tanh", [layer(pooling.content, "content")], "content.tanh")
    gate = graph.add("Sigmoid", [layer(pooling.gate, "gate")], "gate.sigmoid")
    gated = graph.add("Mul", [content, gate], "gated")
    score = graph.add("MatMul", [gated, graph.constant("score.weight", pooling.score.weight.T)], "score")
    weights = graph.add("Softmax", [score], "share", axis=1)
    shared = graph.add("Mul", [weights, "slices"], "shared")
    return graph.add("ReduceSum", [shared, _over_slices(graph)], "pooled", keepdims=0)
