"""Does a network of CT slices add anything to what is measured in Hounsfield units?

    python benchmarks/ct_slice_network.py [MODEL] --series FOLDER --lesions FOLDER

--series: the pack ct_series, DICOM series with ``slice_labels.csv`` (``patient,file,slice_index,infected``, every slice
counted from the feet). --lesions: the pack ct_lesions, slices with a radiologist's masks; a slice is infected where the
lesion mask marks any of its lung (see benchmarks/ct_lesions.py for how its Hounsfield units are read). MODEL is a
bundle's folder or a built-in model's name (``ct-slice-covid``).

Of the slices that were predicted four scores are ranked: what the network says by
itself, the fraction of dense lung, the fraction of lung that is lesion (the measure), and the answer that the product
reports, the network held to the dense lung. A fifth is the mean of the network's rank and the measure's: if it is no
better than the measure's alone, the network adds nothing. AUROCs are of infected against clean slices of one patient,
and the last lines their means over patients. Intervals draw runs of neighbouring slices, 20 mm each, within every
patient. Of a patient without infection the slices that each score calls infected are counted.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

import ct_lesions
from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import Scan
from pulmoscope.inference.ct import infer
from pulmoscope.inference.dense_lung import CLEAR
from pulmoscope.inference.look import look_at
from pulmoscope.io import read_scan
from pulmoscope.runtime.model import Model
from pulmoscope.segment.ct_severity import NONE_PERCENT

RUN_MM = 20.0
"""Slices so near are resampled together: neighbours look alike, and are no independent cases."""
RESAMPLES, SEED = 1000, 20
CALLED = {"network": 0.5, "dense": CLEAR, "measure": NONE_PERCENT / 100, "combined": 0.5}
"""From what on a score calls a slice infected."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
"""A patient's slices: which are infected; the scores; the run that each is of."""
Slices = tuple[Bools, Mapping[str, Floats], npt.NDArray[np.intp]]


def main() -> None:
    """One line a patient, and one over all."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", nargs="?", default="ct-slice-covid")
    ask.add_argument("--series", type=Path, required=True)
    ask.add_argument("--lesions", type=Path, required=True)
    options = ask.parse_args()
    model = Model.load(options.model)
    say = sys.stdout.write
    compared: dict[str, list[Slices]] = {"COVID, mean of patients": [], "all, mean of patients": []}
    names = (*CALLED, "both")
    say(
        f"| patient | infected / clean | {' | '.join(names)} | both − measure |\n{'|---' * (len(names) + 3)}|\n"
    )
    for name, label, scan, truth in (*series(options.series), *lesions(options.lesions)):
        slices = scored(scan, truth, model)
        ill, scores, _ = slices
        if ill.all() or not ill.any():
            calls = [f"{np.count_nonzero(scores[key] >= least)} called" for key, least in CALLED.items()]
            say(f"| {name} | {ill.sum()} / {(~ill).sum()} | {' | '.join(calls)} | – | – |\n")
            continue
        for group, patients in compared.items():
            if group.startswith(("all", label)):
                patients.append(slices)
        say(line(name, [slices]))
    for group, patients in compared.items():
        say(line(group, patients))


def series(folder: Path) -> Iterator[tuple[str, str, Scan, Bools]]:
    """Patients of ct_series: name, label, scan, which slices are infected; a label is the folder's that they lie in."""
    patients: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (folder / "slice_labels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            patients[row["patient"]].append(row)
    for patient, rows in sorted(patients.items()):
        rows.sort(key=lambda row: int(row["slice_index"]))
        scan = read_scan((folder / rows[0]["file"]).parent, "ct")
        truth = np.array([row["infected"] == "1" for row in rows])
        yield patient, rows[0]["file"].split("/")[0], scan, truth


def lesions(folder: Path) -> Iterator[tuple[str, str, Scan, Bools]]:
    """Patients of ct_lesions, all of whom have COVID."""
    for volume in ct_lesions.volumes(folder, None):
        assert volume.truth.lesions is not None
        yield volume.name, "COVID", volume.scan, np.asarray(volume.truth.lesions.any(axis=(1, 2)))


def scored(scan: Scan, truth: Bools, model: Model) -> Slices:
    """The slices that were predicted."""
    if scan.spacing_mm is None or len(truth) != len(scan.pixels):
        sys.exit(f"{scan.name}: labels must be of every slice of a scan with known distances")
    seen = look_at(scan)
    result = infer(seen, model)
    answer, severity = result.answer, result.severity
    if seen.dense is None or answer.network is None or severity is None:
        sys.exit(f"{scan.name}: nothing was measured")
    indices = np.flatnonzero(~np.isnan(answer.slices).any(axis=1))
    positive = [is_positive(label) for label in model.bundle.classes]
    every = {
        "network": answer.network[:, positive].sum(axis=1),
        "dense": seen.dense,
        "measure": np.nan_to_num(severity.slice_fractions),  # a slice without lung holds no lesion
        "combined": answer.slices[:, positive].sum(axis=1),
    }
    arrays = {name: np.asarray(values, dtype=np.float64)[indices] for name, values in every.items()}
    arrays["both"] = rankdata(arrays["network"]) + rankdata(arrays["measure"])
    return truth[indices], arrays, np.asarray(indices * scan.spacing_mm[0] // RUN_MM, dtype=np.intp)


def line(name: str, patients: list[Slices]) -> str:
    """A row of the table."""
    rng = np.random.default_rng(SEED)
    drawn = [[resampled(slices, rng) for slices in patients] for _ in range(RESAMPLES)]
    values = {key: auroc(patients, key) for key in patients[0][1]}
    trials = {key: np.array([auroc(each, key) for each in drawn]) for key in values}
    cells = [f"{value:.3f} ({interval(trials[key])})" for key, value in values.items()]
    gain = f"{values['both'] - values['measure']:+.3f} ({interval(trials['both'] - trials['measure'])})"
    ill = sum(int(truth.sum()) for truth, _, _ in patients)
    clean = sum(len(truth) for truth, _, _ in patients) - ill
    return f"| {name} | {ill} / {clean} | {' | '.join(cells)} | {gain} |\n"


def resampled(slices: Slices, rng: np.random.Generator) -> Slices:
    """The same patient with as many runs of neighbours, drawn with replacement."""
    truth, scores, runs = slices
    units = np.unique(runs)
    index = np.concatenate([np.flatnonzero(runs == run) for run in rng.choice(units, len(units))])
    return truth[index], {name: values[index] for name, values in scores.items()}, runs[index]


def auroc(patients: list[Slices], score: str) -> float:
    """Mean of the patients: of its pairs of an infected and a clean slice, how many are ranked right. A resample of a
    patient may have one kind only: it counts in no mean."""
    values = []
    for truth, scores, _ in patients:
        if truth.any() and not truth.all():
            apart = scores[score][truth][:, None] - scores[score][~truth]
            values.append(np.mean((apart > 0) + (apart == 0) / 2))
    return float(np.mean(values)) if values else float("nan")


def interval(trials: Floats) -> str:
    """95 % of the resamples that have both kinds of slices."""
    low, high = np.nanpercentile(trials, (2.5, 97.5))
    return f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
