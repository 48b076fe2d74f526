"""What the severity of radiographs costs and is worth beyond the recipe's own cross-validation.

    python benchmarks/xray_severity.py --packs PACKS [--model xray-severity] [--images N] -o OUT

PACKS holds the data sets. Writes OUT/xray-severity.json and prints it:

- ``time``: diagnosing a folder of N radiographs without pages, with severity and without, alternately, three rounds
  each in one run: the ratio of the sums, of processor time and of time;
- ``told_apart``: at SIIM's hospitals (``xray_siim`` val), whose scores nobody knows: how often a radiograph of typical
  COVID-19 gets a higher extent than one without pneumonia (AUROC), and how the extent goes together with the part of
  the lungs' box that readers' boxes cover (Spearman);
- ``unseen``: mean absolute errors of the cross-validation, given as ``predictions.csv`` by --predictions, for patients
  with no image in data sets that the X-ray model learnt from, and for the others.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pulmoscope.datasets.layouts.detect import load
from pulmoscope.inference.image import look_at_image
from pulmoscope.inference.xray_severity import SeverityReader
from pulmoscope.io import entries, read_xray, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline import diagnose_xray
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Run
from pulmoscope.runtime.model import Model

ROUNDS = 3
LEARNT = ("xray4", "xray_external", "xray_lesions")
"""Data sets of the X-ray model's training that share patients with the scored radiographs."""
TOTALS = ("extent", "opacity", "brixia")


def seconds(inputs: Sequence[Path], estimate: bool) -> tuple[float, float]:
    """Seconds of time and of processor time for a folder of radiographs, no pages."""
    out = Path(tempfile.mkdtemp())
    without = mock.patch.object(diagnose_xray, "estimate", return_value=None)
    try:
        listed = list(entries(inputs, out, lambda _: None))
        run = Run(Models("auto"), out / "results", "none")
        run.models.of("XRAY", "")  # loading is no matter of the folder's size
        begun, processor = time.perf_counter(), time.process_time()
        if estimate:
            count = sum(1 for _ in diagnose_many(studies(listed), run, paths(listed)))
        else:
            with without:
                count = sum(1 for _ in diagnose_many(studies(listed), run, paths(listed)))
        assert count == len(inputs)
        return time.perf_counter() - begun, time.process_time() - processor
    finally:
        shutil.rmtree(out)


def time_ratios(inputs: Sequence[Path]) -> dict[str, Any]:
    seconds(inputs[:8], estimate=True)  # files and libraries are warm
    rounds = [(seconds(inputs, estimate=True), seconds(inputs, estimate=False)) for _ in range(ROUNDS)]
    ratios = np.array([[one[0] / other[0], one[1] / other[1]] for one, other in rounds])
    sums = np.array(rounds).sum(axis=0)
    return {
        "images": len(inputs),
        "time": {"ratio": sums[0, 0] / sums[1, 0], "rounds": ratios[:, 0].tolist()},
        "processor": {"ratio": sums[0, 1] / sums[1, 1], "rounds": ratios[:, 1].tolist()},
        "milliseconds_an_image": 1000 * sums[1, 1] / ROUNDS / len(inputs),
    }


def told_apart(packs: Path, severity: str) -> dict[str, Any]:
    reader, model = SeverityReader.open(severity), Model.load("xray-covid")
    table = load(packs / "xray_siim").split("val")
    rows = []
    for sample in table:
        scan = read_xray(table.path(sample))
        seen = look_at_image(scan, model)
        found = reader.estimate(scan, model, seen, model.predict(seen.prepared.tensor[None]))
        if found is None:
            continue
        _, _, height, width = found.box
        covered = np.zeros(scan.pixels.shape[1:], dtype=bool)
        for left, top, right, bottom in sample.boxes:
            covered[round(top) : round(bottom), round(left) : round(right)] = True
        rows.append((sample.label, found.extent.value, covered.sum() / (height * width)))
    extents = {label: [row[1] for row in rows if row[0] == label] for label in {row[0] for row in rows}}
    two = [row for row in rows if row[0] in ("Typical", "Negative")]
    ill = [row for row in rows if row[0] == "Typical"]
    return {
        "mean_extent": {
            label: {"images": len(found), "mean": float(np.mean(found))} for label, found in extents.items()
        },
        "auroc_typical_against_negative": roc_auc_score(
            [row[0] == "Typical" for row in two], [row[1] for row in two]
        ),
        "spearman_extent_and_boxes": float(spearmanr([row[1] for row in ill], [row[2] for row in ill])[0]),
    }


def unseen(packs: Path, predictions: Path) -> dict[str, Any]:
    learnt = {sample.patient for name in LEARNT for sample in load(packs / name)}
    with predictions.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    errors: dict[str, Any] = {}
    for name in TOTALS:
        for title, wanted in (("unseen", False), ("maybe_seen", True)):
            found = [
                abs(float(row[name]) - float(row[f"true_{name}"]))
                for row in rows
                if row[f"true_{name}"] and (row["patient"] in learnt) is wanted
            ]
            errors.setdefault(title, {})[name] = {
                "images": len(found),
                "mae": float(np.mean(found)) if found else None,
            }
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", type=Path, required=True)
    parser.add_argument("--model", default="xray-severity")
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    table = load(options.packs / "xray_siim").split("val")
    result = {
        "time": time_ratios([table.path(sample) for sample in table][: options.images]),
        "told_apart": told_apart(options.packs, options.model),
        **({"unseen": unseen(options.packs, options.predictions)} if options.predictions else {}),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "xray-severity.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
