"""The figures of every level of several evaluations of CT studies as a Markdown table.

benchmarks/ct_levels.py METRICS.json...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def figure(estimate: dict[str, Any]) -> str:
    interval = "" if estimate["low"] is None else f" ({estimate['low']:.3f}–{estimate['high']:.3f})"
    return f"{estimate['value']:.3f}{interval}"


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        found = json.loads(path.read_text(encoding="utf-8"))
        classes = found["model"]["classes"]
        print(f"\n{path.parent.parent.name}\n")
        print(
            f"| level | images | accuracy | {' | '.join(f'sensitivity {name}' for name in classes)} | AUROC |"
        )
        print("|---" * (len(classes) + 4) + "|")
        for name, own in found["levels"].items():
            cells = [name, str(own["images"]), figure(own["scores"]["accuracy"])]
            cells += [figure(own["by_class"][label]["sensitivity"]) for label in classes]
            print(f"| {' | '.join([*cells, figure(own['scores']['macro_auroc'])])} |")


if __name__ == "__main__":
    main()
