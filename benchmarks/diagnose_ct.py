"""A CT study from its DICOM folder to the report, beside the same network in a plain MONAI + torch pipeline.

    python benchmarks/diagnose_ct.py STUDY [--model NAME|DIR]      (needs monai, and pulmoscope[torch])

Both as whole processes, by turns in one run; the first round, which warms the disk cache, is not counted. Figures are
medians of five; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from measured import Measured, measured, pulmoscope
from pulmoscope.runtime.bundle import load

RUNS = 5


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("study", type=Path)
    ask.add_argument("--model", default="ct-slice-covid")
    given = ask.parse_args()
    bundle = load(given.model).folder
    plain = [sys.executable, str(Path(__file__).with_name("plain_ct.py")), str(given.study), str(bundle)]
    ours = [pulmoscope(), "diagnose", str(given.study), "--model", given.model, "-o"]
    found: dict[str, list[Measured]] = {"pulmoscope": [], "MONAI + torch": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS + 1):
            found["pulmoscope"].append(measured([*ours, f"{folder}/ours{number}"]))
            found["MONAI + torch"].append(measured([*plain, f"{folder}/plain{number}"]))
    medians = {}
    for name, runs in found.items():
        walls = [run.wall_s for run in runs[1:]]
        medians[name] = statistics.median(walls)
        peak = statistics.median(run.peak_mib for run in runs[1:])
        print(
            f"{name:14}  {medians[name]:6.2f} s ({min(walls):.2f} to {max(walls):.2f})  peak RSS {peak:.0f} MiB"
        )
    print(f"ratio           {medians['MONAI + torch'] / medians['pulmoscope']:.1f}")


if __name__ == "__main__":
    main()
