"""How well severity is measured on synthetic chest CT whose truth is known: error, bias, agreement of the grade.

    python benchmarks/severity_phantoms.py FOLDER [--true-lungs] [--repair] [--csv FILE]

FOLDER was written by ``pulmoscope datasets phantom --kind ct``, either with ``--format nifti --masks``, or in the
layout of MosMedData, whose studies have the truth with them. With ``--true-lungs`` the drawn lungs take the place of
those that are found, which shows what is due to the lung mask. With ``--repair`` missing regions are looked for and
filled first, as a diagnosis does; without it, damage is measured as if it were lung. ``--csv`` writes true and measured
percent of each study, for severity_interval.py. Intervals are 95 %: of means and MCC by bootstrap over studies, of
shares by Wilson's formula.
"""

from __future__ import annotations

import argparse
import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK

from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.io import read_scan
from pulmoscope.quality.filled import FilledScan, fill_missing
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.segment.ct_severity import GRADE_STEPS, measure


def main() -> None:
    """Measure every study of the folder, one line each, and sum up."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--true-lungs", action="store_true")
    ask.add_argument("--repair", action="store_true")
    ask.add_argument("--csv", type=Path)
    told = ask.parse_args()
    with (told.folder / "truth.csv").open(encoding="utf-8") as stream:
        rows = [{"label": row.get("grade", ""), **row} for row in csv.DictReader(stream)]
    files = [told.folder / row["file"] for row in rows]
    with ProcessPoolExecutor() as processes:
        found = list(processes.map(partial(_study, true_lungs=told.true_lungs, repair=told.repair), files))
    if told.csv is not None:
        lines = ["percent_true,percent_measured", *(f"{truth:.3f},{both:.3f}" for truth, both, _ in found)]
        told.csv.write_text("\n".join(lines) + "\n", encoding="utf-8")
    say = sys.stdout.write
    for row, (truth, both, said) in zip(rows, found, strict=True):
        say(f"{row['file']}  {row['label']:6s}  true {truth:5.1f} %  measured {both:5.1f} %  {said}\n")
    truths, shares = (np.array([one[place] for one in found], dtype=np.float64) for place in (0, 1))
    for label in sorted({row["label"] for row in rows}):
        own = [place for place, row in enumerate(rows) if row["label"] == label]
        error = shares[own] - truths[own]
        say(
            f"{label:8s} n {len(own):3d}  mean absolute error {_mean(np.abs(error))}  bias {_mean(error)}  "
            f"worst {error[np.abs(error).argmax()]:+.1f}\n"
        )
    error = shares - truths
    right = sum(said == true_grade(truth) for truth, _, said in found)
    say(f"all      n {len(found):3d}  mean absolute error {_mean(np.abs(error))}  bias {_mean(error)}\n")
    say(f"grade as the truth's: {right} of {len(found)}, {_wilson(right, len(found))}\n")
    say(f"MCC of the grade: {_mcc([(true_grade(truth), said) for truth, _, said in found])}\n")


def true_grade(percent: float) -> str:
    """The grade of a share that is known: nothing at all is CT-0."""
    return "CT-0" if percent == 0 else f"CT-{1 + sum(percent > step for step in GRADE_STEPS)}"


def _study(file: Path, true_lungs: bool, repair: bool) -> tuple[float, float, str]:
    """True and measured percent of both lungs, and the measured grade."""
    lungs, lesions = _truth(file)
    truth = 100 * np.count_nonzero(lesions[lungs > 0]) / np.count_nonzero(lungs)
    scan = read_scan(file, "ct")
    if scan.spacing_mm is None:
        sys.exit(f"{file}: has no spacing")
    own = fill_missing(scan) if repair else FilledScan(scan, None, searched=False)
    pixels = own.scan.pixels
    labels = lungs if true_lungs else lung_mask(pixels, scan.spacing_mm).labels
    found = measure(pixels, labels, scan.spacing_mm, own.mask)
    if found is None:
        return truth, 0.0, "no lungs"
    return truth, found[0].percent_affected, found[0].grade


def _truth(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A study's true lungs and lesions; in the layout of MosMedData a study without lesions has no mask of them."""
    name = file.name.removesuffix(".nii.gz")
    if file.parent.name.startswith("CT-"):
        root = file.parents[2]
        lungs, lesions = root / "truth" / f"{name}_lungs.nii.gz", root / "masks" / f"{name}_mask.nii.gz"
    else:
        lungs, lesions = (
            file.parents[1] / "masks" / f"{name}-{kind}.nii.gz" for kind in ("lungs", "lesions")
        )
    found = _mask(lungs)
    return found, _mask(lesions) if lesions.exists() else np.zeros_like(found)


def _mask(file: Path) -> np.ndarray:
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))))


def _mean(values: np.ndarray) -> str:
    drawn = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def _mcc(pairs: list[tuple[str, str]]) -> str:
    """Of (true, measured) grades; a study whose lungs were not found is wrong."""
    classes = tuple(sorted({grade for pair in pairs for grade in pair}))
    said = Predictions(
        files=tuple(str(number) for number in range(len(pairs))),
        labels=tuple(truth for truth, _ in pairs),
        patients=("",) * len(pairs),
        sources=("",) * len(pairs),
        classes=classes,
        probabilities=np.array([[float(grade == own) for grade in classes] for _, own in pairs]),
    )
    found = evaluate(said).scores["mcc"]
    if found.value is None or found.low is None or found.high is None:
        return "undefined"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _wilson(right: int, count: int) -> str:
    """Wilson, J Am Stat Assoc 22, 1927."""
    share, z2 = right / count, 1.96**2
    middle = (share + z2 / 2 / count) / (1 + z2 / count)
    reach = 1.96 * ((share * (1 - share) + z2 / 4 / count) / count) ** 0.5 / (1 + z2 / count)
    return f"{100 * share:.1f} % ({100 * (middle - reach):.1f} to {100 * (middle + reach):.1f} %)"


if __name__ == "__main__":
    main()
