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
    return "".join(
        f"{line}\n"
        for line in [
            *_head(document),
            *_beside(document),
            *_limits(document),
            *_latency(document),
            *_growth(document),
        ]
    )


def _head(document: Plain) -> Iterator[str]:
    """What must be known to read the tables."""
    facts, packages, given = document["machine"], document["versions"], document["inputs"]
    wanted = ("python", "openvino", "torch", "timm", "monai", "torchio", "torchxrayvision")
    changed = " with changes" if document["changed"] else ""
    left_out = [*document["skipped"], *(one for part in document["parts"] for one in part["skipped"])]
    yield f"- Machine: {kind(facts)}; {facts['memory_gib']:.0f} GiB; OpenVINO: {', '.join(facts['openvino'])}"
    yield f"- Versions: {', '.join(f'{name} {packages[name]}' for name in wanted if name in packages)}"
    yield (
        f"- Commit {(document['commit'] or 'unknown')[:7]}{changed}; `{document['command']}`: "
        f"{document['seconds'] / 60:.0f} minutes; {document['busy_before']:.1f} processes a core before it"
    )
    yield f"- Inputs: radiographs {given['radiographs']}, CTs {given['ct']}"
    if not _has_energy(document):
        yield "- Energy: not readable here"
    yield from (f"- Left out: {one['name']} ({one['reason']})" for one in left_out)
    yield ""


def _has_energy(document: Plain) -> bool:
    return any(side["energy_j"] for part in document["parts"] for side in part["sides"])


def _beside(document: Plain) -> Iterator[str]:
    """A row for each side of a comparison."""
    energy = _has_energy(document)
    heads = ["what, as a whole process", "by", "wall time, s", "a second", "its time / ours", "peak, MiB"]
    heads += ["its peak / ours", "processors, s", *(["energy, J"] if energy else [])]
    parts = [part for part in document["parts"] if not part["key"].startswith("growth")]
    if parts:
        yield f"| {' | '.join(heads)} |"
        yield "|---" * len(heads) + "|"
    for part in parts:
        for place, side in enumerate(part["sides"]):
            found = {
                one["of"]: spread(one)
                for one in document["ratios"]
                if (one["part"], one["against"]) == (part["key"], side["name"])
            }
            cells = [part["title"] if place == 0 else "", side["name"], f"{spread(side['wall_s']):.2f}"]
            cells += [f"{side['per_second']['median']:,.1f} {part['unit']}" if side["count"] else ""]
            cells += [f"{found['wall time']:.1f}" if found else "", f"{side['peak_mib']['median']:,.0f}"]
            cells += [f"{found['peak memory']:.1f}" if found else "", f"{side['cpu_s']['median']:.1f}"]
            cells += ([f"{side['energy_j']['median']:.0f}" if side["energy_j"] else "–"]) if energy else []
            yield f"| {' | '.join(cells)} |"
    if parts:
        yield ""


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
