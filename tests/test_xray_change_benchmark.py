"""The benchmark of pairs of radiographs, on estimates whose agreement with the readers is known."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "xray_change.py"
COLUMNS = ("extent", "opacity", "brixia")

Row = tuple[str, str, float, float]
"""File, patient, estimated and true Brixia score."""


def figures(folder: Path, rows: Sequence[Row], *options: str) -> list[list[float]]:
    """The numbers of each line that is printed of the Brixia score."""
    file = folder / "predictions.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient", "fold", *COLUMNS, *(f"true_{name}" for name in COLUMNS)])
        for name, patient, estimated, true in rows:
            writer.writerow([name, patient, 0, 1.0, 1.0, estimated, "", "", true])
    command = [sys.executable, str(BENCHMARK), str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.partition("\nbrixia: ")[2].partition("\ncalls: ")[0].splitlines()
    return [[float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", line)] for line in lines]


def test_pairs_that_move_as_the_readers_are_counted(tmp_path: Path) -> None:
    rows = [
        ("p/a1.jpg", "a", 5.0, 4.0),
        ("p/a2.jpg", "a", 9.0, 8.0),  # follows
        ("p/a3.jpg", "a", 8.5, 8.5),  # half a point from a2; from a1 it follows
        ("p/b1.jpg", "b", 5.0, 8.0),
        ("p/b2.jpg", "b", 6.0, 4.0),  # the wrong way
        ("p/c1.jpg", "c", 6.0, 4.0),  # alone
        ("p/d1.jpg", "d", 3.0, 3.0),
        ("p/d2.jpg", "d", 3.0, 9.0),  # does not move at all
    ]
    pairs, moved, dated, _ = figures(tmp_path, rows)
    assert pairs == [5, 3, 4]  # pairs, patients, pairs that moved
    # Exactly half of four: between 0.0676 and 0.9324, by tables of Clopper and Pearson.
    assert moved == [2, 4, 7, 93]
    assert dated == []


def test_names_tell_the_order_by_day(tmp_path: Path) -> None:
    origins = {"a1": "x/fig-day-9.jpg", "a2": "x/fig-day12.jpg", "b1": "x/y-1.jpg", "b2": "x/y-prior.jpg"}
    (tmp_path / "p").mkdir()
    with (tmp_path / "p" / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [("file", "origin"), *((f"{name}.jpg", origin) for name, origin in origins.items())]
        )
    rows = [
        ("a1.jpg", "a", 5.0, 4.0),  # a table names files from its folder, or from the one above
        ("p/a2.jpg", "a", 9.0, 8.0),
        ("p/b1.jpg", "b", 5.0, 4.0),
        ("p/b2.jpg", "b", 9.0, 8.0),  # only one of the two names tells a day
    ]
    (tmp_path / "p" / "scores.csv").write_text("file\n" + "".join(f"{row[0]}\n" for row in rows))
    _, moved, dated, _ = figures(tmp_path, rows, "--data", str(tmp_path))
    assert moved[:2] == [2, 2]
    assert dated[:2] == [1, 1]


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_correlation_of_both_errors_is_found(tmp_path: Path, shared: float) -> None:
    rng = np.random.default_rng(7)
    rows = []
    for patient in range(400):
        common = rng.normal(0, np.sqrt(shared))
        for number in range(2):
            error = common + rng.normal(0, np.sqrt(1 - shared))
            true = float(rng.uniform(2, 12))
            rows.append((f"p/{patient}-{number}.jpg", str(patient), true + error, true))
    *_, (found, low, high) = figures(tmp_path, rows)
    assert found == pytest.approx(shared, abs=0.1)
    assert low < found < high
    assert high - low < 0.25
