"""Whether estimated severity moves as the readers' does between two radiographs of one patient, in cross-validation.

    python benchmarks/xray_change.py PREDICTIONS.csv [--data FOLDER]

PREDICTIONS.csv is what the recipe xray-severity writes: a row a radiograph, scored by a network that has seen none of
its patient: file, patient, fold, extent, opacity, brixia, and the readers' scores true_extent, true_opacity,
true_brixia, empty where there are none. Every pair of radiographs of one patient counts once. FOLDER holds the data
sets with the readers' scores.csv and the manifest.csv that tells what a file was called where it came from: where both
names tell the day («…-day-9.jpg», «…-prior.jpg»), the later radiograph is held against the earlier one; else the pair
has a fixed order, by file, which changes nothing, as both differences turn round together. Where FOLDER holds
``cxr_brixia``, the junior of its two readers is held against the senior one in the same way: that is the bar.

Printed for each score: of the pairs between which the readers' score moved by at least 1 point, in how many the
estimate moved in the same direction; and the correlation of the errors of two radiographs of one patient, which
``SAME_PATIENT`` of ``inference/change/xray.py`` stands for. Then, with the intervals of the built-in model: of how many
pairs the difference of the readers' Brixia scores lies within the interval of the difference, and how often a change is
called rightly, not at all, or the wrong way. Intervals are 95 %: of fractions by Clopper and Pearson, as if pairs of
the same patient had nothing to do with each other; of the correlation by 2,000 drawings of patients.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from pulmoscope.core.change import Verdict
from pulmoscope.core.xray_severity import MOST_BRIXIA, MOST_EXTENT, Estimate
from pulmoscope.inference.change.xray import difference, verdict_of
from pulmoscope.runtime.xray_severity import BUILT_IN, load

SCORES = ("extent", "opacity", "brixia")
LEAST = 1.0
"""Points that the readers' score has moved by; what is less is within what they disagree by."""
BANDS = (0.0, 1.0, 3.0, 6.0, 19.0)
"""Differences of the readers' Brixia score: what lies between two of them is counted together; below 1 is none."""
DRAWN, SEED = 2000, 19
_DAY = re.compile(r"day-?(\d+)", re.IGNORECASE)
_BEFORE = re.compile(r"-(prior|admission)\b", re.IGNORECASE)

Row = Mapping[str, str]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two radiographs of one patient that both have the readers' score.

    Attributes:
        dated: whether the order is by day.
        rows: the earlier one and the later one.
        estimated, true: the score of both, float64 (2,).
    """

    patient: str
    dated: bool
    rows: tuple[Row, Row]
    estimated: Floats
    true: Floats

    @property
    def moved(self) -> float:
        """By how much the readers' score has."""
        return float(self.true[1] - self.true[0])

    @property
    def follows(self) -> bool:
        """Whether the estimate has moved the same way."""
        return bool(np.sign(self.estimated[1] - self.estimated[0]) == np.sign(self.moved))


def main() -> None:
    """Pair, count, and print what came of it."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("predictions", type=Path)
    ask.add_argument("--data", type=Path)
    told = ask.parse_args()
    rows = _rows(told.predictions)
    origins = {} if told.data is None else dict(_origins(told.data))
    for score in SCORES:
        _tell(score, list(pairs(rows, score, origins)))
    _tell_calls(list(pairs(rows, "brixia", origins)))
    readers = None if told.data is None else told.data / "cxr_brixia" / "scores.csv"
    if readers is not None and readers.is_file():
        _tell("brixia, the junior reader", list(pairs(_of_readers(readers), "brixia", origins)))


def pairs(rows: Sequence[Row], score: str, origins: Mapping[str, str]) -> Iterator[Pair]:
    """Every pair of radiographs of one patient, the earlier one first where both names tell the day."""
    by_patient: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["file"]):
        if row["patient"] and row[score] and row[f"true_{score}"]:
            by_patient[row["patient"]].append(row)
    for patient, own in by_patient.items():
        for one, other in combinations(own, 2):
            days = [day_of(origins.get(row["file"], row["file"])) for row in (one, other)]
            dated = None not in days and days[0] != days[1]
            first, last = (other, one) if dated and days[0] > days[1] else (one, other)  # type: ignore[operator]
            estimated, true = (
                np.array([float(row[name]) for row in (first, last)]) for name in (score, f"true_{score}")
            )
            yield Pair(patient, dated, (first, last), estimated, true)


def day_of(name: str) -> int | None:
    """The day that a file's name tells; what was made before, or on admission, is day -1; None where it tells none."""
    if (day := _DAY.search(name)) is not None:
        return int(day[1])
    return -1 if _BEFORE.search(name) else None


def _origins(data: Path) -> Iterator[tuple[str, str]]:
    """File, as a data set's scores.csv names it, → what it was called where it came from."""
    for table in sorted(data.glob("*/scores.csv")):
        for row in _rows(table):
            pack, _, within = row["file"].partition("/")
            own = _manifest(table.parent).get(row["file"])  # from the table's folder, or from the one above
            if (origin := own or _manifest(data / pack).get(within)) is not None:
                yield row["file"], origin


@cache
def _manifest(folder: Path) -> Mapping[str, str]:
    """File → what it was called where it came from; empty where the folder does not say."""
    file = folder / "manifest.csv"
    return {row["file"]: row.get("origin", "") for row in _rows(file)} if file.is_file() else {}


def _rows(file: Path) -> list[Row]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _of_readers(file: Path) -> list[Row]:
    """What the junior reader scored, as if it were estimated, and the senior one, as if that were the truth."""
    columns = {
        "file": "file",
        "patient": "patient",
        "brixia": "junior_global",
        "true_brixia": "senior_global",
    }
    return [{name: row[column] for name, column in columns.items()} for row in _rows(file)]


def _tell(title: str, found: Sequence[Pair]) -> None:
    """Say what became of one score."""
    moved = [pair for pair in found if abs(pair.moved) >= LEAST]
    dated = [pair for pair in moved if pair.dated]
    patients = {pair.patient for pair in found}
    sys.stdout.write(
        f"{title}: {len(found)} pairs of {len(patients)} patients, in {len(moved)} the readers' score moved\n"
        f"  the estimate moved the same way: {_counted(moved)}\n"
        f"  of those whose order the names tell: {_counted(dated)}\n"
        f"  correlation of the two errors: {_correlation_line(found)}\n"
    )


def _tell_calls(found: Sequence[Pair]) -> None:
    """Say how far the intervals of the difference hold, and which changes are called."""
    model = load(BUILT_IN)

    def moved(pair: Pair, score: str, most: float) -> Estimate:
        first, last = (model.estimate(score, float(row[score])) for row in pair.rows)
        return difference(last, first, most)

    within, calls = 0, defaultdict[int, Counter[str]](Counter)
    for pair in found:
        brixia, extent = moved(pair, "brixia", MOST_BRIXIA), moved(pair, "extent", MOST_EXTENT)
        within += brixia.low <= pair.moved <= brixia.high
        band = int(np.searchsorted(BANDS, abs(pair.moved), side="right")) - 1
        right = Verdict.UNCLEAR if band == 0 else Verdict.MORE if pair.moved > 0 else Verdict.LESS
        verdict = verdict_of(brixia, extent)
        calls[band]["right" if verdict is right else "none" if verdict is Verdict.UNCLEAR else "wrong"] += 1
    sys.stdout.write(
        f"calls: the readers' difference lies within the interval: {_fraction(within, len(found))}\n"
    )
    for band, counts in sorted(calls.items()):
        parts = ", ".join(
            f"{name} {_fraction(counts[name], counts.total())}" for name in ("right", "none", "wrong")
        )
        sys.stdout.write(f"  readers' difference {BANDS[band]:g} to {BANDS[band + 1]:g} points: {parts}\n")


def _counted(moved: Sequence[Pair]) -> str:
    """In how many pairs the estimate follows, and what fraction it may be."""
    return _fraction(sum(pair.follows for pair in moved), len(moved)) if moved else "no pairs"


def _fraction(count: int, total: int) -> str:
    """A count and what fraction it may be of."""
    bounds = binomtest(count, total).proportion_ci(method="exact")
    return f"{count} of {total} ({100 * bounds.low:.0f} to {100 * bounds.high:.0f} %)"


def _correlation_line(found: Sequence[Pair]) -> str:
    """The correlation with its interval, by patient."""
    errors = np.array([pair.estimated - pair.true for pair in found])
    by_patient: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(found):
        by_patient[pair.patient].append(index)
    groups = list(by_patient.values())
    if len(groups) < 3:
        return "fewer than three patients"
    rng = np.random.default_rng(SEED)
    drawn = [
        correlation(
            errors[np.concatenate([groups[at] for at in rng.integers(len(groups), size=len(groups))])]
        )
        for _ in range(DRAWN)
    ]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return f"{correlation(errors):.2f} ({low:.2f} to {high:.2f})"


def correlation(errors: Floats) -> float:
    """Of the errors of both radiographs of pairs, (pairs, 2), whichever of the two is the first."""
    both = np.concatenate([errors, errors[:, ::-1]])
    return float(np.corrcoef(both.T)[0, 1]) if np.ptp(both) > 0 else float("nan")


if __name__ == "__main__":
    main()
