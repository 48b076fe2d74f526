"""What an archive costs on a cluster: core-hours, hours, bandwidth, storage, lost work; and what holds it up.

    python benchmarks/scale_cost.py [--bench out/bench/bench.json] [--scale out/scale/scale.json] [-o out/scale-cost]
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
    "radiograph-result-kb": (10, "kB", "JSON without pages"),
    "ct-result-kb": (500, "kB", "JSON and masks without pages"),
    "puts": (2, "requests a study", "files that are written for a study"),
    "efficiency": (0.8, "of a core", "1.6 times the work with twice the workers"),
    "overhead-ms": (20, "ms a study", "the most that is allowed"),
    "start-s": (2, "s of a core", "a worker that starts again"),
    "cores": (16, "cores a node", "a usual node"),
    "node-gbit": (10, "Gbit/s", "of a node's network"),
    "store-gbit": (40, "Gbit/s", "of the store, all nodes together"),
    "gets-per-s": (5500, "requests/s", "what Amazon states for a prefix of S3"),
    "puts-per-s": (3500, "requests/s", "what Amazon states for a prefix of S3"),
    "listed-per-s": (5000, "objects/s", "5 requests a second, 1,000 objects each, one after the other"),
    "tasks-per-s": (500, "studies/s", "that one driver hands out and writes down"),
    "node-mtbf-h": (720, "h", "a node fails once a month"),
    "request-failure": (0.001, "of the requests", "one in a thousand fails"),
    "request-tries": (5, "tries", "of a request, before the study's try fails"),
    "study-tries": (3, "tries", "of a study, before it is refused"),
}
"""Option → value, unit, reason. What is measured or stated takes its place."""
NEEDED: Mapping[str, tuple[str, str]] = {
    "radiograph-core-s": ("s of a core", "folder,growth"),
    "slice-core-s": ("s of a core", "ct,growth"),
}
"""Option → unit, parts of the suite that measure it. For these no assumption would be worth anything."""
FIXED = ("store bandwidth", "store requests", "listing", "driver")
"""What more nodes don't make quicker."""


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
        side, source = max(images, key=lambda one: one[0]["count"])
        yield "radiograph-core-s", _per(side, source)
    if slices:
        side, source = min(slices, key=lambda one: abs(one[0]["count"] - ct_slices))
        yield "slice-core-s", _per(side, source)
    for part in bench["parts"]:
        if part["key"] == "one":
            (ours,) = (side for side in part["sides"] if side["role"] == "ours")
            source = f"{file}, part one, {ours['name']}: cpu_s, with a radiograph and its page"
            yield "start-s", Figure(ours["cpu_s"]["median"], "s of a core", "measured", source)


def _per(side: Plain, source: str) -> Figure:
    return Figure(side["cpu_s"]["median"] / side["count"], "s of a core", "measured", source)


def of_scale(scale: Plain, file: str) -> Iterator[tuple[str, Figure]]:
    """What benchmarks/scale.py measured of a cluster."""
    overhead, ratio = scale["overhead_ms_per_study"], scale["ratio_two_to_one"]
    yield "overhead-ms", Figure(overhead, "ms a study", "measured", f"{file}, overhead_ms_per_study")
    yield "efficiency", Figure(ratio / 2, "of a core", "measured", f"{file}, ratio_two_to_one / 2")


def of_folders(given: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Mean sizes of files in folders: of radiographs, of CT slices, of what a run wrote for each."""
    for name, folder in (("radiograph-mb", given.radiographs), ("slice-mb", given.cts)):
        if folder:
            sizes = _sizes(folder)
            source = f"--{'radiographs' if name == 'radiograph-mb' else 'cts'}: mean of {len(sizes):,} files"
            yield name, Figure(sum(sizes) / len(sizes) / 1e6, "MB", "measured", source)
    if not given.results:
        return
    counts = []
    for name, kinds in (("radiograph-result-kb", "xray-*"), ("ct-result-kb", "ct-*")):
        if studies := [_sizes(folder) for folder in sorted(given.results.glob(kinds)) if folder.is_dir()]:
            source = f"--results: mean of {len(studies):,} studies"
            yield name, Figure(sum(map(sum, studies)) / len(studies) / 1e3, "kB", "measured", source)
            counts += [len(files) for files in studies]
    if counts:
        source = f"--results: mean of {len(counts):,} studies"
        yield "puts", Figure(sum(counts) / len(counts), "requests a study", "measured", source)


def _sizes(folder: Path) -> list[int]:
    """Bytes of the files in a folder and below; texts and tables beside the images don't count."""
    found = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".csv", ".md", ".txt")
    ]
    return [path.stat().st_size for path in found] or sys.exit(f"{folder.name}: no files to measure")


@dataclass(frozen=True)
class Kind:
    """One kind of study, on average.

    Attributes:
        fraction: of all studies.
        core_s: processor time of one try.
        read_b, result_b: bytes read and written.
        gets, puts: requests that it needs, each once.
        tries: how often it is tried, on average.
        refused: the chance that every try fails.
    """

    fraction: float
    core_s: float
    read_b: float
    result_b: float
    gets: float
    puts: float
    tries: float
    refused: float


def kinds(figures: Mapping[str, Figure]) -> dict[str, Kind]:
    """Radiographs and CTs of an archive."""
    of = {name: figure.value for name, figure in figures.items()}
    slices, overhead = of["ct-slices"], of["overhead-ms"] / 1e3

    def one(fraction: float, core_s: float, read_mb: float, result_kb: float, gets: float) -> Kind:
        # A try fails where any of its requests fails as often as it may be tried.
        fails = 1 - (1 - of["request-failure"] ** of["request-tries"]) ** (gets + of["puts"])
        tries = sum(fails**earlier for earlier in range(int(of["study-tries"])))
        refused = fails ** of["study-tries"]
        return Kind(
            fraction, core_s + overhead, read_mb * 1e6, result_kb * 1e3, gets, of["puts"], tries, refused
        )

    ct = of["ct-fraction"]
    return {
        "radiograph": one(
            1 - ct, of["radiograph-core-s"], of["radiograph-mb"], of["radiograph-result-kb"], 1
        ),
        "ct": one(ct, of["slice-core-s"] * slices, of["slice-mb"] * slices, of["ct-result-kb"], slices),
    }


def archive(studies: int, nodes: list[int], figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What so many studies cost, on clusters of so many nodes."""
    of = {name: figure.value for name, figure in figures.items()}
    parts = kinds(figures)

    def total(name: str) -> float:
        return studies * sum(part.fraction * part.tries * getattr(part, name) for part in parts.values())

    core_s = {
        name: studies * part.fraction * part.tries * part.core_s / of["efficiency"]
        for name, part in parts.items()
    }
    sent = 1 / (1 - of["request-failure"])  # requests for one that succeeds
    gets, puts, bits = total("gets") * sent, total("puts") * sent, 8 * (total("read_b") + total("result_b"))
    objects = studies * sum(part.fraction * part.gets for part in parts.values())
    alone = {"cores": sum(core_s.values()) / of["cores"], "node network": bits / (of["node-gbit"] * 1e9)}
    fixed = {
        "store bandwidth": bits / (of["store-gbit"] * 1e9),
        "store requests": max(gets / of["gets-per-s"], puts / of["puts-per-s"]),
        "listing": objects / of["listed-per-s"],
        "driver": studies / of["tasks-per-s"],
    }
    first, last = (max(times, key=lambda name: times[name]) for times in (alone, fixed))
    return {
        "studies": studies,
        "core_hours": sum(core_s.values()) / 3600,
        "core_hours_by_kind": {name: seconds / 3600 for name, seconds in core_s.items()},
        "read_tb": total("read_b") / 1e12,
        "results_gb": studies * sum(part.fraction * part.result_b for part in parts.values()) / 1e9,
        "requests": gets + puts,
        "refused": studies * sum(part.fraction * part.refused for part in parts.values()),
        "holds_up": {"first": first, "last": last, "nodes": alone[first] / fixed[last]},
        "clusters": [
            {
                **cluster(count, alone, fixed, figures),
                **_rates(count, studies, bits, gets + puts, alone, fixed),
            }
            for count in nodes
        ],
    }


def cluster(
    nodes: int, alone: Mapping[str, float], fixed: Mapping[str, float], figures: Mapping[str, Figure]
) -> dict[str, Any]:
    """How long so many nodes take, and what they lose to failures.

    Args:
        alone: seconds that one node needs, by what may hold it up; more nodes share them.
        fixed: seconds that the whole cluster needs, however many nodes it has.
    """
    of = {name: figure.value for name, figure in figures.items()}
    parts = kinds(figures).values()
    seconds = _seconds(nodes, alone, fixed)
    slowest = max(seconds, key=lambda name: seconds[name])
    hours = seconds[slowest] / 3600
    failures = nodes * hours / of["node-mtbf-h"]
    # At a random moment a core is more probably in a long study than in a short one, and on average halfway through.
    begun_s = sum(part.fraction * part.core_s**2 for part in parts) / (
        2 * sum(part.fraction * part.core_s for part in parts)
    )
    return {
        "nodes": nodes,
        "wall_h": hours,
        "holds_up": slowest,
        "seconds": seconds,
        "busy_cores": seconds["cores"] / seconds[slowest],
        "node_failures": failures,
        "lost_core_hours": failures * of["cores"] * (begun_s + of["start-s"]) / 3600,
    }


def _seconds(nodes: int, alone: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float]:
    """What each part of the work takes; all go on at once, so the slowest decides."""
    return {name: seconds / nodes for name, seconds in alone.items()} | dict(fixed)


def _rates(
    nodes: int,
    studies: int,
    bits: float,
    requests: float,
    alone: Mapping[str, float],
    fixed: Mapping[str, float],
) -> dict[str, float]:
    """What goes through network and store in a second."""
    wall_s = max(_seconds(nodes, alone, fixed).values())
    return {
        "studies_per_s": studies / wall_s,
        "node_gbit": bits / wall_s / nodes / 1e9,
        "store_gbit": bits / wall_s / 1e9,
        "requests_per_s": requests / wall_s,
    }


def markdown(document: Plain) -> str:
    """The figures that went in, then a table for each archive."""
    lines = [f"- Measured on: {document['measured_on']}", f"- `{document['command']}`", ""]
    lines += ["| figure | value | | from |", "|---|---|---|---|"]
    for name, one in document["inputs"].items():
        lines.append(f"| {name} | {one['value']:.4g} {one['unit']} | {one['origin']} | {one['source']} |")
    for one in document["archives"]:
        lines += ["", _summary(one), ""]
        heads = ["nodes", "hours", "studies/s", "held up by", "cores busy", "network of a node, Gbit/s"]
        heads += ["store, Gbit/s", "requests/s", "nodes that fail", "core-hours lost"]
        lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for row in one["clusters"]:
            cells = [
                f"{row['nodes']:,}",
                _short(row["wall_h"]),
                _short(row["studies_per_s"]),
                row["holds_up"],
            ]
            cells += [f"{row['busy_cores']:.0%}", _short(row["node_gbit"]), _short(row["store_gbit"])]
            cells += [_short(row[name]) for name in ("requests_per_s", "node_failures", "lost_core_hours")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _summary(one: Plain) -> str:
    hours, turn = one["core_hours_by_kind"], one["holds_up"]
    return (
        f"**{one['studies']:,} studies**, computed: {_short(one['core_hours'])} core-hours "
        f"(radiographs {_short(hours['radiograph'])}, CT {_short(hours['ct'])}), {_short(one['read_tb'])} TB read, "
        f"{_short(one['results_gb'])} GB of results, {one['requests'] / 1e6:,.2f} million requests, "
        f"{_short(one['refused'])} studies refused for failed requests. "
        f"The limit up to {_short(turn['nodes'])} nodes: {turn['first']}; beyond: {turn['last']}."
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def gathered(given: argparse.Namespace) -> tuple[dict[str, Figure], str]:
    """All figures that the arithmetic needs, and the machine that the measured ones are of."""
    figures = {name: Figure(value, unit, "assumed", why) for name, (value, unit, why) in ASSUMED.items()}
    units = {name: unit for name, (_, unit, _) in ASSUMED.items()} | {
        name: unit for name, (unit, _) in NEEDED.items()
    }
    stated = {
        name: Figure(value, unit, "stated", f"--{name}")
        for name, unit in units.items()
        if (value := getattr(given, name.replace("-", "_"))) is not None
    }
    machine = "nothing"
    if given.bench.is_file():
        bench = json.loads(given.bench.read_text(encoding="utf-8"))
        figures |= dict(of_bench(bench, given.bench.name, (figures | stated)["ct-slices"].value))
        changed = ", with changes" if bench["changed"] else ""
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
    numbers = {"type": lambda text: [int(part) for part in text.split(",")]}
    ask.add_argument("--bench", type=Path, default=ROOT / "out" / "bench" / "bench.json")
    ask.add_argument("--scale", type=Path, help="what benchmarks/scale.py measured")
    ask.add_argument("-o", "--out", type=Path, default=ROOT / "out" / "scale-cost")
    ask.add_argument("--studies", default=[10_000, 10_000_000], **numbers)
    ask.add_argument("--nodes", default=[1, 4, 16, 64, 256, 1024], **numbers)
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


def main(words: list[str] | None = None) -> None:
    given = asked().parse_args(words)
    figures, machine = gathered(given)
    words = sys.argv[1:] if words is None else words
    paths = {str(path) for path in vars(given).values() if isinstance(path, Path)}
    shown = ["PATH" if word in paths else word for word in words]
    document = {
        "schema_version": "1.0",
        "command": shlex.join(["python", "benchmarks/scale_cost.py", *shown]),
        "measured_on": machine,
        "inputs": {name: asdict(figure) for name, figure in figures.items()},
        "archives": [archive(count, given.nodes, figures) for count in given.studies],
        "notice": "Archives are computed, not measured; so is all that follows from a figure that is assumed.",
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "scale-cost.json", document)
    text = markdown(document)
    (given.out / "scale-cost.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
