"""How well lungs and lesions are measured on four real CTs whose masks a radiologist drew.

    python benchmarks/ct_lesions.py FOLDER [--volume v1 …] [--sheet FOLDER]

FOLDER is the pack ct_lesions: every second or third slice of four patients' CTs as JPEG, with masks. Its Hounsfield
units follow from volumes.csv (``low + grey / 255 * (high - low)``), and end at the window's upper border, 150 or 250 HU.
Such pictures are read as a CT here only: ``pulmoscope`` takes none of them for Hounsfield units.

Each volume is measured as one scan, along the path of a diagnosis. Its spacing is nominal: a pixel such that the body is
350 mm wide, the distance of slices the nominal thickness times the step of their numbers (12 or 18 mm). Percentages are
of the slices that are there, and so is the truth that they are compared with. With ``--sheet`` a contact sheet of every
volume shows each slice with the masks that were measured (left) and drawn (right).
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
import numpy.typing as npt

from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Bytes, FloatArray, Modality, Point, Scan, Units
from pulmoscope.inference.look import look_at
from pulmoscope.inference.measure import measured
from pulmoscope.pipeline.pictures.lesions import painted
from pulmoscope.pipeline.pictures.xray import displayed, jpeg

BODY_MM, BODY_HU = 350.0, -500
"""How wide the body is taken to be, and from what on it is denser than the air around."""
MUCH = 5.0
"""Percent of a slice's lung: lesion Dice is of the slices with more."""


@dataclass(frozen=True)
class Volume:
    """One patient's slices: HU and drawn masks, (slices, rows, columns), from the feet to the head."""

    name: str
    patient: str
    indices: tuple[int, ...]
    scan: Scan
    lungs: Bytes
    lesions: Bytes


def main() -> None:
    """Measure every volume, one line each, and sum up."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--volume", nargs="*")
    ask.add_argument("--sheet", type=Path, help="a folder for the contact sheets")
    options = ask.parse_args()
    say, errors = sys.stdout.write, []
    for volume in volumes(options.folder, options.volume):
        masks = measured_masks(volume.scan)
        true, found = percents(volume.lungs, volume.lesions), percents(masks.lungs, masks.lesions)
        errors.append(percent(masks.lungs, masks.lesions) - percent(volume.lungs, volume.lesions))
        ill = np.flatnonzero(true > MUCH)
        each = [dice(volume.lesions[index], masks.lesions[index]) for index in ill]
        per_slice = float(np.nanmean(np.abs(np.nan_to_num(found) - true)))
        say(
            f"{volume.name} ({volume.patient})  affected: true {percent(volume.lungs, volume.lesions):6.2f} %  "
            f"measured {percent(masks.lungs, masks.lesions):6.2f} %  error {errors[-1]:+6.2f}  "
            f"error of a slice {per_slice:5.2f}  "
            f"lungs Dice {dice(volume.lungs, masks.lungs):.3f}  lesion Dice {dice(volume.lesions, masks.lesions):.3f}, "
            f"{len(ill)} slices above {MUCH:g} %: "
            + (
                f"mean {np.mean(each):.3f}, pooled {dice(volume.lesions[ill], masks.lesions[ill]):.3f}\n"
                if each
                else "-\n"
            )
        )
        if options.sheet:
            options.sheet.mkdir(parents=True, exist_ok=True)
            (options.sheet / f"{volume.name}.jpg").write_bytes(sheet(volume, masks))
    say(f"mean absolute error {np.mean(np.abs(errors)):.2f}, worst {max(errors, key=abs):+.2f} points\n")


def volumes(folder: Path, names: list[str] | None) -> Iterator[Volume]:
    """Every volume of the pack, or those that are named."""
    with (folder / "slices.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "volumes.csv").open(encoding="utf-8") as stream:
        facts = [row for row in csv.DictReader(stream) if not names or row["volume"] in names]
    for row in facts:
        own = sorted(
            (int(one["slice_index"]), one["file"]) for one in rows if one["volume"] == row["volume"]
        )
        indices, files = zip(*own, strict=True)
        low, high = float(row["window_low_hu"]), float(row["window_high_hu"])
        hu = low + _stack(folder, files) / np.float32(255) * (high - low)
        masks = [file.replace("images", "{}").replace(".jpg", ".png") for file in files]
        lungs, lesions = (
            (_stack(folder, [mask.format(kind) for mask in masks]) > 0).astype(np.uint8)
            for kind in ("lungs", "lesions")
        )
        step = min(after - before for before, after in pairwise(indices))
        spacing = (step * float(row["nominal_thickness_mm"]), *2 * (BODY_MM / _body_px(hu),))
        scan = Scan(row["volume"], Modality.CT, hu, (), spacing_mm=spacing, units=Units.HU)
        yield Volume(row["volume"], row["patient"], indices, scan, lungs, lesions & lungs)


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


def measured_masks(scan: Scan) -> SeverityMasks:
    """What a diagnosis measures; empty where it finds no lungs."""
    seen = look_at(scan)
    measurement = measured(seen.scan, seen.lungs, seen.missing)
    if measurement is None:
        empty = np.zeros(scan.pixels.shape, dtype=np.uint8)
        return SeverityMasks(empty, empty)
    return measurement[1]


def percent(lungs: Bytes, lesions: Bytes) -> float:
    """Of lung, how much is lesion."""
    return 100 * np.count_nonzero(lesions) / max(1, np.count_nonzero(lungs))


def percents(lungs: Bytes, lesions: Bytes) -> npt.NDArray[np.float64]:
    """The same of every slice; NaN without lung."""
    counts = np.count_nonzero(lungs, axis=(1, 2))
    ill = np.count_nonzero(lesions, axis=(1, 2))
    return np.where(counts > 0, 100 * ill / np.maximum(counts, 1), np.nan)


def dice(one: Bytes, other: Bytes) -> float:
    """Dice's coefficient; 1 where both are empty."""
    size = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero((one > 0) & (other > 0)) / size if size else 1.0


def sheet(volume: Volume, masks: SeverityMasks, columns: int = 4, side: int = 320) -> bytes:
    """Every slice with the masks that were measured and those that were drawn beside it."""
    pictures = []
    for at, index in enumerate(volume.indices):
        pixels = displayed(volume.scan.pixels[at], Units.HU)
        pair = []
        for lungs, lesions in ((masks.lungs, masks.lesions), (volume.lungs, volume.lesions)):
            picture = np.ascontiguousarray(painted(pixels, lungs[at], lesions[at], side))
            text = f"{index}: {percent(lungs[at], lesions[at]):.1f} %"
            cv2.putText(
                picture, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
            )
            pair.append(picture)
        pictures.append(np.hstack(pair))
    while len(pictures) % columns:
        pictures.append(np.zeros_like(pictures[0]))
    return jpeg(np.vstack([np.hstack(pictures[at : at + columns]) for at in range(0, len(pictures), columns)]), 85)


if __name__ == "__main__":
    main()
