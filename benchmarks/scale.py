"""What many machines cost and gain, on this one: ratios in one run, the cost beside the work, the driver's memory.

    python benchmarks/scale.py [--count 120] [--side 2048] [--links 10000] [--out out/scale.json]

Radiographs are simulated PNGs: reading one is decoding, for the most part. With each number of workers a few are
diagnosed first, so that processes and models are there; then all are, by turns. ``links`` are so many names of few
files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from PIL import Image

from pulmoscope.apps.ray.command import on_cluster
from pulmoscope.apps.ray.inputs import entries_anywhere
from pulmoscope.core.files import write_json
from pulmoscope.core.threads import ONE_THREAD
from pulmoscope.io import studies
from pulmoscope.phantoms.xray.draw import xray_phantom
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.runs.run import Run


def draw(folder: Path, count: int, side: int) -> Path:
    """So many different radiographs."""
    folder.mkdir(parents=True)
    picture = np.rint(xray_phantom(1, size=side) * 255).astype(np.uint8)
    for number in range(count):
        Image.fromarray(np.roll(picture, number, axis=1)).save(folder / f"{number:05d}.png")
    return folder


def link(folder: Path, files: list[Path], count: int) -> Path:
    """As many links to few files."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:06d}{files[0].suffix}").symlink_to(files[number % len(files)])
    return folder


@dataclass(frozen=True)
class Done:
    """What a run took: seconds, those of the workers, processor seconds of the driver, and its memory in ten steps."""

    seconds: float
    busy: float
    driver: float
    memory_mib: list[float]


def run_on(inputs: Path, out: Path, severity: str = "auto") -> Done:
    """Diagnose a folder on the cluster that is there."""
    listed = list(entries_anywhere([str(inputs)], str(out)))
    run = Run(Models(severity=severity), out, "none")
    memory = []
    with on_cluster("ray", run, str(out), "auto", "auto", "auto", severity) as archive:
        start, begun = perf_counter(), process_time()
        for number, _ in enumerate(archive.outcomes(studies(listed)), start=1):
            if number % max(1, len(listed) // 10) == 0:
                memory.append(resident_mib())
        seconds, driver = perf_counter() - start, process_time() - begun
    return Done(seconds, archive.nodes.seconds, driver, memory)


def resident_mib() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def with_workers(workers: int, work: Any) -> Any:
    """Some work on a cluster of this machine with so many workers."""
    import ray

    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": ONE_THREAD},
    )
    try:
        return work()
    finally:
        ray.shutdown()


def measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    inputs, few = draw(folder / "in", given.count, given.side), draw(folder / "few", 8, given.side)
    rounds: list[dict[str, Any]] = []
    for number in range(given.rounds):
        for workers in (1, 2):
            place = folder / f"out-{number}-{workers}"

            def work(place: Path = place) -> Done:
                run_on(few, place / "few")
                return run_on(inputs, place / "all")

            done = with_workers(workers, work)
            overhead = (workers * done.seconds - done.busy) / given.count
            rounds.append(
                {
                    "workers": workers,
                    "seconds": round(done.seconds, 2),
                    "studies_per_s": round(given.count / done.seconds, 2),
                    "overhead_ms": round(1000 * overhead, 1),
                    "driver_cpu_ms": round(1000 * done.driver / given.count, 1),
                }
            )
            print(json.dumps(rounds[-1]), flush=True)
    rate = {w: [one["studies_per_s"] for one in rounds if one["workers"] == w] for w in (1, 2)}
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": given.load,
        "rounds": rounds,
        "ratio": [round(two / one, 2) for one, two in zip(rate[1], rate[2], strict=True)],
    }
    if given.links:
        files = sorted(draw(folder / "small", 5, 96).iterdir())
        linked = link(folder / "links", files, given.links)
        done = with_workers(2, lambda: run_on(linked, folder / "out-links", "none"))
        figures["links"] = {
            "count": given.links,
            "seconds": round(done.seconds, 1),
            "driver_cpu_ms": round(1000 * done.driver / given.links, 1),
            "driver_mib": done.memory_mib,
        }
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--links", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/scale.json"))
    given = parser.parse_args()
    given.load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), given)
    write_json(given.out, figures)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
