"""Whether a change is called between measures of one real CT, in which nothing has changed.

    python benchmarks/severity_repeated.py SERIES [SERIES ...]

Compared are the series' even slices with its odd ones, the series with it made noisier by 20 HU, and with its lungs as
if breathed out by 10 and by 20 % of their volume: all that is lighter than -300 HU in them is denser in proportion, as
the same tissue fills less room. Only the density is changed; that the lungs are smaller is told to the comparison.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulmoscope.core.change import MeasuredCt
from pulmoscope.core.types import Scan
from pulmoscope.inference.change.ct import change_of, measured_alone
from pulmoscope.io import read_scan

NOISE_HU, LIGHT_HU, BREATHED_OUT = 20.0, -300.0, (0.1, 0.2)


def main() -> None:
    """Print what is measured, and the verdict, pair by pair."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("series", type=Path, nargs="+")
    for folder in ask.parse_args().series:
        for name, earlier, now in _pairs(read_scan(folder)):
            change = change_of(now, earlier)
            low, high = change.interval
            before, after = earlier.severity.percent_affected, now.severity.percent_affected
            sys.stdout.write(
                f"{folder.name}  {name:18s}  {before:5.2f} and {after:5.2f} %: {change.verdict}, "
                f"{low:+.1f} to {high:+.1f} points\n"
            )


def _pairs(scan: Scan) -> Iterator[tuple[str, MeasuredCt, MeasuredCt]]:
    """What is compared: its name, and both measured."""
    yield (
        "even and odd slices",
        measured_alone(_every_second(scan, 0)),
        measured_alone(_every_second(scan, 1)),
    )
    whole = measured_alone(scan)
    noise = np.random.default_rng(0).normal(0, NOISE_HU, scan.pixels.shape).astype(np.float32)
    yield "noise", whole, measured_alone(replace(scan, pixels=scan.pixels + noise))
    light = (whole.masks.lungs > 0) & (scan.pixels < LIGHT_HU)
    for fraction in BREATHED_OUT:
        denser = np.where(light, (scan.pixels + 1000) / (1 - fraction) - 1000, scan.pixels)
        now = measured_alone(replace(scan, pixels=denser.astype(np.float32)))
        smaller = {name: (1 - fraction) * volume for name, volume in now.severity.volumes_ml.items()}
        yield (
            f"breathed out {100 * fraction:.0f} %",
            whole,
            replace(now, severity=replace(now.severity, volumes_ml=smaller)),
        )


def _every_second(scan: Scan, first: int) -> Scan:
    """Every second slice."""
    assert scan.spacing_mm is not None
    assert scan.z_mm is not None
    step, *pixel = scan.spacing_mm
    return replace(
        scan,
        pixels=scan.pixels[first::2],
        files=scan.files[first::2],
        z_mm=scan.z_mm[first::2],
        spacing_mm=(2 * step, *pixel),
        geometry=None,
    )


if __name__ == "__main__":
    main()
