"""From a torch network to ``model.onnx``, and the proof that the file says what torch says.

Weights are stored in half precision and computed in single (``docs/decisions/0002``): BatchNorm is folded into the
convolution before it, the weights are rounded to half *in torch*, and the exporter's file is then narrowed without any
loss. So torch and the file hold the very same numbers and must agree to rounding errors of the arithmetic alone.
"""

from __future__ import annotations

import copy
import importlib.util
import tempfile
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import FloatArray
from pulmoscope.models.anogan import AnomalyNetwork
from pulmoscope.models.classifier import Classifier
from pulmoscope.models.patient import Ensemble, PatientClassifier
from pulmoscope.models.unet import UNet
from pulmoscope.models.view import ViewNetwork
from pulmoscope.runtime.network import Runtime, open_network
from pulmoscope.training.onnx.patient import patient_graph

OPSET = 18
RUNTIMES: Mapping[Runtime, str] = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "onnx2torch"}
"""What a file is verified with, and the package that each needs; all but the first are extras."""

Exportable = Classifier | UNet | ViewNetwork | PatientClassifier | Ensemble | AnomalyNetwork


@dataclass(frozen=True)
class Contract:
    """What a kind of network's file takes and gives.

    Attributes:
        input: the name of its one input.
        outputs: the names of what ``explainable`` gives, the answer itself first.
        runtimes: those that can run it.
    """

    input: str
    outputs: tuple[str, ...]
    runtimes: tuple[Runtime, ...] = ("openvino", "onnx", "torch")


CONTRACTS: Mapping[type[nn.Module], Contract] = {
    UNet: Contract("image", ("logits",)),
    ViewNetwork: Contract("image", ("logits", "place")),
    # onnx2torch knows no LSTM: patients are classified by the other two, whatever runs the slices.
    PatientClassifier: Contract("slices", ("logits", "vector"), ("openvino", "onnx")),
    Ensemble: Contract("scores", ("logits",), ("openvino", "onnx")),
    AnomalyNetwork: Contract("slices", ("score", "residual")),
}

SMALL_BYTES = 1024
"""Tensors up to this size stay in single precision: nothing is won by narrowing them."""

TOLERANCE = 1e-3
"""Largest difference between the file's outputs and torch's, in standard deviations of the output."""

ROOM = 20
"""How many times what torch itself loses by computing in single precision a runtime may be away from it, where that is
more than :data:`TOLERANCE`: some networks answer noise with huge activations, which no two libraries round alike."""

ROUNDING_TOLERANCE = 0.05
"""Largest change of an answer (a logit, mostly) by storing the weights in half precision, in standard deviations of the
answers; beyond it they are stored in single precision."""


def contract_of(network: Exportable) -> Contract:
    """What this network's file takes and gives."""
    if isinstance(network, Classifier):
        return Contract("image", network.outputs)
    return CONTRACTS[type(network)]


def write_onnx(network: Exportable, path: Path, images: FloatArray) -> Mapping[str, float]:
    """Write a trained network as ONNX, and check it on a fixed set of inputs with every installed runtime.

    Args:
        network: on the CPU, in eval mode; it is left as it is.
        path: the file to write. Where the check fails it is removed.
        images: float32 (n, …), what to check with: images, or what else the network takes.

    Returns:
        runtime → largest difference found, in standard deviations; ``half``: the change by rounding the weights, where
        they are stored in half precision.

    Raises:
        BundleError: the file's outputs differ from torch's.
    """
    trained = outputs(network, images)
    stored = folded(network, images[:1], half=True)
    answer = contract_of(network).outputs[0]
    differences = {"half": difference(outputs(stored, images)[answer], trained[answer])}
    if not differences["half"] <= ROUNDING_TOLERANCE:
        # Half precision can't hold these weights: the file is twice as large then, and says what was trained.
        stored, differences = folded(network, images[:1], half=False), {}
    expected = outputs(stored, images)
    exact = outputs(copy.deepcopy(stored).double(), images.astype(np.float64))
    lost = max(difference(expected[name], exact[name]) for name in expected)
    write_bytes(path, narrowed(pooled(traced(stored, images[:2]))).SerializeToString())
    tolerance = min(ROUNDING_TOLERANCE, max(TOLERANCE, ROOM * lost))
    return differences | verify(path, expected, images, tolerance, contract_of(network).runtimes)


def verify(
    path: Path,
    expected: Mapping[str, FloatArray],
    images: FloatArray,
    tolerance: float = TOLERANCE,
    runtimes: Collection[Runtime] = tuple(RUNTIMES),
) -> dict[str, float]:
    """Compare an ONNX file's outputs with the expected ones on every one of these runtimes that is installed.

    Returns:
        runtime → largest difference of any output, in standard deviations of that output.

    Raises:
        BundleError: they differ by more than ``tolerance``; the file is removed.
    """
    worst: dict[str, float] = {}
    for runtime in [
        name_of_runtime
        for name_of_runtime in RUNTIMES
        if name_of_runtime in runtimes and importlib.util.find_spec(RUNTIMES[name_of_runtime])
    ]:
        computed = open_network(path, runtime, "cpu")(images)
        for name in expected:
            apart = difference(computed[name], expected[name])
            if not apart <= tolerance:
                path.unlink()
                raise BundleError(
                    f"{path}: export refused: {name} on {runtime} must equal torch's within {tolerance:.2g} of "
                    f"their spread (found: {apart:.2g})"
                )
            worst[runtime] = max(worst.get(runtime, 0.0), apart)
    return worst


def outputs(network: Exportable, images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """What torch says of (n, …), in the network's precision; see :func:`contract_of`."""
    with torch.no_grad():
        values = network.explainable(torch.from_numpy(images))
    return {name: value.numpy() for name, value in zip(contract_of(network).outputs, values, strict=True)}


def difference(computed: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Largest absolute difference, in standard deviations of ``expected`` (infinite where the shapes differ)."""
    if computed.shape != expected.shape:
        return float("inf")
    return float(np.abs(computed - expected).max()) / (float(expected.std()) or 1.0)


def folded(network: Exportable, image: FloatArray, *, half: bool) -> Exportable:
    """A copy with BatchNorm folded away; with ``half``, filters and matrices rounded to what half precision has."""
    stored = copy.deepcopy(network).eval()
    for convolution, norm in _folding_pairs(stored, torch.from_numpy(image)):
        _fold(convolution, norm)
    with torch.no_grad():
        for weight in stored.parameters():
            if half and weight.ndim >= 2:
                weight.copy_(weight.half().float())
    return stored


def _folding_pairs(network: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every BatchNorm whose input is what a convolution put out, seen while one image runs through."""
    made: list[tuple[Tensor, nn.Conv2d]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        made.append((output, module))

    def before_norm(module: nn.BatchNorm2d, arguments: tuple[Tensor, ...]) -> None:
        pairs.extend((convolution, module) for output, convolution in made if output is arguments[0])

    handles = [
        module.register_forward_hook(after_convolution)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(before_norm)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return pairs


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Move a BatchNorm's statistics into the convolution before it, and leave the identity (eps 0) in its place."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    norm.reset_running_stats()
    norm.eps = 0.0
    with torch.no_grad():
        norm.weight.fill_(1)
        norm.bias.fill_(0)


class _Explainable(nn.Module):
    """A network whose forward is ``explainable``: what is exported."""

    def __init__(self, network: Exportable) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.network.explainable(image)


def traced(network: Exportable, images: FloatArray) -> onnx.ModelProto:
    """The ONNX model, float32, with any batch size (and of studies any number of slices).

    ``images`` holds two images: a single one would let the exporter take the batch size for a constant.
    """
    if isinstance(network, PatientClassifier):
        return patient_graph(network, OPSET)
    contract = contract_of(network)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # torch 2.13's exporter calls its own deprecated helper; nothing that we could write differently.
        warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            _Explainable(network).eval(),
            (torch.from_numpy(images),),
            path,
            input_names=[contract.input],
            output_names=list(contract.outputs),
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return onnx.load(path)


def pooled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Say GlobalAveragePool where the exporter says mean over rows and columns: onnx2torch knows no other.

    Changes ``model`` and gives it back.
    """
    graph = model.graph
    constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "ReduceMean" or sorted(constants[node.input[1]] % 4) != [2, 3]:
            continue
        kept = next((one.i for one in node.attribute if one.name == "keepdims"), 1)
        image, result = node.input[0], node.output[0]
        maps = result if kept else f"{result}.maps"
        node.CopyFrom(helper.make_node("GlobalAveragePool", [image], [maps], name=node.name))
        if not kept:
            flat = helper.make_node("Flatten", [maps], [result], name=f"{node.name}.flat")
            graph.node.insert(list(graph.node).index(node) + 1, flat)
    used = {name for node in graph.node for name in node.input}
    for weight in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(weight)
    return model


def narrowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store every float32 weight above :data:`SMALL_BYTES` that half precision holds exactly as half and a Cast.

    The exporter's notes (source lines, module names) are dropped. Changes ``model`` and gives it back.
    """
    graph = model.graph
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        single = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = single.astype(np.float16)
        if single.nbytes <= SMALL_BYTES or not np.array_equal(half.astype(np.float32), single):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        cast = helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model
