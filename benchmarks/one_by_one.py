"""How long each radiograph takes in a process that is running: read, checked, predicted and scored, without a page.

    python benchmarks/one_by_one.py FOLDER TIMES.json [--model NAME|DIR]

TIMES.json holds the seconds of each, in order. The first also loads libraries and networks.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pulmoscope


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("times", type=Path)
    ask.add_argument("--model", default="xray-covid")
    given = ask.parse_args()
    times, before = [], time.perf_counter()
    for _ in pulmoscope.diagnose_many([given.folder], given.model, explain=False):
        times.append(time.perf_counter() - before)
        before = time.perf_counter()
    given.times.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main()
