"""OpenVINO on the CPU: the default runtime, quick to start, and silent on the network."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.core.threads import asked_for
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.compiled_cache import cached, keep
from pulmoscope.runtime.precision import Precision

_importing = threading.Lock()


def import_quietly() -> Any:
    """Import OpenVINO without its model converter, and so without its telemetry.

    ``import openvino`` also imports ``openvino.tools.ovc``, which sends an «import» event to Google Analytics
    through ``openvino_telemetry`` unless the user has opted out. OpenVINO takes both modules for optional, so an
    entry None in ``sys.modules``, which lets their import fail, is all it takes. The converter is given free again
    (without telemetry it uses its own stub); telemetry stays shut for the life of the process. It halves the time
    of the import, too.

    The first use of a tensor's ``data`` is made here, by one thread: OpenVINO 2026.4 deadlocks when two threads make
    it at once (a static that is initialised on first use gives up the interpreter lock meanwhile).
    """
    converter = "openvino.tools.ovc"
    with _importing:
        new = sys.modules.get("openvino") is None
        if new:
            blocked: dict[str, ModuleType | None] = {converter: None, "openvino_telemetry": None}
            sys.modules.update(blocked)  # type: ignore[arg-type]  # None is the documented way to halt an import
        try:
            import openvino
        finally:
            if new:
                del sys.modules[converter]
        openvino.Tensor(np.zeros(1, dtype=np.float32)).data  # noqa: B018
        return openvino


def capabilities() -> tuple[str, ...]:
    """What OpenVINO computes with on this CPU: ``FP32``, ``BF16`` where it has instructions for it, ``INT8`` …"""
    return tuple(import_quietly().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class OpenVinoNetwork:
    """An ONNX file, or one in OpenVINO's format, compiled for the CPU, or taken from the cache. Thread-safe.

    Computes in float32, also where the CPU has bfloat16, unless the bundle was verified with it: an answer must not
    depend on the machine more than was measured. Images are run
    one by one, as many at a time as OpenVINO has streams (one a core on small machines): on a CPU that is as quick
    as a batch or quicker (MobileNetV2 at 224 x 224 on 2 cores: 224 images/s against 110 in batches of 32), takes no
    memory for the batch, and makes a batch equal to its images one by one to the last bit.

    Args:
        path: the ONNX file; its inputs have the batch as first axis.
        device: ``auto`` or ``cpu``.
        change: called with OpenVINO's model before it is compiled.
        precision: ``bf16`` is computed where the CPU has it, else float32.

    Raises:
        ResourceError: another device was asked for.
        BundleError: the file can't be read or compiled.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        change: Callable[[Any], None] | None = None,
        precision: Precision = "fp32",
    ) -> None:
        if device not in ("auto", "cpu"):
            raise ResourceError(f"runtime openvino: device must be auto or cpu (found: {device})")
        openvino = import_quietly()
        hint = "bf16" if precision == "bf16" and "BF16" in capabilities() else "f32"
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
        if (threads := asked_for()) is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._compiled = _compiled(openvino, path, settings, change)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"{path}: OpenVINO can't read this network ({reason})") from error
        self.inputs = tuple(port.any_name for port in self._compiled.inputs)
        self._names = [output.any_name for output in self._compiled.outputs]
        self._streams = ThreadPoolExecutor(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._local = threading.local()
        self._tensor = openvino.Tensor

    def __call__(self, *batches: FloatArray) -> Mapping[str, FloatArray]:
        """Outputs by name for float32 batches, one per input."""
        images = [[batch[index : index + 1] for batch in batches] for index in range(len(batches[0]))]
        answers = [self._one(images[0])] if len(images) == 1 else list(self._streams.map(self._one, images))
        return {
            name: np.concatenate([answer[output] for answer in answers])
            for output, name in enumerate(self._names)
        }

    def _one(self, image: list[FloatArray]) -> list[FloatArray]:
        """All outputs of one image (one array per input), on the calling thread's own request."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        request = self._local.request
        # Not request.infer, which also copies every input, and every output into a dictionary of its own.
        shared = [np.require(part, np.float32, ("C", "W")) for part in image]
        for index, part in enumerate(shared):
            request.set_input_tensor(index, self._tensor(part, shared_memory=True))
        request.start_async()
        request.wait()
        return [np.array(request.get_output_tensor(index).data) for index in range(len(self._names))]


def _compiled(
    openvino: Any, path: Path, settings: Mapping[str, str], change: Callable[[Any], None] | None
) -> Any:
    """A network compiled for one image at a time; from the cache where it may be.

    Raises:
        OSError, RuntimeError: it can't be read or compiled.
    """
    core, weights = openvino.Core(), path.with_suffix(".bin")  # which OpenVINO's own format has beside it
    content = path.read_bytes() + (weights.read_bytes() if path.suffix == ".xml" else b"")
    kind = core, content, "CPU", settings, openvino.get_version()
    if change is None and (known := cached(*kind)) is not None:
        return known
    model = core.read_model(path)
    if change is not None:
        change(model)
    shapes = {}
    for index, port in enumerate(model.inputs):
        shape = port.partial_shape
        shape[0] = 1
        shapes[index] = shape
    model.reshape(shapes)
    compiled = core.compile_model(model, "CPU", dict(settings))
    if change is None:
        keep(compiled, *kind)
    return compiled
