"""The weights of an ONNX file, which bundles store in half precision to halve their size."""

from __future__ import annotations

import numpy as np
import onnx


def widen_stored_weights(graph: onnx.GraphProto) -> None:
    """Replace each weight that is stored as float16 and cast to float32 by the float32 weight, in place.

    Some tools want a layer's weights as such, not as a cast's result.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        if node.attribute[0].i == onnx.TensorProto.FLOAT:
            wide = onnx.numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            graph.initializer.append(onnx.numpy_helper.from_array(wide, node.output[0]))
            graph.node.remove(node)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the weights that no node takes, in place."""
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for weight in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(weight)
