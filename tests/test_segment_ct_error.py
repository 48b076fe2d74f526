from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.segment.ct_error import ERRORS, interval

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "severity_interval.py"
percents = st.floats(0, 100)
REAL = [(2.7, 4.1), (13.8, 13.8), (56.1, 61.0), (0.0, 7.0)]
"""True and measured percent of four patients (MedSeg's CTs)."""


@given(percents)
def test_the_measured_percentage_lies_within(percent: float) -> None:
    low, high = interval(percent)
    assert 0 <= low <= percent <= high <= 100


@given(percents, percents)
def test_no_end_falls_where_more_is_measured(one: float, other: float) -> None:
    less, more = interval(min(one, other)), interval(max(one, other))
    assert less[0] <= more[0] + 1e-9
    assert less[1] <= more[1] + 1e-9


def test_between_two_levels_it_is_linear() -> None:
    (first, first_below, first_above), (second, second_below, second_above) = ERRORS[-3:-1]
    middle = (first + second) / 2
    low, high = interval(middle)
    assert low == pytest.approx(middle - (first_below + second_below) / 2)
    assert high == pytest.approx(middle + (first_above + second_above) / 2)


def studies(bias: float, spread: float) -> np.ndarray:
    """200 studies measured from 0 to 100 %: the truth is so much higher, give or take."""
    measured = np.linspace(0, 100, 200)
    return np.stack(
        [measured + bias + np.random.default_rng(1).uniform(-spread, spread, 200), measured], axis=1
    )


def fitted(folder: Path, simulated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The table that the benchmark prints: measured percent, points below, points above."""
    files = [folder / "simulated.csv", folder / "real.csv"]
    for file, rows in zip(files, (simulated, real), strict=True):
        np.savetxt(file, rows, delimiter=",", header="percent_true,percent_measured", comments="")
    command = [sys.executable, str(BENCHMARK), str(files[0]), "--real", str(files[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    table, _, _ = done.stdout.partition("\n)\n")
    return np.array(ast.literal_eval(table.partition(" = ")[2] + ")"))


def holds(table: np.ndarray, study: tuple[float, float]) -> bool:
    """Whether the truth lies within the interval of what was measured."""
    truth, measured = study
    below, above = (np.interp(measured, table[:, 0], table[:, column]) for column in (1, 2))
    return bool(measured - below <= truth <= measured + above)


def test_the_benchmark_fits_the_errors_at_each_level_and_holds_every_real_study(tmp_path: Path) -> None:
    table = fitted(tmp_path, studies(bias=2.0, spread=5.0), np.empty((0, 2)))
    # Errors are -3 to 7; of 50 studies the ends that 5 % lie beyond are within a point and a half of these.
    np.testing.assert_allclose(table[:, 1], 3, atol=1.5)
    np.testing.assert_allclose(table[:, 2], 7, atol=1.5)
    table = fitted(tmp_path, studies(bias=8.0, spread=1.0), np.array(REAL))
    assert (table[:, 1:] >= 0).all()
    assert all(holds(table, study) for study in REAL)
    assert holds(table, (70.0, 62.0))
    assert not holds(table, (90.0, 90.0 - 12.0))
