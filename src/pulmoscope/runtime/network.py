"""One callable over three runtimes: batch in, named outputs out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.precision import Precision

Runtime = Literal["auto", "openvino", "onnx", "torch"]


class Network(Protocol):
    """An opened ONNX file, or one in OpenVINO's format."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs' names, in the file's order."""
        ...

    def __call__(self, *batches: FloatArray) -> Mapping[str, FloatArray]:
        """Outputs by name for float32 batches of one length, one per input in the file's order."""
        ...


def open_network(
    path: Path, runtime: Runtime = "auto", device: str = "auto", precision: Precision = "fp32"
) -> Network:
    """Open an ONNX file; ``auto`` is OpenVINO on a CPU, and torch where a CUDA device is asked for.

    Args:
        path: the file; one in OpenVINO's format (``.xml``) is for OpenVINO alone.
        precision: ``bf16`` is computed by OpenVINO on a CPU that has it; whatever else runs the network computes in
            single precision what the file does not have in integers.

    Raises:
        ResourceError: the runtime is not installed or can't be loaded, or the device is not there.
        BundleError: the runtime can't read the file.
    """
    runtime = resolved(runtime, device)
    if path.suffix == ".xml" and runtime != "openvino":
        raise BundleError(
            f"{path}: is in OpenVINO's format, which runtime {runtime} can't read (export --to onnx writes one for all)"
        )
    try:
        if runtime == "openvino":
            from pulmoscope.runtime.openvino_backend import OpenVinoNetwork

            return OpenVinoNetwork(path, device, precision=precision)
        if runtime == "onnx":
            from pulmoscope.runtime.onnx_backend import OnnxNetwork

            return OnnxNetwork(path, device)
        from pulmoscope.runtime.torch_backend import TorchNetwork

        return TorchNetwork(path, device)
    except ModuleNotFoundError as error:
        extra = {"openvino": "", "onnx": "[onnx]", "torch": "[torch]"}[runtime]
        raise ResourceError(
            f"runtime {runtime}: {error.name} is not installed; pip install 'pulmoscope{extra}'"
        ) from error
    except (ImportError, OSError) as error:  # a shared library is missing; torch tells so by OSError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ResourceError(f"runtime {runtime}: can't be loaded ({reason})") from error


def resolved(runtime: Runtime, device: str) -> Runtime:
    """The runtime that ``auto`` stands for with a device; any other as it is."""
    if runtime != "auto":
        return runtime
    return "torch" if device.startswith("cuda") else "openvino"


def cuda_index(device: str) -> int | None:
    """The number of the CUDA device that ``cuda`` (0) or ``cuda:N`` names; None for ``auto`` and ``cpu``.

    Raises:
        ResourceError: it is none of these.
    """
    if device in ("auto", "cpu"):
        return None
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ResourceError(f"device must be auto, cpu, cuda or cuda:N (found: {device})")
    return int(number or "0")
