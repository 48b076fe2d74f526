"""How large and how quick network files are in OpenVINO: the network alone, float32 input, without reading or reports.

Files are measured by turns, so that what else the machine does falls on all of them alike; of the rounds the median is
taken. Time of processors per image depends least on what runs beside.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.runtime.openvino_backend import import_quietly


@dataclass(frozen=True)
class Speed:
    """Of one file.

    Attributes:
        size_mib: of the file; of an int8 network of its weights' file.
        p50_ms: median time of an answer, one image at a time, latency hint.
        images_per_s: throughput hint, as many requests at a time as OpenVINO asks for.
        cpu_ms: time of processors per image, in the throughput run.
    """

    size_mib: float
    p50_ms: float
    images_per_s: float
    cpu_ms: float


def measured(files: Mapping[str, Path], rounds: int = 5, seconds: float = 1.0) -> dict[str, Speed]:
    """Name → speed, of ONNX files or OpenVINO's ``.xml``.

    Args:
        rounds: how often each file has its turn.
        seconds: of each of its two runs in a round.
    """
    compiled = {name: _Compiled(file) for name, file in files.items()}
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in files}
    for _ in range(rounds):
        for name, network in compiled.items():
            figures[name].append((network.latency_ms(seconds), *network.throughput(seconds)))
    return {
        name: Speed(size_mib(files[name]), *(statistics.median(column) for column in zip(*rows, strict=True)))
        for name, rows in figures.items()
    }


def size_mib(file: Path) -> float:
    """Of a network's file, and of the weights that lie beside OpenVINO's ``.xml``."""
    parts = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    return sum(part.stat().st_size for part in parts) / 2**20


def write_int8(file: Path, images: Iterable[Any], out: Path) -> None:
    """Quantise a network file after training with NNCF, plainly, and write OpenVINO's ``.xml`` and ``.bin``.

    Args:
        images: float32 (1, channels, size, size) each, to calibrate with.

    Raises:
        ImportError: NNCF is not installed.
    """
    import nncf

    openvino = import_quietly()
    quantised = nncf.quantize(openvino.Core().read_model(file), nncf.Dataset(list(images)))
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, out, compress_to_fp16=True)


class _Compiled:
    """A network file, compiled for one image at a time, and for many."""

    def __init__(self, file: Path) -> None:
        self._openvino = import_quietly()
        core = self._openvino.Core()
        model = core.read_model(file)
        shape = [1, *(int(side.get_length()) for side in list(model.inputs[0].partial_shape)[1:])]
        model.reshape(shape)
        self._image = np.random.default_rng(20).standard_normal(shape, dtype=np.float32)
        self._one, self._many = (
            core.compile_model(model, "CPU", {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"})
            for hint in ("LATENCY", "THROUGHPUT")
        )

    def latency_ms(self, seconds: float) -> float:
        request = self._one.create_infer_request()
        request.infer([self._image])
        times, end = [], time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            begun = time.perf_counter()
            request.infer([self._image])
            times.append(time.perf_counter() - begun)
        return 1e3 * statistics.median(times)

    def throughput(self, seconds: float) -> tuple[float, float]:
        """Images per second, and processors' milliseconds per image."""
        queue = self._openvino.AsyncInferQueue(self._many)
        count, begun, used = 0, time.perf_counter(), time.process_time()
        while not count or time.perf_counter() < begun + seconds:
            queue.start_async([self._image])
            count += 1
        queue.wait_all()
        return count / (time.perf_counter() - begun), 1e3 * (time.process_time() - used) / count
