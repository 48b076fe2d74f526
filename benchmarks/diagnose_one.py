"""How long `pulmoscope diagnose` takes for one image, and how much memory: the whole process, report included.

    python benchmarks/diagnose_one.py [IMAGE] [--model NAME|DIR]

Without an image it draws a phantom of 512 x 512. The first run, which warms the disk cache, is not counted; figures
are medians of seven.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from measured import measured, pulmoscope

RUNS = 7


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("image", nargs="?", type=Path)
    ask.add_argument("--model", default="xray-covid")
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = given.image
        if image is None:
            from pulmoscope.phantoms.xray.folder import write_phantoms

            table = write_phantoms(Path(folder) / "phantom", classes=["COVID"])
            image = table.root / table.samples[0].file
        command = [pulmoscope(), "diagnose", str(image), "--model", given.model, "-o"]
        found = [measured([*command, f"{folder}/{number}"]) for number in range(RUNS + 1)][1:]
    walls = [one.wall_s for one in found]
    print(
        f"wall      {statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f}), median of {RUNS}"
    )
    print(f"peak RSS  {statistics.median(one.peak_mib for one in found):.0f} MiB")


if __name__ == "__main__":
    main()
