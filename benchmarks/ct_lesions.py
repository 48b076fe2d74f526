"""How well lungs and lesions are measured on four real CTs whose masks a radiologist drew.

    python benchmarks/ct_lesions.py FOLDER [--volume v1 …] [--sheets FOLDER]

FOLDER is the pack ct_lesions: every second or third slice of four patients' CTs as JPEG, with masks. Its Hounsfield
units follow from volumes.csv (``low + grey / 255 * (high - low)``), and end at the window's upper border of 150 or 250
HU. Such pictures are read as a CT here only: ``pulmoscope`` takes no picture's greys for Hounsfield units.

Each volume is measured as one scan, along the path of a diagnosis. Its spacing is nominal: a pixel is such that the
body is 350 mm wide, and the slices lie the nominal thickness times the step of their numbers apart (12 or 18 mm). So
percentages mean something, and millilitres nothing. They are of the slices that are there, as is the truth beside them.
With ``--sheets`` a contact sheet of every volume shows each slice with the masks that were measured (left) and drawn
(right).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import FloatArray, Modality, Scan, Units
from pulmoscope.evaluation.overlap import dice
from pulmoscope.inference.look import look_at
from pulmoscope.inference.measure import measured
from pulmoscope.pipeline.pictures.lesions import painted
from pulmoscope.pipeline.pictures.xray import displayed
from pulmoscope.pipeline.truth.figures import MUCH_PERCENT
from pulmoscope.pipeline.truth.study import Truth, compared

BODY_MM, BODY_HU = 350.0, -500
"""How wide the body is taken to be, and from what on it is denser than the air around."""


@dataclass(frozen=True)
class Volume:
    """One patient's slices from the feet to the head: their numbers in the whole scan, HU, and drawn masks."""

    name: str
    patient: str
    indices: tuple[int, ...]
    scan: Scan
    truth: Truth


def main() -> None:
    """Measure every volume, one line each, and sum up."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--volume", nargs="*")
    ask.add_argument("--sheets", type=Path, help="a folder for the contact sheets, a PNG a volume")
    options = ask.parse_args()
    errors, dices = [], []
    for volume in volumes(options.folder, options.volume):
        study = compared(volume.scan, volume.truth)
        assert study.true is not None
        assert study.lungs is not None
        assert study.lesions is not None
        errors.append(study.measured.percent - study.true.percent)
        much = study.true.percents > MUCH_PERCENT
        each = study.lesions.slice_dice[much]
        dices += each.tolist()
        parts = (study.lesions.both, study.lesions.true, study.lesions.measured)
        pooled = float(dice(*(counts[much].sum() for counts in parts)))
        sys.stdout.write(
            f"{volume.name} ({volume.patient})  affected: true {study.true.percent:5.2f} %  measured "
            f"{study.measured.percent:5.2f} %  error {errors[-1]:+5.2f}, of a slice "
            f"{np.nanmean(np.abs(study.measured.percents - study.true.percents)):.2f}  "
            f"lungs Dice {study.lungs.dice:.3f}  lesion Dice {study.lesions.dice:.3f}, {len(each)} slices above "
            f"{MUCH_PERCENT:g} %: "
            + (f"mean {each.mean():.3f}, pooled {pooled:.3f}\n" if len(each) else "none\n")
        )
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            (options.sheets / f"{volume.name}.png").write_bytes(sheet(volume))
    sys.stdout.write(
        f"mean absolute error {np.mean(np.abs(errors)):.2f}, worst {max(errors, key=abs):+.2f} points; "
        f"lesion Dice of {len(dices)} slices {np.mean(dices or [np.nan]):.3f}\n"
    )


def volumes(folder: Path, names: list[str] | None) -> Iterator[Volume]:
    """Every volume of the pack, or those that are named."""
    with (folder / "slices.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "volumes.csv").open(encoding="utf-8") as stream:
        facts = [row for row in csv.DictReader(stream) if not names or row["volume"] in names]
    for row in facts:
        own = sorted((int(one["slice_index"]), one["file"]) for one in rows if one["volume"] == row["volume"])
        indices, files = zip(*own, strict=True)
        low, high = float(row["window_low_hu"]), float(row["window_high_hu"])
        hu = low + _stack(folder, files) / np.float32(255) * (high - low)
        masks = [file.replace("images", "{}").replace(".jpg", ".png") for file in files]
        lungs, lesions = (
            _stack(folder, [mask.format(kind) for mask in masks]) > 0 for kind in ("lungs", "lesions")
        )
        step = min(after - before for before, after in pairwise(indices))
        spacing = (step * float(row["nominal_thickness_mm"]), *2 * (BODY_MM / _body_px(hu),))
        scan = Scan(row["volume"], Modality.CT, hu, (), spacing_mm=spacing, units=Units.HU)
        yield Volume(row["volume"], row["patient"], indices, scan, Truth(lungs, lesions & lungs))


def _stack(folder: Path, files: list[str] | tuple[str, ...]) -> FloatArray:
    return np.stack(
        [cv2.imread(str(folder / file), cv2.IMREAD_GRAYSCALE).astype(np.float32) for file in files]
    )


def _body_px(hu: FloatArray) -> float:
    """How wide the body is: the median of the slices."""
    widths = []
    for pixels in hu:
        dense = (cv2.GaussianBlur(pixels, (5, 5), 0) > BODY_HU).astype(np.uint8)
        opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        outlines, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        widths.append(cv2.boundingRect(max(outlines, key=cv2.contourArea))[2])
    return float(np.median(widths))


def sheet(volume: Volume, columns: int = 3, side: int = 256) -> bytes:
    """Every slice with the masks that were measured and those that were drawn beside it, as a PNG."""
    seen = look_at(volume.scan)
    measurement = measured(seen.scan, seen.lungs, seen.missing)
    drawn = SeverityMasks(*(mask.astype(np.uint8) for mask in (volume.truth.lungs, volume.truth.lesions)))
    shown = [drawn] if measurement is None else [measurement[1], drawn]
    pictures = []
    for at, index in enumerate(volume.indices):
        pixels = displayed(volume.scan.pixels[at], Units.HU)
        pair = []
        for masks in shown:
            lungs, lesions = masks.lungs[at], masks.lesions[at]
            picture = np.ascontiguousarray(painted(pixels, lungs, lesions, side))
            percent = 100 * np.count_nonzero(lesions) / max(1, np.count_nonzero(lungs))
            text = f"{index}: {percent:.1f} %"
            cv2.putText(picture, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3, 1, cv2.LINE_AA)
            pair.append(picture)
        pictures.append(np.hstack(pair))
    while len(pictures) % columns:
        pictures.append(np.zeros_like(pictures[0]))
    rows = [np.hstack(pictures[at : at + columns]) for at in range(0, len(pictures), columns)]
    return cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes()


if __name__ == "__main__":
    main()
