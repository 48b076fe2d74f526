"""How far the measured percent affected lies from the truth: the table of pulmoscope/segment/ct_error.py, fitted.

    python benchmarks/severity_interval.py SIMULATED.csv … --real REAL.csv …

Each CSV has a row a study and the columns ``percent_true`` and ``percent_measured``, of both lungs: ``patients.csv`` of
``pulmoscope evaluate measure``. Studies without either are left aside.
It prints the tuple ``ERRORS``, and how many studies lie within their intervals: of the simulated ones when each is left
out of the fit (that is the honest figure), of all, and which real ones.

At each level the simulated studies that measure most like it are taken, a quarter of them and at least 19. Of these,
5 % of the errors lie beyond either end, by order statistics that hold for a new study too (as in conformal prediction;
Vovk et al. 2005): of 19 the largest and the smallest. Real studies are few, and err more than simulated ones: the
interval is widened, at the levels around each, until it holds. Nowhere does an end fall where the measure rises.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pairs = npt.NDArray[np.float64]
"""(studies, 2): true and measured percent."""

LEVELS = np.array([0.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0])
ONE_SIDE = 0.95
"""Of each end: nine of ten studies lie between both."""
FEWEST = 19
"""The fewest studies of which the extremes bound a new one in 95 of 100 cases."""
NEAREST = 4
"""At each level one in so many studies is looked at."""


def main() -> None:
    """Fit, and print the table and how well it does."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("simulated", type=Path, nargs="+")
    ask.add_argument("--real", type=Path, nargs="*", default=[])
    options = ask.parse_args()
    simulated, real = _read(options.simulated), _read(options.real)
    if len(simulated) <= FEWEST:
        sys.exit(f"more than {FEWEST} simulated studies are needed")
    table = fitted(simulated, real)
    say = sys.stdout.write
    say("ERRORS: tuple[tuple[float, float, float], ...] = (\n")
    for level, below, above in table:
        say(f"    ({level:.1f}, {below:.1f}, {above:.1f}),\n")
    say(")\n")
    left_out = sum(
        bool(inside(fitted(np.delete(simulated, place, axis=0), real), simulated[place : place + 1])[0])
        for place in range(len(simulated))
    )
    width = np.ptp(_bounds(table, simulated[:, 1]), axis=0)
    say(f"simulated, each left out of the fit: {left_out} of {len(simulated)} within\n")
    say(f"simulated, all in the fit: {int(inside(table, simulated).sum())} of {len(simulated)} within; ")
    say(f"median width {np.median(width):.1f} points\n")
    for (truth, measured), (low, high) in zip(real, _bounds(table, real[:, 1]).T, strict=True):
        say(f"real: true {truth:5.1f} %  measured {measured:5.1f} %  interval {low:.1f} to {high:.1f}\n")


def fitted(simulated: Pairs, real: Pairs) -> Pairs:
    """(levels, 3): measured percent, and how many points below and above it the truth lies at most."""
    errors = simulated[:, 0] - simulated[:, 1]
    count = max(FEWEST, len(errors) // NEAREST)
    rank = min(count, math.ceil(ONE_SIDE * (count + 1)))
    low, high = np.empty(len(LEVELS)), np.empty(len(LEVELS))
    for place, level in enumerate(LEVELS):
        near = np.sort(errors[np.argsort(np.abs(simulated[:, 1] - level), kind="stable")[:count]])
        low[place], high[place] = min(0.0, near[count - rank]), max(0.0, near[rank - 1])
    for truth, measured in real:
        above = int(np.clip(np.searchsorted(LEVELS, measured), 1, len(LEVELS) - 1))
        around = slice(above - 1, above + 1)
        low[around] = np.minimum(low[around], truth - measured)
        high[around] = np.maximum(high[around], truth - measured)
    low = np.minimum.accumulate((LEVELS + low)[::-1])[::-1] - LEVELS
    high = np.maximum.accumulate(LEVELS + high) - LEVELS
    # Away from zero, so that no study falls out by rounding; the slope of either end stays above zero.
    return np.stack([LEVELS, np.ceil(-10 * low) / 10, np.ceil(10 * high) / 10], axis=1)


def inside(table: Pairs, studies: Pairs) -> npt.NDArray[np.bool_]:
    """Of each study, whether its truth lies within its interval."""
    low, high = _bounds(table, studies[:, 1])
    return np.asarray((low <= studies[:, 0]) & (studies[:, 0] <= high))


def _bounds(table: Pairs, measured: npt.NDArray[np.float64]) -> Pairs:
    """Low and high of each measured percent, (2, studies), as ``pulmoscope.segment.ct_error.interval`` has them."""
    low = measured - np.interp(measured, table[:, 0], table[:, 1])
    high = measured + np.interp(measured, table[:, 0], table[:, 2])
    return np.stack([np.maximum(low, 0), np.minimum(high, 100)])


def _read(files: list[Path]) -> Pairs:
    rows = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as stream:
            pairs = [(row["percent_true"], row["percent_measured"]) for row in csv.DictReader(stream)]
        rows += [(float(truth), float(measured)) for truth, measured in pairs if truth and measured]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


if __name__ == "__main__":
    main()
