"""ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime

from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.network import cuda_index

CUDA = "CUDAExecutionProvider"


class OnnxNetwork:
    """An ONNX file in an ONNX Runtime session. Thread-safe; computes in float32 (on CUDA without TF32).

    Args:
        path: the ONNX file.
        device: ``auto`` (CUDA where this ONNX Runtime has it), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ResourceError: the device is not there.
        BundleError: the file can't be read.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        onnxruntime.disable_telemetry_events()
        available = onnxruntime.get_available_providers()
        index = cuda_index(device)
        if device == "auto" and CUDA in available:
            index = 0
        elif index is not None and CUDA not in available:
            raise ResourceError(
                f"runtime onnx: no device {device}; this ONNX Runtime has {', '.join(available)}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        chosen = [] if index is None else [(CUDA, {"device_id": index, "use_tf32": 0})]
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=[*chosen, "CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no nearer base class
            reason = str(error).strip().splitlines()[0]
            raise BundleError(f"{path}: ONNX Runtime can't open this network ({reason})") from error
        # ONNX Runtime falls back to the CPU where CUDA can't be started: only `auto` allows that.
        if device.startswith("cuda") and CUDA not in self._session.get_providers():
            raise ResourceError(f"runtime onnx: device {device} could not be started")
        self.inputs = tuple(port.name for port in self._session.get_inputs())
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, *batches: FloatArray) -> Mapping[str, FloatArray]:
        """Outputs by name for float32 batches, one per input."""
        named = dict(zip(self.inputs, batches, strict=True))
        return dict(zip(self._names, self._session.run(self._names, named), strict=True))
