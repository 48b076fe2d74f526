"""How far two measures of one chest agree, and how often a change is called between them: on simulated CTs.

    python benchmarks/severity_change.py [--chests 4] [--csv FILE]

Every chest is drawn with each disease, twice: the second time as another scanner makes it (dose, kernel, field of
view and slice thickness are drawn anew). Each scan is measured once. Printed is how far the two scans of one chest with
the same disease differ; then every first scan of a chest is compared with every second one, which for the same disease
is no change at all. How deep the patient has breathed in is the same in all of them. Intervals are 95 %, by Clopper and
Pearson. ``--csv`` keeps what was measured; a study that stands in the file is not drawn again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from pulmoscope.core.change import Verdict
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Modality, Scan, SourceFile, Units
from pulmoscope.inference.change.ct import measured_alone, verdict_of
from pulmoscope.phantoms.ct.acquisition import draw_nuisances
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.phantoms.ct.grades import GRADES
from pulmoscope.segment.ct_error import interval
from pulmoscope.segment.ct_severity import grade

SEED, STEP_MM, SIZE = 8118, 5.0, 256
DISEASES = (*GRADES, "COVID", "CAP")
BANDS = (0.0, 0.5, 5.0, 10.0, 20.0, 101.0)
"""True differences, points: what lies between two of them is counted together; below the first bound is none."""

Study = tuple[int, str, int]
"""Chest, disease, which of its two scans."""
Percents = tuple[float, float]
"""True and measured."""


def main() -> None:
    """Draw, measure, compare, and print what came of it."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--chests", type=int, default=4)
    ask.add_argument("--csv", type=Path)
    told = ask.parse_args()
    found = dict(_all_measured(told.chests, told.csv))
    errors = np.array(
        [
            [found[chest, disease, scan][1] - found[chest, disease, scan][0] for scan in (0, 1)]
            for chest, disease in product(range(told.chests), DISEASES)
        ]
    )
    apart = errors[:, 1] - errors[:, 0]
    say = sys.stdout.write
    say(
        f"{len(errors)} pairs of the same disease: errors {errors.std():.2f} points (s.d.), their correlation "
    )
    say(f"{np.corrcoef(errors.T)[0, 1]:.3f}; the two measures differ by {apart.std():.2f} (s.d.), ")
    say(f"at most {abs(apart).max():.2f}\n")
    for band, counts in sorted(_calls(told.chests, found).items()):
        parts = ", ".join(
            f"{name} {_counted(counts[name], counts.total())}" for name in ("right", "none", "wrong")
        )
        say(f"true difference {BANDS[band]:g} to {BANDS[band + 1]:g} points: {parts}\n")


def _all_measured(chests: int, file: Path | None) -> Iterator[tuple[Study, Percents]]:
    """Every study; of those in the file what stands there, and the others are added to it."""
    known: dict[Study, Percents] = {}
    if file is not None and file.exists():
        with file.open(encoding="utf-8") as stream:
            for chest, disease, scan, truth, measured in csv.reader(stream):
                known[int(chest), disease, int(scan)] = float(truth), float(measured)
    for study in product(range(chests), DISEASES, (0, 1)):
        percents = known.get(study) or _measured(*study)
        if file is not None and study not in known:
            with file.open("a", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerow((*study, *percents))
        yield study, percents


def _calls(chests: int, found: Mapping[Study, Percents]) -> dict[int, Counter[str]]:
    """Band of true differences → how often a change was called rightly, not at all, or the wrong way."""
    calls: dict[int, Counter[str]] = {}
    for chest, earlier, now in product(range(chests), DISEASES, DISEASES):
        (true_then, then), (true_now, at_now) = found[chest, earlier, 0], found[chest, now, 1]
        band = int(np.searchsorted(BANDS, abs(true_now - true_then), side="right")) - 1
        right = Verdict.UNCLEAR if band == 0 else Verdict.MORE if true_now > true_then else Verdict.LESS
        verdict = verdict_of(_severity(at_now), _severity(then))
        called = "right" if verdict is right else "none" if verdict is Verdict.UNCLEAR else "wrong"
        calls.setdefault(band, Counter())[called] += 1
    return calls


def _severity(percent: float) -> SeverityMeasure:
    """A measure of which nothing but the percentage is known."""
    return SeverityMeasure(
        percent, interval(percent), None, None, grade(percent), 0, {}, {"both": 1.0}, {}, ()
    )


def _measured(chest: int, disease: str, scan: int) -> Percents:
    """True percent affected, and what is measured of one scan."""
    nuisances = draw_nuisances(np.random.default_rng((SEED, chest, scan)))
    phantom = draw(disease, (SEED, chest), step_mm=STEP_MM, size=SIZE, nuisances=nuisances)
    file = SourceFile("phantom", f"{chest:032d}{DISEASES.index(disease):016d}{scan:016d}")
    pixels = phantom.hu.astype(np.float32)
    one = Scan("phantom", Modality.CT, pixels, (file,), phantom.spacing_mm, Units.HU)
    return phantom.affected, float(measured_alone(one).severity.percent_affected)


def _counted(count: int, total: int) -> str:
    """A count and what fraction it may be of."""
    bounds = binomtest(count, total).proportion_ci(method="exact")
    return f"{count} of {total} ({100 * bounds.low:.0f} to {100 * bounds.high:.0f} %)"


if __name__ == "__main__":
    main()
