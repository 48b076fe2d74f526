"""One CT in, two numbers out: how probable COVID-19 is, and how much of the lungs is affected.

Usage: process.py [INPUT] [OUTPUT]; inside the container /input and /output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pulmoscope

CLASS = "COVID"
HERE = Path(__file__).resolve().parent


def main(source: Path, output: Path) -> None:
    """Read the only CT of a folder and write what is asked for.

    ``probability-severe-covid-19`` is the fraction of the lungs that is affected, by measure: it ranks patients by how
    ill their lungs are now, and is no calibrated probability of what becomes of them.
    """
    scans = sorted(
        path for path in (source / "images/ct").iterdir() if path.suffix in (".mha", ".mhd", ".tif", ".tiff")
    )
    if len(scans) != 1:
        raise SystemExit(f"{source / 'images/ct'}: one CT is expected (found: {len(scans)})")
    diagnosis = pulmoscope.diagnose(scans[0], HERE / "model", modality="ct", explain=False)
    if diagnosis.severity is None:
        raise SystemExit(f"{scans[0]}: how much of the lungs is affected could not be measured")
    answers = {
        "probability-covid-19": float(diagnosis.prediction.probabilities[CLASS]),
        "probability-severe-covid-19": diagnosis.severity.percent_affected / 100,
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, value in answers.items():
        (output / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:3]]
    main(*(given if len(given) == 2 else (Path("/input"), Path("/output"))))
