"""How much of known damage is found in CT studies, and how much is found where there is none.

    python benchmarks/missing.py [STUDY...] [--drawn N] [--size 256] [--slices 36] [--seed 0]

Every study (a folder of DICOM files, or a volume), and N drawn ones of all scanners, kernels and doses, is searched as
it is, as it would be with windows that cut off air and bone, and with damage to a seventh of its slices, a kind and
a size at a time. A slice counts as found where any of its damage is; recall and precision count voxels: recall those
within the patient, as what is lost of the air around it is no loss, precision all.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulmoscope.core.types import FloatArray, Point
from pulmoscope.io import read_scan
from pulmoscope.phantoms.ct.acquisition import KERNELS, SCANNERS
from pulmoscope.phantoms.ct.damage import KINDS, SIZES, damage
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.phantoms.ct.lesions import LABELS
from pulmoscope.quality.missing import Missing, find_missing
from pulmoscope.segment.ct_lungs import lung_mask

WINDOWS = ((-1000, 400), (-1350, 150), (-900, 200))
SHARE = 1 / 7


@dataclass
class Row:
    """What was found of one kind of damage."""

    damaged: int = 0
    found: int = 0
    false: int = 0
    lost: int = 0
    lost_found: int = 0
    marked: int = 0
    marked_rightly: int = 0

    def add(self, own: Missing, truth: np.ndarray, inside: np.ndarray) -> None:
        """Count a study; ``inside`` is what of it is patient."""
        damaged, marked = truth.any(axis=(1, 2)), own.mask.any(axis=(1, 2))
        self.damaged += int(damaged.sum())
        self.found += int((own.mask & truth).any(axis=(1, 2)).sum())
        self.false += int((marked & ~damaged).sum())
        self.lost += int((truth & inside).sum())
        self.lost_found += int((own.mask & truth & inside).sum())
        self.marked += int(own.mask.sum())
        self.marked_rightly += int((own.mask & truth).sum())


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("studies", type=Path, nargs="*")
    ask.add_argument("--drawn", type=int, default=24)
    ask.add_argument("--size", type=int, default=256)
    ask.add_argument("--slices", type=int, default=36)
    ask.add_argument("--seed", type=int, default=0)
    given = ask.parse_args()
    for name, studies in (
        ("studies", (_read(path) for path in given.studies)),
        ("drawn", _drawn(given.drawn, given.size, given.slices, given.seed)),
    ):
        _measure(name, studies, given.seed)


def _read(path: Path) -> tuple[FloatArray, Point]:
    scan = read_scan(path, "ct")
    assert scan.spacing_mm is not None
    return np.asarray(scan.pixels, dtype=np.float32), scan.spacing_mm


def _drawn(count: int, size: int, slices: int, seed: int) -> Iterator[tuple[FloatArray, Point]]:
    ways = itertools.cycle(itertools.product(SCANNERS, KERNELS, (0.3, 2.0)))
    for number, (scanner, kernel, dose) in zip(range(count), ways, strict=False):
        settings = {"scanner": scanner, "kernel": kernel, "dose": dose}
        label = LABELS[number % len(LABELS)]
        own = draw(label, (seed, number), slices=slices, size=size, nuisances=settings)
        yield own.hu.astype(np.float32), own.spacing_mm


def _measure(name: str, studies: Iterator[tuple[FloatArray, Point]], seed: int) -> None:
    rows: dict[str, Row] = defaultdict(Row)
    clean: dict[str, list[int]] = defaultdict(list)
    slices, seconds = 0, 0.0
    for number, (hu, spacing_mm) in enumerate(studies):
        start = time.perf_counter()
        clean["as they are"].append(len(find_missing(hu, spacing_mm).slices))
        seconds += time.perf_counter() - start
        slices += len(hu)
        for low, high in WINDOWS:
            cut = np.clip(hu, low, high)
            clean[f"cut to {low} … {high} HU"].append(len(find_missing(cut, spacing_mm).slices))
        inside = _patient(hu, spacing_mm)
        for kind in KINDS:
            for size in SIZES if kind not in ("rows", "slice") else ("",):
                rng = np.random.default_rng((seed, number))
                sizes = (size,) if size else SIZES
                damaged, truth = damage(hu, rng, SHARE, kinds=(kind,), sizes=sizes)
                rows[f"{kind} {size}"].add(find_missing(damaged, spacing_mm), truth, inside)
    if not slices:
        return
    print(f"\n{name}: {number + 1} studies, {slices} slices, {1000 * seconds / slices:.1f} ms a slice\n")
    print("| without damage | slices flagged | studies flagged |\n|---|---|---|")
    for what, flagged in clean.items():
        print(f"| {what} | {sum(flagged)} of {slices} | {sum(map(bool, flagged))} of {len(flagged)} |")
    print("\n| damage | slices found | others flagged | recall | precision |\n|---|---|---|---|---|")
    for what, row in rows.items():
        recall, precision = row.lost_found / max(1, row.lost), row.marked_rightly / max(1, row.marked)
        print(f"| {what} | {row.found} of {row.damaged} | {row.false} | {recall:.4f} | {precision:.4f} |")


def _patient(hu: FloatArray, spacing_mm: Point) -> np.ndarray:
    """Lung and tissue: what is lost of the patient."""
    return (lung_mask(hu, spacing_mm).labels > 0) | (hu > -400)


if __name__ == "__main__":
    main()
