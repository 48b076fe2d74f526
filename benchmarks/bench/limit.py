"""How quick a bundle's networks could be: OpenVINO's own ``benchmark_app``, one image at a time, at full load."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import combined_rate
from bench.sides import spread
from measured import measured

APP = (
    "import sys; sys.modules['openvino_telemetry'] = None; "  # it would report its use over the network
    "from openvino.tools.benchmark.main import main; main()"
)
SHOWN = "benchmark_app -m NETWORK -d CPU -hint throughput -infer_precision f32 -shape SHAPE -t SECONDS"


def limit(
    key: str, bundle: Path, rounds: int, seconds: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Images per second of each network of a bundle in float32, by turns, and of all of them one after the other.

    Args:
        key: the part that it is the limit of.
        seconds: of each run of each network.
    """
    files = sorted(bundle.glob("*.onnx"))
    shapes = {file: shape(file) for file in files}
    found: dict[Path, list[float]] = {file: [] for file in files}
    for number in range(rounds):
        for file in files:
            options = ["-d", "CPU", "-hint", "throughput", "-infer_precision", "f32", "-t", str(seconds)]
            given = ["-m", str(file), "-shape", str(shapes[file]).replace(" ", "")]
            rate = throughput(measured([sys.executable, "-c", APP, *given, *options]).output)
            found[file].append(rate)
            progress(f"limit {number + 1}/{rounds}  {file.name}: {rate:.0f} images/s")
    together = [combined_rate(rates) for rates in zip(*found.values(), strict=True)]
    return {
        "part": key,
        "command": SHOWN,
        "networks": [
            {"file": file.name, "shape": shapes[file], "per_second": spread(rates)}
            for file, rates in found.items()
        ],
        "per_second": spread(together),
        "rounds": together,
    }


def throughput(output: str) -> float:
    """Images per second, as ``benchmark_app`` prints it.

    Raises:
        ValueError: it printed none.
    """
    match = re.search(r"Throughput:\s*([\d.]+) FPS", output)
    if match is None:
        raise ValueError("benchmark_app printed no throughput")
    return float(match[1])


def shape(file: Path) -> list[int]:
    """A network's input for one image."""
    from pulmoscope.runtime.openvino_backend import import_quietly

    (port,) = import_quietly().Core().read_model(file).inputs
    return [1, *(dimension.get_length() for dimension in list(port.partial_shape)[1:])]
