"""A model whose image network has forgotten what it has learnt, from its last layer on: for the test of its heat maps.

Adebayo et al., «Sanity Checks for Saliency Maps», NeurIPS 2018, section 3: cascading randomisation. The values of every
weight tensor are shuffled, so that they keep their distribution and the layers their range. It is done in OpenVINO's
graph of the ONNX file; torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.openvino_backend import OpenVinoNetwork, import_quietly

LAYERS = ("Convolution", "GroupConvolution", "MatMul")
SAME = 1e-4
"""Constants hold the same weights if the cosine between them is nearer to 1: in half precision they differ a bit."""


@dataclass(frozen=True)
class _Weights:
    """A constant of the network and the layer that it belongs to, counted from the input."""

    node: Any
    layer: int

    @property
    def values(self) -> FloatArray:
        return np.asarray(self.node.data, dtype=np.float32)


def randomised(model: Model, part: float, seed: int) -> Model:
    """The model with the last ``part`` of its image network's layers randomised: 0 the head alone, 1 every layer.

    Gradients that the file holds as constants, as they follow from the head's weights, follow the new ones.

    Raises:
        BundleError: OpenVINO can't read the network.
    """

    def change(graph: Any) -> None:
        _shuffle(graph, part, np.random.default_rng(seed))

    return model.with_network(OpenVinoNetwork(model.bundle.folder / model.bundle.network, change=change))


def _shuffle(graph: Any, part: float, rng: np.random.Generator) -> None:
    to_logits = _before(graph.output("logits").get_node())
    order = [node for node in graph.get_ordered_ops() if node.get_friendly_name() in to_logits]
    moving = _depends_on_image(order)
    layers = [node.get_friendly_name() for node in order if node.get_type_name() in LAYERS]
    number = {name: at for at, name in enumerate(layers)}
    weights = [
        _Weights(node, _layer_of(node, moving, number, to_logits))
        for node in order
        if _holds_weights(node) and node.get_friendly_name() not in moving
    ]
    first = len(layers) - max(1, round(part * len(layers)))
    twins = [
        node for node in graph.get_ops() if _holds_weights(node) and node.get_friendly_name() not in to_logits
    ]
    for one in weights:
        if one.layer >= first:
            old = one.values
            new = rng.permutation(old.ravel()).reshape(old.shape)
            for twin in twins:
                _follow(twin, old, new)
            _replace(one.node, new)


def _before(end: Any) -> set[str]:
    """The names of all nodes that a node rests on, itself included."""
    found, waiting = set(), [end]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found.add(node.get_friendly_name())
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return found


def _depends_on_image(order: list[Any]) -> set[str]:
    """The names of the nodes through which the image's values run; its shape alone does not count."""
    moving: set[str] = set()
    for node in order:
        sources = {port.get_source_output().get_node().get_friendly_name() for port in node.inputs()}
        if node.get_type_name() == "Parameter" or (sources & moving and node.get_type_name() != "ShapeOf"):
            moving.add(node.get_friendly_name())
    return moving


def _holds_weights(node: Any) -> bool:
    """Whether it is a constant of numbers; those of a network in integers are matrices of bytes."""
    if node.get_type_name() != "Constant" or int(np.prod(node.get_output_shape(0))) <= 1:
        return False
    kind = node.get_output_element_type(0)
    return bool(kind.is_real() or (kind.size == 1 and len(node.get_output_shape(0)) > 1))


def _layer_of(node: Any, moving: set[str], number: dict[str, int], known: set[str]) -> int:
    """The layer in which a constant meets the image's values: a bias is added to what its layer gives."""
    while node.get_friendly_name() not in moving:
        node = next(
            target.get_node()
            for output in node.outputs()
            for target in output.get_target_inputs()
            if target.get_node().get_friendly_name() in known
            and target.get_node().get_type_name() != "ShapeOf"
        )
    while node.get_friendly_name() not in number:
        behind = [port.get_source_output().get_node() for port in node.inputs()]
        after = [one for one in behind if one.get_friendly_name() in moving]
        if not after:
            return 0  # before the first layer
        node = after[0]
    return number[node.get_friendly_name()]


def _follow(twin: Any, old: FloatArray, new: FloatArray) -> None:
    """Change a constant that is a multiple of a block of a matrix, or of its transpose, as the matrix changes."""
    held = np.asarray(twin.data, dtype=np.float32)
    if old.ndim != 2 or held.ndim < 2 or held.size != np.prod(held.shape[-2:]):
        return
    matrix: npt.NDArray[Any] = held.reshape(held.shape[-2:])
    for before, after in ((old, new), (old.T, new.T)):
        rows, width = matrix.shape
        if before.shape[0] != rows or before.shape[1] < width:
            continue
        for start in range(before.shape[1] - width + 1):
            block = before[:, start : start + width]
            if (scale := _multiple(matrix, block)) is not None:
                _replace(twin, (scale * after[:, start : start + width]).reshape(held.shape))
                return


def _multiple(matrix: FloatArray, block: FloatArray) -> float | None:
    """By what a block is to be multiplied to be the matrix; None where that is nothing."""
    one, other = matrix.ravel().astype(np.float64), block.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    if lengths == 0 or abs(abs(one @ other) / lengths - 1) > SAME:
        return None
    return float(one @ other / (other @ other))


def _replace(node: Any, values: npt.NDArray[Any]) -> None:
    openvino = import_quietly()
    kind = node.get_output_element_type(0).to_dtype()
    constant = openvino.op.Constant(np.ascontiguousarray(values.astype(kind)))
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(constant.output(0))
