"""Severity on real series with slice labels: percent affected, and whether infected slices hold more lesion.

    python benchmarks/severity_real.py FOLDER

FOLDER holds DICOM series and ``slice_labels.csv`` with the columns ``patient,file,slice_index,infected``: every slice
of a series, counted from the feet. A patient whose slices are all alike has no AUROC. ``dense`` is the AUROC of the
share of dense lung that slices are weighed by (docs/decisions/0010-dense-lung.md), for comparison.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.metrics import roc_auc_score

from pulmoscope.io import read_scan
from pulmoscope.segment.ct_dense import dense_fractions
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.segment.ct_severity import measure


def main() -> None:
    """One line a patient."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    folder = ask.parse_args().folder
    patients: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (folder / "slice_labels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            patients[row["patient"]].append(row)
    for patient, rows in sorted(patients.items()):
        rows.sort(key=lambda row: int(row["slice_index"]))
        scan = read_scan((folder / rows[0]["file"]).parent, "ct")
        if scan.spacing_mm is None or len(rows) != len(scan.pixels):
            sys.exit(f"{patient}: labels must be of every slice of a series with known distances")
        lungs = lung_mask(scan.pixels, scan.spacing_mm)
        start = perf_counter()
        found = measure(scan.pixels, lungs.labels, scan.spacing_mm)
        took = perf_counter() - start
        if found is None:
            sys.exit(f"{patient}: no lungs")
        severity, _ = found
        infected = [row["infected"] == "1" for row in rows]
        line = (
            f"{patient:10s} {severity.percent_affected:5.2f} % affected (right {severity.right:.2f}, "
            f"left {severity.left:.2f}), {severity.grade}, {severity.score} of 25; measured in {took:.2f} s"
        )
        if 0 < sum(infected) < len(infected):
            shares = {
                # A slice without lung holds no lesion.
                "lesion": np.nan_to_num(severity.slice_fractions),
                "dense": dense_fractions(scan.pixels, lungs.labels, scan.spacing_mm),
            }
            areas = [f"{name} {roc_auc_score(infected, share):.3f}" for name, share in shares.items()]
            line += f"; AUROC of its slices: {', '.join(areas)}"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
