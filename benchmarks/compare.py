"""Has a ratio of ours and a peer become worse than the one that is stored for this kind of machine?

    make bench-compare
    python benchmarks/compare.py [out/bench/bench.json] [--baseline benchmarks/baseline.json] [--record]

Compares the ratios of a run of benchmarks/suite.py with the stored ones; exit code 1: at least one is worse beyond the
noise of both runs (rule: docs/speed.md). --record stores this run's ratios for this kind of machine instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from bench.comparison import compared, entry
from bench.machine import commit, kind
from bench.written import write

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("run", type=Path, nargs="?", default=ROOT / "out" / "bench" / "bench.json")
    ask.add_argument("--baseline", type=Path, default=ROOT / "benchmarks" / "baseline.json")
    ask.add_argument("--record", action="store_true")
    given = ask.parse_args()
    document = json.loads(given.run.read_text(encoding="utf-8"))
    stored = json.loads(given.baseline.read_text(encoding="utf-8"))
    here = kind(document["machine"])
    if given.record:
        stored["machines"][here] = entry(document)
        write(given.baseline, stored)
        print(f"stored for {here}")
        return
    before = stored["machines"].get(here)
    if before is None:
        print(
            f"nothing is stored for this kind of machine ({here}), and ratios of different CPUs are not comparable."
        )
        print(f"stored: {'; '.join(stored['machines']) or 'none'}")
        return
    if before["inputs"] != document["inputs"]:
        print("the stored run had other inputs, so nothing is compared.")
        return
    if document["commit"] != commit(ROOT)["commit"]:
        print("the run is of another commit than this source: make bench measures it.")
    if others := [
        f"{name} {old} is now {document['versions'].get(name, 'absent')}"
        for name, old in before["versions"].items()
        if document["versions"].get(name) != old
    ]:
        print(f"a ratio may have changed by what ours is compared with: {', '.join(others)}.")
    found = compared(before, document)
    print(f"{here}: commit {short(document['commit'])} beside {short(before['commit'])}")
    for one in found:
        print(f"{one.verdict:15} {one.name}: {one.now:.2f}, was {one.before:.2f}")
    counts = Counter(one.verdict for one in found)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no ratio is in both runs")
    sys.exit(1 if counts["worse"] else 0)


def short(commit: str | None) -> str:
    return "unknown" if commit is None else commit[:7]


if __name__ == "__main__":
    main()
