"""int8: a network's layers in integers of eight bits, by NNCF's post-training quantisation of its ONNX file.

Jacob et al., «Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference», CVPR 2018,
section 2: how values become integers. The file holds ``QuantizeLinear`` and ``DequantizeLinear``, which OpenVINO and
ONNX Runtime run in integers.

Weights have seven bits (NNCF's «overflow fix»): with eight, CPUs without VNNI add two products in 16 bits, which
overflow, and answers would depend on the machine. The last layer stays in single precision, as the gradients of the
heat maps follow from its weights; and so do as many of the first ones as it takes: errors made there run through the
whole network.
"""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import numpy as np
import onnx

from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.onnx_weights import drop_unused, widen_stored_weights
from pulmoscope.runtime.openvino_backend import import_quietly

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
STEPS = (0, 1 / 6, 1 / 3, 1 / 2)
"""Which part of the layers, the first ones, stays in single precision, one try after the other."""


def tries(layers: int) -> list[int]:
    """How many of a network's first layers stay in single precision, one try after the other; one layer is left."""
    return [kept for kept in dict.fromkeys(round(step * layers) for step in STEPS) if kept + 1 < layers]


def layers_of(path: Path) -> list[str]:
    """The names of the layers of a network that have weights, from its input on."""
    return [node.name for node in _named(path).graph.node if node.op_type in LAYERS]


def _named(path: Path) -> onnx.ModelProto:
    """A network each node of which has a name, as NNCF goes by names."""
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model


def quantised(path: Path, inputs: FloatArray, kept: int) -> bytes:
    """A network in integers, as the content of an ONNX file.

    Args:
        path: the network, with one input.
        inputs: float32 (n, …), by which the ranges of all values are set.
        kept: how many of the first layers stay in single precision, besides the last.

    Raises:
        ModuleNotFoundError: NNCF is not installed.
    """
    import_quietly()  # first: NNCF imports OpenVINO, and would send telemetry as it does
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    nncf.set_log_level(logging.ERROR)
    model = _named(path)
    widen_stored_weights(model.graph)
    drop_unused(model.graph)
    names = layers_of(path)
    name = model.graph.input[0].name
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        made = nncf.quantize(
            model,
            nncf.Dataset([{name: one[None]} for one in inputs]),
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=list(dict.fromkeys([*names[:kept], names[-1]]))),
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )
    drop_unused(made.graph)
    return bytes(made.SerializeToString())


def halved(path: Path) -> bytes:
    """A network whose weights are stored in half precision, as an ONNX file's content; most are stored so anyway."""
    model = onnx.load(path)
    graph = model.graph
    for weight in list(graph.initializer):
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        with np.errstate(over="ignore"):  # such a network is refused for what it answers
            name, half = weight.name, onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        cast = onnx.helper.make_node(
            "Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)
    return bytes(model.SerializeToString())
