"""Does a slice model score infected slices of a CT series higher than clean ones of the same patient?

    python benchmarks/slice_series.py MODEL SERIES

SERIES holds DICOM slices and ``slice_labels.csv`` with patient, file, infected (0 or 1). Slices in which no
lungs are seen are left out: they are clean, and would make the task easy. Prints the AUROC of every patient who has
both kinds.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut
from sklearn.metrics import roc_auc_score

from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.runtime.model import Model


def main(model: Model, folder: Path) -> None:
    preprocess = model.bundle.preprocess
    if not isinstance(preprocess, SlicePreprocess):
        raise SystemExit(f"{model.bundle.name}: is no model of CT slices")
    positive = model.bundle.classes.index("COVID")
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    unseen: dict[str, int] = defaultdict(int)
    with (folder / "slice_labels.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            dataset = pydicom.dcmread(folder / row["file"])
            hu = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), dtype=np.float32)
            prepared = model.prepare(preprocess.render(hu))
            if not prepared.framed.lungs_found:
                unseen[row["patient"]] += 1
                continue
            share = model.predict(prepared.tensor[None]).probabilities[0, positive]
            found[row["patient"]].append((int(row["infected"]), float(share)))
    for patient, slices in found.items():
        labels, shares = map(np.array, zip(*slices, strict=True))
        both = 0 < labels.sum() < len(labels)
        auroc = f"{roc_auc_score(labels, shares):.3f}" if both else "–"
        print(
            f"{patient}: AUROC {auroc}; {labels.sum()} infected of {len(labels)} slices with lungs, "
            f"{unseen[patient]} without; called COVID: {(shares > 0.5).mean():.3f}"
        )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Model.load(sys.argv[1]), Path(sys.argv[2]))
