"""Images per second and memory for a folder: `pulmoscope diagnose` beside torch + timm eager, in the same run.

    python benchmarks/diagnose_folder.py [--images DIR] [--count 1000] [--model NAME|DIR] [--report auto]

Whole processes on the same files, one after the other. Ours reads, checks quality, predicts and writes a JSON per
image and the index; pages and heat maps as --report says (none: JSON and index alone). The other is the plain script
that it replaces, benchmarks/plain_xray.py: PIL, a batch of 16, MobileNetV2 at the bundle's input size from timm,
float32, one line of CSV per image. A first, quarter run of ours shows whether memory grows with the number of images.
Without --images radiographs are simulated (JPEG, 256 to 512 px). The whole suite, by turns and with ranges: make bench.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.inputs import drawn, linked, listed
from bench.parts import eager, ours_of_folder
from bench.sides import OUT, Side
from measured import Measured, measured


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--images", type=Path)
    ask.add_argument("--count", type=int, default=1000)
    ask.add_argument("--model", default="xray-covid")
    ask.add_argument("--report", default="auto")
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = listed(given.images) if given.images else drawn(Path(scratch) / "drawn", given.count)
        files = files[: given.count]
        whole = linked(files, Path(scratch) / "whole")
        quarter = linked(files[: len(files) // 4], Path(scratch) / "quarter")
        beside = eager(whole, None, given.model)
        if lacks := beside.missing():
            sys.exit(f"{lacks}: pip install 'pulmoscope[train]'")
        less = run(ours_of_folder(quarter, None, given.model, given.report), f"{quarter}-out")
        more = run(ours_of_folder(whole, None, given.model, given.report), f"{whole}-out")
        other = run(beside, f"{scratch}/eager")
        index = json.loads(Path(f"{whole}-out/index.json").read_text(encoding="utf-8"))
        pages = sum(entry.get("report") is not None for entry in index["inputs"])
    print(f"{len(files)} images on {os.cpu_count()} cores; {index['counts']}; {pages} pages with heat maps")
    show("pulmoscope", more, len(files))
    show("  a quarter of them", less, len(files) // 4)
    show("torch + timm eager", other, len(files))
    print(f"ratio {other.wall_s / more.wall_s:.1f}")


def run(side: Side, out: str) -> Measured:
    (command,) = side.commands
    return measured([word.replace(OUT, out) for word in command])


def show(name: str, found: Measured, images: int) -> None:
    rate = f"{images / found.wall_s:6.1f} images/s"
    print(f"{name:20} {found.wall_s:7.2f} s  {rate}  peak {found.peak_mib:5.0f} MiB")


if __name__ == "__main__":
    main()
