"""How often a change is called between two simulated CTs of one chest, where there is one and where there is none.

    python benchmarks/severity_change.py [--chests 6] [--processes 1]

Every chest is drawn with each grade of disease, twice: the second time as another scanner makes it (dose, kernel,
field of view and slice thickness are drawn anew). Each scan is measured once; then every first scan of a chest is
compared with every second one, which for scans of the same grade is no change at all. How deep the patient has breathed
in is the same in all of them. Intervals are 95 %, by Clopper and Pearson.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
from scipy.stats import binomtest

from pulmoscope.core.change import Verdict
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Modality, Scan, SourceFile, Units
from pulmoscope.inference.change import measured_alone, verdict_of
from pulmoscope.phantoms.ct.acquisition import draw_nuisances
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.phantoms.ct.grades import GRADES

SEED, STEP_MM, SIZE = 8118, 5.0, 256
BANDS = (0.0, 0.5, 5.0, 10.0, 101.0)
"""True differences, points: what lies between two of them is counted together; below the first bound is none."""


def main() -> None:
    """Draw, measure, compare, and print how often what is called."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--chests", type=int, default=6)
    ask.add_argument("--processes", type=int, default=1)
    told = ask.parse_args()
    jobs = list(product(range(told.chests), GRADES, (0, 1)))
    with ProcessPoolExecutor(told.processes) as processes:
        found = dict(zip(jobs, processes.map(_measured, *zip(*jobs, strict=True)), strict=True))
    calls: dict[int, Counter[str]] = {}
    for chest, earlier, now in product(range(told.chests), GRADES, GRADES):
        (true_then, then), (true_now, at_now) = found[chest, earlier, 0], found[chest, now, 1]
        difference = true_now - true_then
        band = int(np.searchsorted(BANDS, abs(difference), side="right")) - 1
        right = Verdict.UNCLEAR if band == 0 else Verdict.MORE if difference > 0 else Verdict.LESS
        verdict = verdict_of(at_now, then)
        called = "right" if verdict is right else "none" if verdict is Verdict.UNCLEAR else "wrong"
        calls.setdefault(band, Counter())[called] += 1
    for band, counts in sorted(calls.items()):
        total = counts.total()
        parts = ", ".join(f"{name} {_counted(counts[name], total)}" for name in ("right", "none", "wrong"))
        sys.stdout.write(f"true difference {BANDS[band]:g} to {BANDS[band + 1]:g} points: {parts}\n")


def _counted(count: int, total: int) -> str:
    """A count and what fraction it may be of."""
    bounds = binomtest(count, total).proportion_ci(method="exact")
    return f"{count} of {total} ({100 * bounds.low:.0f} to {100 * bounds.high:.0f} %)"


def _measured(chest: int, grade: str, scan: int) -> tuple[float, SeverityMeasure]:
    """True percent affected, and what is measured of one scan."""
    nuisances = draw_nuisances(np.random.default_rng((SEED, chest, scan)))
    phantom = draw(grade, (SEED, chest), step_mm=STEP_MM, size=SIZE, nuisances=nuisances)
    file = SourceFile("phantom", f"{chest:032d}{GRADES.index(grade):016d}{scan:016d}")
    pixels = phantom.hu.astype(np.float32)
    one = Scan("phantom", Modality.CT, pixels, (file,), phantom.spacing_mm, Units.HU)
    return phantom.affected, measured_alone(one).severity


if __name__ == "__main__":
    main()
