"""PyTorch, on the CPU or a CUDA device, from the same ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.network import cuda_index
from pulmoscope.runtime.onnx_weights import widen_stored_weights
from pulmoscope.runtime.torchvision_shim import declare_missing_operators

declare_missing_operators()

import onnx  # noqa: E402  (onnx2torch imports torchvision, so the operators must be there first)
import onnx2torch  # noqa: E402


class TorchNetwork:
    """An ONNX file as a torch module in inference mode, in float32.

    On CUDA convolutions are computed without TF32, for the whole process: an answer must not depend on the device.

    Args:
        path: the ONNX file.
        device: ``auto`` (CUDA where it is), ``cpu``, ``cuda`` or ``cuda:N``.
        bf16: convolutions and matrices are multiplied in bfloat16, as a CPU that has it does; on any CPU, slowly.

    Raises:
        ResourceError: the device is not there.
        BundleError: the file can't be read, or has an operator that onnx2torch does not know.
    """

    def __init__(self, path: Path, device: str = "auto", *, bf16: bool = False) -> None:
        self._bf16 = bf16
        index = cuda_index(device)
        if device == "auto" and torch.cuda.is_available():
            index = 0
        if index is not None and index >= torch.cuda.device_count():
            raise ResourceError(
                f"runtime torch: no device {device}; torch sees {torch.cuda.device_count()} CUDA device(s)"
            )
        self._device = torch.device("cpu" if index is None else f"cuda:{index}")
        if index is not None:
            torch.backends.cudnn.allow_tf32 = False
        model, module = _read(path)
        self._module = module.to(self._device)
        stored = {tensor.name for tensor in model.graph.initializer}
        self.inputs = tuple(port.name for port in model.graph.input if port.name not in stored)
        self._names = [output.name for output in model.graph.output]

    def __call__(self, *batches: FloatArray) -> Mapping[str, FloatArray]:
        """Outputs by name for float32 batches, one per input."""
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            outputs = self._module(*(torch.from_numpy(batch).to(self._device) for batch in batches))
            tensors = [outputs] if isinstance(outputs, torch.Tensor) else outputs
            return {
                name: tensor.float().cpu().numpy() for name, tensor in zip(self._names, tensors, strict=True)
            }


def torch_module(path: Path) -> tuple[torch.nn.Module, list[str]]:
    """An ONNX file as a torch module on the CPU, in inference mode, and the names of its outputs.

    Raises:
        BundleError: the file can't be read, or has an operator that onnx2torch does not know.
    """
    model, module = _read(path)
    return module, [output.name for output in model.graph.output]


def _read(path: Path) -> tuple[onnx.ModelProto, torch.nn.Module]:
    try:
        model = onnx.load(path)
        widen_stored_weights(model.graph)
        return model, onnx2torch.convert(model).eval()
    except Exception as error:  # protobuf's and onnx2torch's errors share no nearer base class
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"{path}: torch can't read this network ({reason})") from error
