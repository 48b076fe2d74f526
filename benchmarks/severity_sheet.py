"""A contact sheet of a CT: every k-th slice with the lungs' outline and the lesions that were measured.

    python benchmarks/severity_sheet.py STUDY SHEET.jpg [--every 4] [--columns 8] [--side 200] [--quality 80]

STUDY is whatever ``pulmoscope diagnose`` reads as one CT. A sheet of a patient is the patient's data: its terms apply.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.io import read_scan
from pulmoscope.pipeline.pictures.lesions import lesion_picture
from pulmoscope.pipeline.pictures.xray import jpeg
from pulmoscope.segment.ct_lungs import lung_mask
from pulmoscope.segment.ct_severity import measure


def main() -> None:
    """Measure the study and write its sheet."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("study", type=Path)
    ask.add_argument("sheet", type=Path)
    for name, default in (("every", 4), ("columns", 8), ("side", 200), ("quality", 80)):
        ask.add_argument(f"--{name}", type=int, default=default)
    told = ask.parse_args()
    scan = read_scan(told.study, "ct")
    if scan.spacing_mm is None:
        sys.exit(f"{told.study}: has no distances")
    found = measure(scan.pixels, lung_mask(scan.pixels, scan.spacing_mm).labels, scan.spacing_mm)
    if found is None:
        sys.exit(f"{told.study}: has no lungs")
    severity, masks = found
    places = np.flatnonzero(masks.lungs.any(axis=(1, 2)))[:: told.every]
    pictures = []
    for index in places:
        picture = np.ascontiguousarray(lesion_picture(scan, masks, int(index), told.side))
        text = f"{index}: {100 * severity.slice_fractions[index]:.1f} %"
        cv2.putText(picture, text, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
        pictures.append(picture)
    while len(pictures) % told.columns:
        pictures.append(np.zeros_like(pictures[0]))
    rows = [np.hstack(pictures[at : at + told.columns]) for at in range(0, len(pictures), told.columns)]
    told.sheet.write_bytes(jpeg(np.vstack(rows), told.quality))
    sys.stdout.write(f"{severity.percent_affected:.2f} % affected, {severity.grade}\n")


if __name__ == "__main__":
    main()
