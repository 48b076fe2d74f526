"""What an archive costs on a cluster: core-hours, hours, bandwidth, storage, lost work; and what the limit is.

    python benchmarks/scale_cost.py [--bench out/bench/bench.json] [--scale out/scale.json] [-o out/scale-cost]
        [--studies 10000,10000000] [--nodes 1,4,16,64,256,1024]
        [--radiographs DIR] [--cts DIR] [--results DIR] [--NAME FIGURE …]

OUT/scale-cost.json has every figure, OUT/scale-cost.md the tables. A figure is measured (by `make bench`, by
benchmarks/scale.py, or in a folder of studies or of results), stated on the command line, assumed (its default, with
the reason), or computed of these. The arithmetic in words: docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import kind
from bench.written import write

ROOT = Path(__file__).resolve().parents[1]
Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A number that goes into the arithmetic, and where it is from.

    Attributes:
        origin: measured, stated or assumed.
        source: the file and what in it; the option; or the reason of the assumption.
    """

    value: float
    unit: str
    origin: str
    source: str


ASSUMED: Mapping[str, tuple[float, str, str]] = {
    "ct-fraction": (0.1, "of the studies", "a mixed archive: nine radiographs to a CT"),
    "ct-slices": (150, "slices a CT", "a chest in 2 mm"),
    "radiograph-mb": (10.2, "MB", "2,500 x 2,048 px of 16 bits, not compressed"),
    "slice-mb": (0.53, "MB", "512 x 512 px of 16 bits, not compressed"),
    "radiograph-result-kb": (5, "kB", "JSON without a page"),
    "ct-result-kb": (400, "kB", "JSON and masks without a page"),
    "radiograph-puts": (2, "requests", "diagnosis.json, and the entry that it is done"),
    "ct-puts": (5, "requests", "four files, and the entry that it is done"),
    "gets": (3, "requests a file", "the head by driver and node, and the whole"),
    "efficiency": (0.8, "of a core", "1.6 times the work with twice the workers"),
    "overhead-ms": (20, "ms a study", "the most that is allowed"),
    "start-s": (2, "s of a core", "a worker that starts again"),
    "cores": (16, "cores a node", "a usual node"),
    "node-gbit": (10, "Gbit/s", "of a node's network"),
    "store-gbit": (40, "Gbit/s", "of the store, all nodes together"),
    "gets-per-s": (5500, "requests/s", "what Amazon states for a prefix of S3"),
    "puts-per-s": (3500, "requests/s", "what Amazon states for a prefix of S3"),
    "runs": (1, "runs at once", "one command over the whole archive"),
    "listed-per-s": (5000, "files/s of a run", "5 requests a second, 1,000 files each, one after the other"),
    "headers-per-s": (50, "files/s of a run", "one after the other, 20 ms each in a store"),
    "tasks-per-s": (500, "studies/s of a run", "that a driver hands out and writes down"),
    "node-mtbf-h": (720, "h", "a node fails once a month"),
    "request-failure": (0.001, "of the requests", "one in a thousand fails"),
    "request-tries": (6, "tries", "of a request, before the run stops, to go on by the same command"),
}
"""Option → value, unit, reason. What is measured or stated takes its place."""
NEEDED: Mapping[str, tuple[str, str]] = {
    "radiograph-core-s": ("s of a core", "folder,growth"),
    "slice-core-s": ("s of a core", "ct,growth"),
}
"""Option → unit, and the parts of the suite that measure it: no assumption would be worth anything."""


def of_bench(bench: Plain, file: str, ct_slices: float) -> Iterator[tuple[str, Figure]]:
    """What the suite measured: processor seconds of a radiograph, of a CT's slice, and of a start.

    Of radiographs the run over most of them counts, where starting hardly matters; of slices the CT that is nearest to
    the size wanted. A CT's time includes the start of its process, which a worker pays once: it is an upper bound.
    """
    sides = [
        (part["unit"], side, f"{file}, part {part['key']}, {side['name']}: cpu_s / {side['count']:,}")
        for part in bench["parts"]
        for side in part["sides"]
        if part["key"].startswith(("folder-", "ct-", "growth-radiographs", "growth-slices"))
        and (side["role"] == "ours" or part["key"].startswith("growth-"))
    ]
    images = [(side, source) for unit, side, source in sides if unit == "radiographs"]
    slices = [(side, source) for unit, side, source in sides if unit == "slices"]
    if images:
        yield "radiograph-core-s", _per(*max(images, key=lambda one: one[0]["count"]))
    if slices:
        yield "slice-core-s", _per(*min(slices, key=lambda one: abs(one[0]["count"] - ct_slices)))
    for part in bench["parts"]:
        if part["key"] == "one":
            (ours,) = (side for side in part["sides"] if side["role"] == "ours")
            source = f"{file}, part one, {ours['name']}: cpu_s, with a radiograph and its page"
            yield "start-s", Figure(ours["cpu_s"]["median"], "s of a core", "measured", source)


def _per(side: Plain, source: str) -> Figure:
    return Figure(side["cpu_s"]["median"] / side["count"], "s of a core", "measured", source)


def of_scale(scale: Plain, file: str) -> Iterator[tuple[str, Figure]]:
    """What benchmarks/scale.py measured of a cluster on one machine: medians of its rounds."""
    overhead = median(one["overhead_ms"] for one in scale["rounds"])
    yield "overhead-ms", Figure(overhead, "ms a study", "measured", f"{file}, rounds: overhead_ms")
    yield "efficiency", Figure(median(scale["ratio"]) / 2, "of a core", "measured", f"{file}, ratio / 2")


def of_folders(given: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Mean sizes of files in folders: of radiographs, of CT slices, of what a run wrote for each study."""
    for name, option in (("radiograph-mb", "radiographs"), ("slice-mb", "cts")):
        if folder := getattr(given, option):
            sizes = _sizes(folder, without=(".csv", ".md", ".txt"))
            source = f"--{option}: mean of {len(sizes):,} files"
            yield name, Figure(sum(sizes) / len(sizes) / 1e6, "MB", "measured", source)
    for name, named in (("radiograph", "xray-*"), ("ct", "ct-*")):
        folders = [path for path in given.results.glob(named) if path.is_dir()] if given.results else []
        if studies := [_sizes(folder) for folder in folders]:
            count, source = len(studies), f"--results: mean of {len(studies):,} studies"
            size, files = sum(map(sum, studies)) / count / 1e3, sum(map(len, studies)) / count
            yield f"{name}-result-kb", Figure(size, "kB", "measured", source)
            yield f"{name}-puts", Figure(files + 1, "requests", "measured", f"{source}, and an entry each")


def _sizes(folder: Path, without: tuple[str, ...] = ()) -> list[int]:
    """Bytes of the files in a folder and below."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in without]
    return [path.stat().st_size for path in found] or sys.exit(f"{folder.name}: no files to measure")


@dataclass(frozen=True)
class Kind:
    """One kind of study, on average.

    Attributes:
        fraction: of all studies.
        core_s: processor time.
        moved_b: bytes read and written.
        result_b: of these, written.
        files: that it consists of.
        gets, puts: requests that it needs, each once.
    """

    fraction: float
    core_s: float
    moved_b: float
    result_b: float
    files: float
    gets: float
    puts: float


def kinds(of: Mapping[str, float]) -> dict[str, Kind]:
    """Radiographs and CTs of an archive."""

    def one(name: str, fraction: float, file_s: float, file_mb: float, files: float) -> Kind:
        written = of[f"{name}-result-kb"] * 1e3
        moved, core_s = files * file_mb * 1e6 + written, files * file_s + of["overhead-ms"] / 1e3
        return Kind(fraction, core_s, moved, written, files, files * of["gets"], of[f"{name}-puts"])

    ct = of["ct-fraction"]
    return {
        "radiograph": one("radiograph", 1 - ct, of["radiograph-core-s"], of["radiograph-mb"], 1),
        "ct": one("ct", ct, of["slice-core-s"], of["slice-mb"], of["ct-slices"]),
    }


@dataclass(frozen=True)
class Load:
    """What an archive asks of a cluster.

    Attributes:
        alone: seconds that one node needs, by what may be the limit; more nodes share them.
        fixed: seconds that it takes however many nodes there are.
        listing_s: seconds before the work begins.
        stops: how often a run stops for a request that failed every time, on average.
        again_s: seconds until a run that has stopped is where it was.
        lost_s: processor seconds that a core loses with its node, on average.
    """

    alone: Mapping[str, float]
    fixed: Mapping[str, float]
    listing_s: float
    stops: float
    again_s: float
    lost_s: float


def archive(studies: int, nodes: list[int], of: Mapping[str, float]) -> dict[str, Any]:
    """What so many studies cost, on clusters of so many nodes."""
    parts = kinds(of)

    def total(name: str) -> float:
        return studies * sum(part.fraction * getattr(part, name) for part in parts.values())

    core_s = {name: studies * one.fraction * one.core_s / of["efficiency"] for name, one in parts.items()}
    sent = 1 / (1 - of["request-failure"])  # requests for one that succeeds
    gets, puts, bits = total("gets") * sent, total("puts") * sent, 8 * total("moved_b")
    listing_s = total("files") / of["listed-per-s"] / of["runs"]
    headers_s = total("files") / of["headers-per-s"] / of["runs"]
    # At a random moment a core is more probably in a long study than in a short one, and on average halfway through.
    begun_s = sum(one.fraction * one.core_s**2 for one in parts.values()) * studies / total("core_s") / 2
    load = Load(
        alone={"cores": sum(core_s.values()) / of["cores"], "node network": bits / (of["node-gbit"] * 1e9)},
        fixed={
            "store bandwidth": bits / (of["store-gbit"] * 1e9),
            "store requests": max(gets / of["gets-per-s"], puts / of["puts-per-s"]),
            "headers": headers_s,
            "driver": studies / of["tasks-per-s"] / of["runs"],
        },
        listing_s=listing_s,
        stops=(total("gets") + total("puts")) * of["request-failure"] ** of["request-tries"],
        again_s=listing_s + headers_s / 2,  # on average it stops halfway
        lost_s=begun_s + of["start-s"],
    )
    first, last = (max(times, key=lambda name: times[name]) for times in (load.alone, load.fixed))
    clusters = [cluster(count, load, of) for count in nodes]
    for one in clusters:
        wall_s = one["wall_h"] * 3600
        one |= {"studies_per_s": studies / wall_s, "requests_per_s": (gets + puts) / wall_s}
        one |= {"store_gbit": bits / wall_s / 1e9, "node_gbit": bits / wall_s / 1e9 / one["nodes"]}
    return {
        "studies": studies,
        "core_hours": sum(core_s.values()) / 3600,
        "core_hours_by_kind": {name: seconds / 3600 for name, seconds in core_s.items()},
        "read_tb": (total("moved_b") - total("result_b")) / 1e12,
        "results_gb": total("result_b") / 1e9,
        "files": total("files"),
        "requests": gets + puts,
        "stops": load.stops,
        "listing_h": listing_s / 3600,
        "limit": {"first": first, "last": last, "nodes": load.alone[first] / load.fixed[last]},
        "clusters": clusters,
    }


def cluster(nodes: int, load: Load, of: Mapping[str, float]) -> dict[str, Any]:
    """How long so many nodes take, and what they lose to failures. All goes on at once, so the slowest decides."""
    seconds = {name: alone / nodes for name, alone in load.alone.items()} | dict(load.fixed)
    slowest = max(seconds, key=lambda name: seconds[name])
    hours = (load.listing_s + seconds[slowest] + load.stops * load.again_s) / 3600
    failures = nodes * hours / of["node-mtbf-h"]
    return {
        "nodes": nodes,
        "wall_h": hours,
        "limit": slowest,
        "seconds": seconds,
        "busy_cores": seconds["cores"] / hours / 3600,
        "node_failures": failures,
        "lost_core_hours": (failures + load.stops * nodes) * of["cores"] * load.lost_s / 3600,
    }


def markdown(document: Plain) -> str:
    """The figures that went in, then a table for each archive."""
    lines = [f"- Measured on: {document['measured_on']}", f"- `{document['command']}`", ""]
    lines += ["| figure | value | | from |", "|---|---|---|---|"]
    for name, one in document["inputs"].items():
        lines.append(f"| {name} | {one['value']:.4g} {one['unit']} | {one['origin']} | {one['source']} |")
    heads = [
        "nodes",
        "hours",
        "studies/s",
        "limit",
        "cores busy",
        "network of a node, Gbit/s",
        "store, Gbit/s",
    ]
    heads += ["requests/s", "nodes that fail", "core-hours lost"]
    for one in document["archives"]:
        lines += ["", _summary(one), "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for row in one["clusters"]:
            cells = [f"{row['nodes']:,}", _short(row["wall_h"]), _short(row["studies_per_s"]), row["limit"]]
            cells += [f"{row['busy_cores']:.0%}", _short(row["node_gbit"]), _short(row["store_gbit"])]
            cells += [_short(row[name]) for name in ("requests_per_s", "node_failures", "lost_core_hours")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _summary(one: Plain) -> str:
    hours, turn = one["core_hours_by_kind"], one["limit"]
    return (
        f"**{one['studies']:,} studies** in {one['files']:,.0f} files, computed: {_short(one['core_hours'])} core-hours"
        f" (radiographs {_short(hours['radiograph'])}, CT {_short(hours['ct'])}), {_short(one['read_tb'])} TB read, "
        f"{_short(one['results_gb'])} GB of results, {one['requests'] / 1e6:,.2f} million requests, "
        f"{_short(one['listing_h'])} hours of listing before the work, {_short(one['stops'])} stops for requests. "
        f"The limit up to {_short(turn['nodes'])} nodes: {turn['first']}; beyond: {turn['last']}."
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def gathered(given: argparse.Namespace) -> tuple[dict[str, Figure], str]:
    """All figures that the arithmetic needs, and the machine that the measured ones are of."""
    figures = {name: Figure(value, unit, "assumed", why) for name, (value, unit, why) in ASSUMED.items()}
    units = {name: one[1] for name, one in ASSUMED.items()} | {name: one[0] for name, one in NEEDED.items()}
    stated = {
        name: Figure(value, unit, "stated", f"--{name}")
        for name, unit in units.items()
        if (value := getattr(given, name.replace("-", "_"))) is not None
    }
    machine = "nothing"
    if given.bench.is_file():
        bench = json.loads(given.bench.read_text(encoding="utf-8"))
        figures |= dict(of_bench(bench, given.bench.name, (figures | stated)["ct-slices"].value))
        changed = " with changes" if bench["changed"] else ""
        machine = f"{kind(bench['machine'])}, commit {(bench['commit'] or 'unknown')[:7]}{changed}, "
        machine += f"{bench['busy_before']:.1f} processes a core before it"
    if given.scale:
        figures |= dict(of_scale(json.loads(given.scale.read_text(encoding="utf-8")), given.scale.name))
    figures |= dict(of_folders(given)) | stated
    for name, (_, parts) in NEEDED.items():
        if name not in figures:
            sys.exit(
                f"{given.bench.name} does not say {name}: `make bench BENCH='--only {parts}'` measures it, "
                f"or state --{name}"
            )
    return dict(sorted(figures.items())), machine


def asked() -> argparse.ArgumentParser:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--bench", type=Path, default=ROOT / "out" / "bench" / "bench.json")
    ask.add_argument("--scale", type=Path, help="what benchmarks/scale.py measured")
    ask.add_argument("-o", "--out", type=Path, default=ROOT / "out" / "scale-cost")
    ask.add_argument("--studies", type=_numbers, default=[10_000, 10_000_000])
    ask.add_argument("--nodes", type=_numbers, default=[1, 4, 16, 64, 256, 1024])
    ask.add_argument("--radiographs", type=Path, help="a folder of radiographs, whose sizes count")
    ask.add_argument("--cts", type=Path, help="a folder of CT slices, whose sizes count")
    ask.add_argument(
        "--results", type=Path, help="a folder of results of pulmoscope diagnose, whose sizes count"
    )
    for name, (value, unit, why) in ASSUMED.items():
        ask.add_argument(f"--{name}", type=float, metavar="X", help=f"{unit}; assumed: {value:g}, {why}")
    for name, (unit, _) in NEEDED.items():
        ask.add_argument(f"--{name}", type=float, metavar="X", help=f"{unit}; else from --bench")
    return ask


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    given = asked().parse_args(words)
    figures, machine = gathered(given)
    paths = {str(path) for path in vars(given).values() if isinstance(path, Path)}
    values = {name: figure.value for name, figure in figures.items()}
    document = {
        "schema_version": "1.0",
        "command": shlex.join(
            ["python", "benchmarks/scale_cost.py", *("PATH" if word in paths else word for word in words)]
        ),
        "measured_on": machine,
        "inputs": {name: asdict(figure) for name, figure in figures.items()},
        "archives": [archive(count, given.nodes, values) for count in given.studies],
        "notice": "Archives are computed, not measured.",
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "scale-cost.json", document)
    text = markdown(document)
    (given.out / "scale-cost.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
