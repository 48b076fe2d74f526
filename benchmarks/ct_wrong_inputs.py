"""How many wrong CT inputs are noticed, by kind and code, and how many correct studies are flagged falsely.

    python benchmarks/ct_wrong_inputs.py --series STUDY ... --phantoms FOLDER ... --lesions FOLDER [--most N]

``--series``: DICOM series or volumes of chests; ``--phantoms``: folders that ``pulmoscope datasets phantom --kind ct
--format nifti`` or ``--layout mosmed`` wrote; ``--lesions``: slices of patients as grey pictures with their window in
``volumes.csv``, read as HU by that window (good to 30 HU, so for these checks only). Studies are reduced to at most
256 x 256 pixels and about 80 slices. Wrong variants are made of the series and of ``--most`` phantoms, one of each
kind and value; correct ones are all studies as they are, and with what must not trigger a check: a narrow field of
view, padding, cut-off values, contrast medium, metal, some noise, some slices left out, and parts of the chest. Files
with impossible spacing, and DICOM series of projections, are written and read. Codes that a kind is not meant to raise
are listed beside those that it is.
"""

from __future__ import annotations

import argparse
import csv
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813

from pulmoscope.core.errors import InputError
from pulmoscope.core.types import FloatArray, Modality, Point, Scan, Units
from pulmoscope.io import read_scan
from pulmoscope.io.ct.content import check_hu
from pulmoscope.io.ct.limits import check_size
from pulmoscope.quality.ct import rules
from pulmoscope.quality.ct.grid import coarse
from pulmoscope.segment.lungs import lungs_of

CODES = {
    "shift": {"hu-shift", "hu-scale", "not-hu"},
    "stretch": {"hu-scale", "hu-shift", "not-hu"},
    "noise": {"noise"},
    "noise slices": {"noise-slices"},
    "blur": {"blurred"},
    "head and feet": {"orientation-head-feet"},
    "front and back": {
        "orientation-front-back",
        "orientation-turned",
    },  # both say that the spine lies in front
    "left and right": {"orientation-mirrored"},
    "turned": {"orientation-turned"},
    "spacing": {"impossible-size", "field-of-view", "voxel-size"},
    "repetition": {"repeated-slices"},
    "order": {"slice-order"},
}
"""What each kind of wrong input is to be noticed by."""
CHECKS = set().union(*CODES.values())
ROWS, SLICES = 256, 80
WORDS = (
    "AXIAL\\MIP",
    "CT_SOM5 MIP",
    "MINIP",
    "MPR",
    "CT_SOM5 MPR",
    "REFORMATTED\\AVERAGE",
    "AVERAGE",
    "MIN_IP",
    "VRT",
)

Change = Callable[[FloatArray, Point], tuple[FloatArray, Point]]


@dataclass(frozen=True)
class Study:
    """A correct study."""

    name: str
    pixels: FloatArray
    spacing_mm: Point


def main() -> None:
    """Print what is noticed of wrong variants, then what is flagged of correct ones."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--series", nargs="*", type=Path, default=[])
    ask.add_argument("--phantoms", nargs="*", type=Path, default=[])
    ask.add_argument("--lesions", type=Path)
    ask.add_argument("--most", type=int, default=6, help="phantoms that wrong variants are made of")
    given = ask.parse_args()
    series = [reduced(path.name, read_scan(path)) for path in given.series]
    drawn = [path for folder in given.phantoms for path in sorted((folder / "studies").rglob("*.nii.gz"))]
    phantoms = [reduced(path.name, read_scan(path)) for path in drawn]
    lesions = list(of_pictures(given.lesions)) if given.lesions else []
    wrong([*series, *phantoms[:: max(1, len(phantoms) // given.most)][: given.most]])
    if given.series:
        files(series[0], given.series[0])
    correct({"series": series, "phantoms": phantoms, "pictures": lesions})


def wrong(studies: list[Study]) -> None:
    """Every wrong variant of every study."""
    total = Counter[bool]()
    for kind, values in wrong_changes().items():
        seen, codes, missed = 0, Counter[str](), []
        for value, change in values.items():
            for study in studies:
                found = codes_of(study, change)
                hit = bool(found & CODES[kind])
                seen += hit
                total[hit] += 1
                codes.update(found & CHECKS)
                if not hit:
                    missed.append(f"{study.name} {value}")
        listed = ", ".join(f"{code} {count}" for code, count in codes.most_common())
        say(
            f"{kind:15s} {seen:3d} of {len(values) * len(studies):3d} noticed; codes: {listed}; missed: {missed}"
        )
    say(f"{'all':15s} {total[True]:3d} of {total.total():3d} noticed")


def files(study: Study, series: Path) -> None:
    """Files whose spacing or ImageType can't be: each is to be refused."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        refused = Counter(code for path in impossible_spacing(study, folder) if (code := refusal(path)))
        say(f"files with impossible spacing: {dict(refused)}")
        for number, word in enumerate(WORDS):
            copy = folder / f"series{number}"
            copy.mkdir()
            for source in sorted(series.iterdir())[:20]:
                dataset = pydicom.dcmread(source)
                dataset.ImageType = ["DERIVED", "SECONDARY", *word.split("\\")]
                dataset.save_as(copy / source.name)
            say(f"ImageType DERIVED\\SECONDARY\\{word}: {refusal(copy)}")


def correct(groups: Mapping[str, list[Study]]) -> None:
    """Every correct study, as it is and with what must not trigger a check."""
    total = Counter[bool]()
    for group, studies in groups.items():
        for kind, change in correct_changes().items():
            flagged = {study.name: found for study in studies if (found := codes_of(study, change) & CHECKS)}
            total.update(study.name in flagged for study in studies)
            say(f"correct {group}, {kind}: {len(flagged)} of {len(studies)} flagged {flagged or ''}")
    say(f"correct, all: {total[True]} of {total.total()} flagged")


def codes_of(study: Study, change: Change) -> set[str]:
    """The codes of all flags of a changed study, or of its refusal."""
    pixels, spacing_mm = change(study.pixels, study.spacing_mm)
    scan = Scan(study.name, Modality.CT, np.ascontiguousarray(pixels, np.float32), (), spacing_mm, Units.HU)
    try:
        check_size(scan.name, scan.pixels.shape, spacing_mm[1:])
        check_hu(scan.name, scan.pixels)
    except InputError as error:
        return {error.code}
    lungs = lungs_of(scan)
    assert lungs is not None
    return {flag.code for flag in rules.check(scan, lungs.labels).all_flags}


def wrong_changes() -> dict[str, dict[str, Change]]:
    """Kind → value → what makes a study wrong."""

    def random() -> np.random.Generator:
        return np.random.default_rng(0)

    def noise_slices(count: int) -> Change:
        def change(hu: FloatArray, mm: Point) -> tuple[FloatArray, Point]:
            out = hu.copy()
            places = random().choice(len(hu), count, replace=False)
            out[places] = random().normal(-400, 400, (count, *hu.shape[1:]))
            return out, mm

        return change

    def spaced(slices: float, pixels: float) -> Change:
        return lambda hu, mm: (hu, (mm[0] * slices, mm[1] * pixels, mm[2] * pixels))

    def taken(order: Callable[[int], np.ndarray]) -> Change:
        return lambda hu, mm: (hu[order(len(hu))], mm)

    def swapped(count: int, first: int, second: int, length: int) -> np.ndarray:
        places = np.arange(count)
        places[first : first + length], places[second : second + length] = (
            places[second : second + length].copy(),
            places[first : first + length].copy(),
        )
        return places

    values = (-200, -100, -60, -45, 45, 60, 100, 200, 300)
    shifts: dict[str, Change] = {f"{by:+d} HU": (lambda hu, mm, by=by: (hu + by, mm)) for by in values}
    stretches: dict[str, Change] = {
        f"{by}": (lambda hu, mm, by=by: (hu * by, mm)) for by in (0.8, 0.9, 1.1, 1.25)
    } | {f"{by} from -1000": (lambda hu, mm, by=by: ((hu + 1000) * by - 1000, mm)) for by in (0.85, 1.15)}
    return {
        "shift": shifts,
        "stretch": stretches,
        "noise": {
            f"{sd} HU": (lambda hu, mm, sd=sd: (hu + random().normal(0, sd, hu.shape), mm))
            for sd in (200, 300)
        },
        "noise slices": {f"{count}": noise_slices(count) for count in (1, 5)},
        "blur": {
            f"{sigma} px": (lambda hu, mm, sigma=sigma: (blurred(hu, sigma), mm)) for sigma in (2, 3, 4)
        },
        "head and feet": {"swapped": lambda hu, mm: (hu[::-1], mm)},
        "front and back": {"swapped": lambda hu, mm: (hu[:, ::-1], mm)},
        "left and right": {"swapped": lambda hu, mm: (hu[:, :, ::-1], mm)},
        "turned": {
            f"{90 * times} degrees": (
                lambda hu, mm, times=times: (
                    np.rot90(hu, times, (1, 2)),
                    mm if times == 2 else (mm[0], mm[2], mm[1]),
                )
            )
            for times in (1, 2, 3)
        },
        "spacing": {
            "pixels x 0.4": spaced(1, 0.4),
            "pixels x 2.2": spaced(1, 2.2),
            "slices x 0.3": spaced(0.3, 1),
            "slices x 2.5": spaced(2.5, 1),
            "all x 2": spaced(2, 2),
        },
        "repetition": {
            "one through nearly all": taken(lambda count: np.clip(np.arange(count), 4, None).clip(None, 6)),
            "one 5 times": taken(
                lambda count: np.where(
                    np.abs(np.arange(count) - count // 2) < 3, count // 2, np.arange(count)
                )
            ),
            "each twice": taken(lambda count: np.arange(count) // 2 + count // 4),
        },
        "order": {
            "shuffled": taken(lambda count: random().permutation(count)),
            "odd, then even": taken(lambda count: np.r_[1:count:2, 0:count:2]),
            "two blocks swapped": taken(lambda count: swapped(count, count // 4, count // 2, count // 8)),
            "two neighbours swapped": taken(lambda count: swapped(count, count // 2, count // 2 + 1, 1)),
        },
    }


def correct_changes() -> dict[str, Change]:
    """What leaves a study correct, and must trigger no check."""

    def cropped(fraction: float) -> Change:
        def change(hu: FloatArray, mm: Point) -> tuple[FloatArray, Point]:
            rows, columns = (int(side * fraction) for side in hu.shape[1:])
            return hu[:, rows : hu.shape[1] - rows, columns : hu.shape[2] - columns], mm

        return change

    def padded(hu: FloatArray, mm: Point) -> tuple[FloatArray, Point]:
        rows, columns = np.ogrid[: hu.shape[1], : hu.shape[2]]
        middle = [(side - 1) / 2 for side in hu.shape[1:]]
        outside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 > (max(hu.shape[1:]) / 2) ** 2
        return np.where(outside, -3024, hu), mm

    def enhanced(hu: FloatArray, mm: Point) -> tuple[FloatArray, Point]:
        """With contrast medium: muscle a little denser; heart, vessels and organs deep in the body much."""
        ct = coarse(hu, mm)
        side = 2 * int(45 / ct.voxel_mm[1]) + 1
        deep = [cv2.erode(plane.astype(np.uint8), np.ones((side, side), np.uint8)) for plane in ct.body]
        inner = np.stack(
            [cv2.resize(plane, hu.shape[:0:-1], interpolation=cv2.INTER_NEAREST) for plane in deep]
        )
        blood = (hu > 15) & (hu < 110)
        return hu + np.where(blood & (inner > 0), 120, np.where(blood, 12, 0)), mm

    def metal(hu: FloatArray, mm: Point) -> tuple[FloatArray, Point]:
        out = hu.copy()
        row, column = hu.shape[1] // 3, hu.shape[2] // 2
        out[len(hu) // 2 :, row : row + 8, column : column + 8] = 3071
        return out, mm

    return {
        "as it is": lambda hu, mm: (hu, mm),
        "cropped by 10 %": cropped(0.1),
        "cropped by 20 %": cropped(0.2),
        "padded": padded,
        "cut off at -1000": lambda hu, mm: (np.maximum(hu, -1000), mm),
        "noise of 40 HU": lambda hu, mm: (hu + np.random.default_rng(0).normal(0, 40, hu.shape), mm),
        "contrast medium": enhanced,
        "metal": metal,
        "every second slice": lambda hu, mm: (hu[::2], (2 * mm[0], mm[1], mm[2])),
        "upper 60 %": lambda hu, mm: (hu[int(0.4 * len(hu)) :], mm),
        "lower 60 %": lambda hu, mm: (hu[: int(0.6 * len(hu))], mm),
    }


def blurred(hu: FloatArray, sigma: float) -> FloatArray:
    """Every slice smoothed."""
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in hu])


def reduced(name: str, scan: Scan) -> Study:
    """A study with fewer pixels and slices: means of pixels, and every so manieth slice."""
    assert scan.spacing_mm is not None
    step = max(1, len(scan.pixels) // SLICES)
    factor = max(1, scan.pixels.shape[1] // ROWS)
    pixels = np.asarray(scan.pixels[::step], dtype=np.float32)
    rows, columns = pixels.shape[1] // factor, pixels.shape[2] // factor
    small = np.stack(
        [
            cv2.resize(
                plane[: rows * factor, : columns * factor], (columns, rows), interpolation=cv2.INTER_AREA
            )
            for plane in pixels
        ]
    )
    slice_mm, row_mm, column_mm = scan.spacing_mm
    return Study(name, small, (slice_mm * step, row_mm * factor, column_mm * factor))


def of_pictures(folder: Path) -> Iterator[Study]:
    """Scans whose slices are grey pictures, by the window that the pack estimates; pixel distances are about right."""
    with (folder / "volumes.csv").open(encoding="utf-8") as stream:
        volumes = list(csv.DictReader(stream))
    with (folder / "slices.csv").open(encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: int(row["slice_index"]))
    for volume in volumes:
        own = [row for row in rows if row["volume"] == volume["volume"]]
        low, high = float(volume["window_low_hu"]), float(volume["window_high_hu"])
        grey = np.stack([cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE) for row in own])
        apart = int(own[1]["slice_index"]) - int(own[0]["slice_index"])
        hu = (low + grey.astype(np.float32) / 255 * (high - low)).astype(np.float32)
        yield Study(volume["volume"], hu, (apart * float(volume["nominal_thickness_mm"]), 1.5, 1.5))


def impossible_spacing(study: Study, folder: Path) -> Iterator[Path]:
    """Volumes of each format whose header states a distance of 0, NaN and a negative one."""
    image = sitk.GetImageFromArray(study.pixels.astype(np.int16))
    image.SetSpacing(study.spacing_mm[::-1])
    for format_ in ("nii", "mha", "nrrd"):
        for name, value in (("zero", 0.0), ("nan", float("nan")), ("negative", -1.0)):
            path = folder / f"{name}.{format_}"
            sitk.WriteImage(image, str(path))
            data = bytearray(path.read_bytes())
            if format_ == "nii":
                data[80:84] = struct.pack("<f", value)
            else:
                key = b"ElementSpacing = " if format_ == "mha" else b"space directions: ("
                start = data.index(key) + len(key)
                end = min(
                    data.index(stop, start) for stop in (b" ", b",") if stop in data[start : start + 99]
                )
                data[start:end] = str(value).encode()
                if format_ == "nrrd" and name == "negative":
                    continue  # a direction may be negative
            path.write_bytes(data)
            yield path


def refusal(path: Path) -> str:
    """The code with which a path is refused; empty where it is read."""
    try:
        read_scan(path)
    except InputError as error:
        return error.code
    return ""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
