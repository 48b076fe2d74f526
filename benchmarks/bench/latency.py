"""How long one radiograph takes in a process that is running, and how often it takes longer."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import percentile
from bench.parts import HERE, NEEDED_BY_TIMM
from measured import measured

FIRST = 3
"""So many images are not counted: they load libraries and networks."""


def latencies(
    images: Path, scratch: Path, progress: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Half and 95 % of the images take at most so many ms, one at a time, ours and peers; and who is left out, why."""
    plain = ["plain_xray.py", str(images), f"{scratch}/answers.csv", "--batch", "1", "--times"]
    sides = {
        "pulmoscope": ["one_by_one.py", str(images)],
        "torch + timm, eager": plain,
        "TorchXRayVision, DenseNet121": [*plain[:-1], "--network", "torchxrayvision", "--times"],
    }
    needs = {
        "torch + timm, eager": NEEDED_BY_TIMM,
        "TorchXRayVision, DenseNet121": ("torch", "torchxrayvision"),
    }
    found, skipped = [], []
    for name, (script, *arguments) in sides.items():
        absent = [module for module in needs.get(name, ()) if importlib.util.find_spec(module) is None]
        if absent:
            skipped.append({"name": name, "reason": f"{', '.join(absent)} not installed"})
            continue
        file = scratch / "times.json"
        measured([sys.executable, str(HERE / script), *arguments, str(file)])
        found.append(
            {"name": f"{name}, in a running process"}
            | summary(json.loads(file.read_text(encoding="utf-8"))[FIRST:])
        )
        progress(f"latency  {name}: median {found[-1]['p50_ms']:.0f} ms")
    return found, skipped


def summary(times: list[float]) -> dict[str, Any]:
    """Of the seconds of single images."""
    return {
        "images": len(times),
        "p50_ms": round(percentile(times, 50) * 1000, 2),
        "p95_ms": round(percentile(times, 95) * 1000, 2),
    }
