"""A CT study from its DICOM folder to the report, beside the same network in a plain MONAI + torch pipeline.

    python benchmarks/diagnose_ct.py STUDY [--model NAME|DIR]      (needs pulmoscope[bench])

Both as whole processes, by turns in one run; the first round, which warms the disk cache, is not counted. Figures are
medians of five; the ratio is that of the medians. The whole suite, several studies included: make bench.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.figures import Spread
from bench.parts import ct
from bench.sides import run

RUNS = 5


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("study", type=Path)
    ask.add_argument("--model", default="ct-slice-covid")
    given = ask.parse_args()
    part = ct([given.study], len([*given.study.rglob("*.dcm")]) or 1, given.model)
    if lacks := [side.missing() for side in part.sides if side.missing()]:
        sys.exit(f"{'; '.join(lacks)}: pip install 'pulmoscope[bench]', or make bench")
    with tempfile.TemporaryDirectory() as folder:
        found = run(part, RUNS, Path(folder), lambda _: None)
    if failed := [one.side.name for one in found if one.skipped]:
        sys.exit(f"{', '.join(failed)}: failed")
    walls = {one.side.name: Spread.of(measure.wall_s for measure in one.runs) for one in found}
    for one in found:
        wall, peak = walls[one.side.name], Spread.of(measure.peak_mib for measure in one.runs)
        print(
            f"{one.side.name:14}  {wall.median:6.2f} s ({wall.low:.2f} to {wall.high:.2f})  "
            f"peak RSS {peak.median:.0f} MiB"
        )
    print(f"ratio           {walls['MONAI + torch'].median / walls['pulmoscope'].median:.1f}")


if __name__ == "__main__":
    main()
