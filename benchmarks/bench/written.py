"""The figures of a run as JSON, and as tables in Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.figures import Spread
from bench.machine import kind

Plain = Mapping[str, Any]


def write(file: Path, document: Plain) -> None:
    """Whole or not at all."""
    unfinished = file.with_name(f".{file.name}-{os.getpid()}")
    unfinished.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)


def markdown(document: Plain) -> str:
    """All tables of a run; parts that were not run are left out."""
    return "\n".join(
        [*_head(document), *_beside(document), *_limits(document), *_latency(document), *_growth(document)]
    )


def _head(document: Plain) -> Iterator[str]:
    facts, packages = document["machine"], document["versions"]
    changed = " with changes" if document["changed"] else ""
    wanted = ("python", "openvino", "torch", "timm", "monai", "torchio", "torchxrayvision")
    yield f"Machine: {kind(facts)}; {facts['memory_gib']:.0f} GiB; OpenVINO: {', '.join(facts['openvino'])}."
    yield f"Versions: {', '.join(f'{name} {packages[name]}' for name in wanted if name in packages)}."
    yield f"Commit: {(document['commit'] or 'unknown')[:7]}{changed}. Command: `{document['command']}`, "
    yield f"{document['seconds'] / 60:.0f} minutes. Inputs: radiographs {document['inputs']['radiographs']}, CTs "
    yield f"{document['inputs']['ct']}. Processes that waited before, for each core: {document['busy_before']:.1f}."
    energy = any(side["energy_j"] for part in document["parts"] for side in part["sides"])
    if not energy:
        yield "Energy: not readable here."
    for one in [*document["skipped"], *(one for part in document["parts"] for one in part["skipped"])]:
        yield f"Left out: {one['name']} ({one['reason']})."
    yield ""


def _beside(document: Plain) -> Iterator[str]:
    """A row for each peer: seconds, ratio, memory, processors."""
    rows = []
    for part in document["parts"]:
        sides = {side["role"]: side for side in part["sides"]}
        for side in part["sides"]:
            own = sides.get("ours")
            if side["role"] == "also" and part["key"].startswith("growth"):
                continue
            found = {
                one["of"]: spread(one)
                for one in document["ratios"]
                if (one["part"], one["against"]) == (part["key"], side["name"])
            }
            faster = f"{found['wall time']:.1f}" if found else ""
            lighter = f"{found['peak memory']:.1f}" if found else ""
            title = part["title"] if side is own else ""
            cells = [
                title,
                side["name"],
                f"{spread(side['wall_s']):.2f}",
                faster,
                f"{side['peak_mib']['median']:,.0f}",
            ]
            cells += [lighter, f"{side['cpu_s']['median']:.1f}", _energy(side)]
            rows.append(f"| {' | '.join(cells)} |")
    if rows:
        yield "| what, as a whole process | by | wall time, s | its time / ours | peak, MiB | its peak / ours "
        yield "| processors, s | energy, J |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from [*rows, ""]


def _energy(side: Plain) -> str:
    return f"{side['energy_j']['median']:.0f}" if side["energy_j"] else "–"


def _limits(document: Plain) -> Iterator[str]:
    if not document["limits"]:
        return
    yield "| limit, by OpenVINO's `benchmark_app` | each network, images/s | all, images/s | ours / limit |"
    yield "|---|---|---|---|"
    for one in document["limits"]:
        each = ", ".join(
            f"{network['file']} {network['per_second']['median']:,.0f}" for network in one["networks"]
        )
        of_limit = [
            f"{spread(found):.2f}"
            for found in document["ratios"]
            if found["of"] == "rate" and found["part"].partition("-")[0] == one["part"]
        ]
        yield f"| {one['part']} | {each} | {spread(one['per_second']):,.0f} | {', '.join(of_limit) or '–'} |"
    yield ""


def _latency(document: Plain) -> Iterator[str]:
    if document["latency"]:
        yield "| one radiograph after the other | median, ms | 95 % take at most, ms | images |"
        yield "|---|---|---|---|"
        for one in document["latency"]:
            yield f"| {one['name']} | {one['p50_ms']:,.1f} | {one['p95_ms']:,.1f} | {one['images']} |"
        yield ""


def _growth(document: Plain) -> Iterator[str]:
    parts = [part for part in document["parts"] if part["key"].startswith("growth")]
    if parts:
        yield "| how cost grows | wall time, s | a second | peak, MiB | processors, s | runs |"
        yield "|---|---|---|---|---|---|"
    for part in parts:
        for side in part["sides"]:
            wall, rate = spread(side["wall_s"]), side["per_second"]["median"]
            cells = [f"{wall:.2f}", f"{rate:,.1f} {part['unit']}", f"{side['peak_mib']['median']:,.0f}"]
            cells += [f"{side['cpu_s']['median']:.1f}", str(wall.rounds)]
            yield f"| {side['name']} | {' | '.join(cells)} |"


def spread(plain: Plain) -> Spread:
    """As it is stored."""
    return Spread(plain["median"], plain["low"], plain["high"], plain["rounds"])
