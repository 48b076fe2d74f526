"""Ours and its peers by turns, in one run on the same files: what takes how long, and how much memory.

    make bench                                          (an environment of its own, with the peers)
    python benchmarks/suite.py [-o out/bench] [--only folder,ct] [--rounds 5] [--quick] [--images DIR] [--study DIR]

OUT/bench.json holds every figure (docs/schemas/bench.schema.json), OUT/bench.md the tables, OUT/bench.png a picture.
Whole processes, medians and ranges; the first run of each side, which warms the caches of disk and code, is not
counted. Without --images and --study radiographs and CTs are simulated (kept in OUT/inputs for the next run). --quick
is a try on tiny inputs: that it works, not how quick it is. How to read the figures: docs/speed.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import inputs, machine, parts
from bench.figures import ratio
from bench.latency import latencies, summary
from bench.limit import limit
from bench.picture import draw
from bench.sides import Found, Part, described, plain, ratios, run
from bench.written import markdown, write
from pulmoscope.runtime.bundle import load

ROOT = Path(__file__).resolve().parents[1]
ALL = ("folder", "densenet", "one", "latency", "ct", "studies", "prepare", "limit", "growth")
SEED = 0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    folder: int = 1000
    few: int = 24
    densenet: int = 50
    study: tuple[int, int] = (150, 512)
    studies: tuple[int, int, int] = (20, 60, 256)
    radiographs: tuple[int, ...] = (1, 10, 100, 1000, 10_000)
    slices: tuple[int, ...] = (50, 150, 300, 1000)
    processes: tuple[int, ...] = (1, 2, 4)
    limit_s: int = 2


QUICK = Sizes(24, 24, 6, (24, 128), (2, 24, 128), (1, 8, 32), (24, 48), (1, 2), 1)


class Inputs:
    """What is measured on, made when it is first asked for."""

    def __init__(self, given: argparse.Namespace, sizes: Sizes, scratch: Path) -> None:
        self._given, self._sizes, self._scratch = given, sizes, scratch
        self._kept = given.out / "inputs"
        self._kept.mkdir(parents=True, exist_ok=True)

    @cached_property
    def files(self) -> list[Path]:
        """The radiographs."""
        if self._given.images:
            return inputs.listed(self._given.images) or sys.exit("--images has no JPEG or PNG")
        count = self._sizes.folder
        return inputs.listed(
            inputs.kept(self._kept / f"radiographs-{count}", lambda folder: inputs.drawn(folder, count))
        )

    def folder(self, count: int, first: int = 0) -> Path:
        """So many radiographs, from one on; where there are too few, copies of them."""
        folder = self._scratch / f"radiographs-{count}-{first}"
        if folder.exists():
            return folder
        if first + count <= len(self.files) or self._given.images:
            return inputs.linked(self.files[first : first + count], folder)
        return inputs.repeated(self.files, count, folder)

    def counts(self) -> list[int]:
        """How many radiographs growth is measured with: of one's own, those that there are."""
        most = len(self.files) if self._given.images else None
        return [count for count in self._sizes.radiographs if most is None or count <= most]

    def studies(self, count: int, slices: int, side: int) -> list[Path]:
        """Simulated CTs."""
        folder = inputs.kept(
            self._kept / f"studies-{count}x{slices}x{side}",
            lambda folder: inputs.drawn_studies(folder, count, slices, side),
        )
        return sorted((folder / "studies").iterdir())

    @cached_property
    def study(self) -> tuple[Path, int]:
        """One CT, and how many slices it has."""
        slices, side = self._sizes.study
        if self._given.study is None:
            return self.studies(1, slices, side)[0], slices
        return self._given.study, sum(path.is_file() for path in self._given.study.rglob("*"))


class Suite:
    """A run: what was found so far."""

    def __init__(self, given: argparse.Namespace, sizes: Sizes, scratch: Path) -> None:
        self.rounds, self.sizes, self.scratch = given.rounds, sizes, scratch
        self.inputs = Inputs(given, sizes, scratch)
        self._start = time.perf_counter()
        self._found: dict[str, list[Found]] = {}
        self.document: dict[str, Any] = {
            "schema_version": "1.0",
            "command": "python benchmarks/suite.py" + "".join(f" {word}" for word in shown(given)),
            **machine.commit(ROOT),
            "machine": machine.machine(),
            "versions": machine.versions(),
            "inputs": {
                "radiographs": "given" if given.images else "simulated",
                "ct": "given" if given.study else "simulated",
                "seed": SEED,
            },
            "rounds": given.rounds,
            "busy_before": round(machine.busy(), 2),
            **{name: [] for name in ("parts", "ratios", "limits", "latency", "skipped")},
            "notice": "Ratios of one run may be compared; seconds of different machines may not.",
        }

    def run(self, names: list[str]) -> Iterator[None]:
        """Each part in turn; after each, the document holds what is known."""
        for name in names:
            getattr(self, f"_{name}")()
            self.document["seconds"] = round(time.perf_counter() - self._start, 1)
            yield

    def _part(self, part: Part, rounds: int | None = None) -> list[Found]:
        found = run(part, rounds or self.rounds, self.scratch, self._say)
        self._found[part.key] = found
        self.document["parts"].append(described(part, found))
        self.document["ratios"] += ratios(part, found)
        return found

    def _folder(self) -> None:
        self._part(parts.folder(self.inputs.folder(self.sizes.folder), self.inputs.folder(self.sizes.few)))

    def _densenet(self) -> None:
        self._part(
            parts.densenet(self.inputs.folder(self.sizes.densenet), self.inputs.folder(self.sizes.few))
        )

    def _one(self) -> None:
        self.document["latency"] += [
            {"name": f"{one.side.name}, a process for each", **summary([ran.wall_s for ran in one.runs])}
            for one in self._part(parts.one(self.inputs.folder(1)), 2 * self.rounds)
            if one.runs and one.side.role != "also"
        ]

    def _latency(self) -> None:
        found, skipped = latencies(self.inputs.folder(self.sizes.densenet), self.scratch, self._say)
        self.document["latency"] += found
        self.document["skipped"] += skipped

    def _ct(self) -> None:
        study, slices = self.inputs.study
        self._part(parts.ct([study], slices))

    def _studies(self) -> None:
        count, slices, side = self.sizes.studies
        self._part(parts.ct(self.inputs.studies(count, slices, side), slices))

    def _prepare(self) -> None:
        self._part(parts.prepare(*self.inputs.study), min(3, self.rounds))

    def _limit(self) -> None:
        for key, model in (("folder", parts.XRAY), ("ct", parts.CT)):
            found = limit(key, load(model).folder, self.rounds, self.sizes.limit_s, self._say)
            rates = found.pop("rounds")
            self.document["limits"].append(found)
            self.document["ratios"] += [
                {"part": part, "against": "benchmark_app", "of": "rate"} | plain(ratio(ours, rates))
                for part, ours in self._rates(key)
            ]

    def _rates(self, key: str) -> Iterator[tuple[str, list[float]]]:
        """Of each part of this kind, how many units ours did in a second, round by round."""
        for part, found in self._found.items():
            if part.partition("-")[0] == key:
                (ours,) = (one for one in found if one.side.role == "ours")
                yield part, [ours.side.count / ran.wall_s for ran in ours.runs]

    def _growth(self) -> None:
        half = self.sizes.folder // 2
        self._part(parts.radiographs([self.inputs.folder(count) for count in self.inputs.counts()]))
        side = self.sizes.study[1]
        self._part(
            parts.slices({count: self.inputs.studies(1, count, side)[0] for count in self.sizes.slices})
        )
        self._part(
            parts.processes(
                {
                    number: [
                        self.inputs.folder(half // number, half // number * part) for part in range(number)
                    ]
                    for number in self.sizes.processes
                }
            )
        )

    def _say(self, text: str) -> None:
        print(f"{time.perf_counter() - self._start:6.0f} s  {text}", flush=True)


def shown(given: argparse.Namespace) -> list[str]:
    """What was asked for, without the user's paths."""
    return [
        *(["--only", ",".join(given.only)] if given.only != list(ALL) else []),
        *(["--rounds", str(given.rounds)] if given.rounds != 5 else []),
        *(["--quick"] if given.quick else []),
        *(["--images", "DIR"] if given.images else []),
        *(["--study", "DIR"] if given.study else []),
    ]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("-o", "--out", type=Path, default=ROOT / "out" / "bench")
    ask.add_argument("--only", type=lambda text: text.split(","), default=list(ALL), help=", ".join(ALL))
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--quick", action="store_true", help="tiny inputs")
    ask.add_argument("--images", type=Path, help="radiographs (JPEG, PNG) in place of simulated ones")
    ask.add_argument("--study", type=Path, help="one CT (a folder of DICOM) in place of a simulated one")
    given = ask.parse_args()
    if unknown := sorted(set(given.only) - set(ALL)):
        sys.exit(f"--only knows {', '.join(ALL)} (found: {', '.join(unknown)})")
    if given.rounds < 1:
        sys.exit(f"--rounds is at least 1 (found: {given.rounds})")
    with tempfile.TemporaryDirectory() as scratch:
        suite = Suite(given, QUICK if given.quick else Sizes(), Path(scratch))
        for _ in suite.run([name for name in ALL if name in given.only]):
            write(given.out / "bench.json", suite.document)
    (given.out / "bench.md").write_text(markdown(suite.document), encoding="utf-8")
    draw(suite.document, given.out / "bench.png")
    print(f"\n{markdown(suite.document)}")


if __name__ == "__main__":
    main()
