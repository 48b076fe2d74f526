"""Radiographs with values near them: what the severity of the one and the others have to do with each other.

python benchmarks/outcome_pairs.py DATA RUN -o pairs.csv

DATA holds ``clinical/hannover.csv`` and the radiographs that it names; RUN is a model of ``train outcome-clinical``.
A row a radiograph: its estimated severity, its values, and the outcome that RUN predicts of both. Nothing is learnt,
and the outcome is not evaluated: of the 25 patients one died.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import pulmoscope
from pulmoscope.core.files import csv_text, write_text
from pulmoscope.core.outcome import severity_values
from pulmoscope.datasets.patients import read_patients
from pulmoscope.inference.outcome import predict_outcome
from pulmoscope.runtime.outcome import load_outcome

SHOWN = ("crp", "ldh", "lymphocytes", "neutrophils", "d_dimer", "po2")
SEVERITY = ("xray_extent", "xray_opacity", "xray_brixia")


def correlation(rows: list[dict[str, float]], patients: list[str], first: str, other: str) -> str:
    """Spearman's, with its 95 % interval by patient."""
    known = [index for index, row in enumerate(rows) if first in row and other in row]
    pairs = np.array([[rows[index][first], rows[index][other]] for index in known])
    names = np.array([patients[index] for index in known])
    groups = [np.flatnonzero(names == name) for name in sorted(set(names))]
    random, drawn = np.random.default_rng(20), []
    for _ in range(1000):
        chosen = np.concatenate([groups[index] for index in random.integers(0, len(groups), len(groups))])
        if len(np.unique(pairs[chosen, 0])) > 1 and len(np.unique(pairs[chosen, 1])) > 1:
            drawn.append(spearmanr(pairs[chosen, 0], pairs[chosen, 1]).statistic)
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = spearmanr(pairs[:, 0], pairs[:, 1]).statistic
    return f"{value:.2f} ({low:.2f} to {high:.2f}), {len(known)} radiographs of {len(groups)} patients"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("pairs.csv"))
    given = parser.parse_args()
    folder, model, opened = (
        given.data / "clinical",
        load_outcome(given.run),
        pulmoscope.open_model("xray-covid"),
    )
    table = read_patients(folder, "hannover.csv")
    with (folder / "hannover.csv").open(encoding="utf-8", newline="") as stream:
        films = [row["file"] for row in csv.DictReader(stream)]
    rows = []
    for film, values in zip(films, table.values, strict=True):
        known = {name: float(one) for name, one in zip(table.names, values, strict=True) if not np.isnan(one)}
        shown = pulmoscope.diagnose(given.data / film, opened, explain=False).xray_severity
        severity = severity_values(shown)
        rows.append(
            known | severity | {"probability": predict_outcome(model, known, severity).probability.value}
        )
    columns = (*SEVERITY, *SHOWN, "probability")
    cells = ([film, *(row.get(name) for name in columns)] for film, row in zip(films, rows, strict=True))
    write_text(given.out, csv_text(["file", *columns], cells))
    for first in SEVERITY[:2]:
        for other in (*SHOWN, "probability"):
            print(f"{first}, {other}: {correlation(rows, list(table.patients), first, other)}")


if __name__ == "__main__":
    main()
