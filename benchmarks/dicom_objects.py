"""What `--dicom` adds to a diagnosis: whole processes with and without it, by turns, in one run.

    python benchmarks/dicom_objects.py [STUDY] [--radiograph FILE] [--rounds 5] [--films 20]

STUDY is a folder of CT slices, default: a drawn one of 150 slices of 512 x 512; the radiograph is drawn, too, 2,048 x
2,048. Each is diagnosed alone, and the radiograph also --films times in one process, which imports highdicom once: what
is added there is divided by their number. The first round is not counted. Printed is a table in Markdown: medians of
wall time, the median of what each round adds with its range, in wall time and in time of processors, which other work
on the machine disturbs less, the median of the rounds' ratios, and the largest resident sets.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from measured import Measured, measured
from pulmoscope.phantoms.ct.draw import draw as draw_ct
from pulmoscope.phantoms.ct.files import dicom_series
from pulmoscope.phantoms.xray.draw import xray_phantom

FILM = 2048
"""Side of the drawn radiograph, px."""
CLI = "from pulmoscope.apps.cli.main import main; main()"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("study", type=Path, nargs="?")
    ask.add_argument("--radiograph", type=Path)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--films", type=int, default=20)
    given = ask.parse_args()
    print(
        "| what | without, s | with `--dicom`, s | added, s | added, processors, s | ratio | peak without, with, MiB |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        film = given.radiograph or drawn_film(folder / "film.dcm")
        study = given.study or drawn_study(folder / "study")
        many = copies(film, folder / "many", given.films)
        count = len([path for path in study.rglob("*") if path.is_file()])
        for title, source, parts in (
            (f"a CT of {count} slices", study, 1),
            ("a radiograph", film, 1),
            (f"each of {given.films} radiographs", many, given.films),
        ):
            rounds = [
                [run(source, folder / f"{title}-{number}-{dicom}", dicom) for dicom in (False, True)]
                for number in range(given.rounds + 1)
            ]
            print(row(title, rounds[1:], parts), flush=True)


def run(source: Path, out: Path, dicom: bool) -> Measured:
    """One process of the command line."""
    options = ["--dicom"] if dicom else []
    command = [sys.executable, "-c", CLI, "diagnose", str(source), "-o", str(out), *options]
    return measured(command, dict(os.environ))


def row(title: str, rounds: list[list[Measured]], parts: int) -> str:
    walls = [f"{median(one[side].wall_s for one in rounds) / parts:.2f}" for side in (0, 1)]
    added = spread([(after.wall_s - before.wall_s) / parts for before, after in rounds])
    processors = spread([(after.cpu_s - before.cpu_s) / parts for before, after in rounds])
    ratio = median(after.wall_s / before.wall_s for before, after in rounds)
    peaks = ", ".join(f"{median(one[side].peak_mib for one in rounds):.0f}" for side in (0, 1))
    return f"| {title} | {' | '.join(walls)} | {added} | {processors} | {ratio:.2f} | {peaks} |"


def spread(found: list[float]) -> str:
    return f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def drawn_study(folder: Path) -> Path:
    folder.mkdir()
    phantom = draw_ct("COVID", 0, slices=150, size=512)
    for number, content in enumerate(dicom_series(phantom, "drawn")):
        (folder / f"{number:03}.dcm").write_bytes(content)
    return folder


def drawn_film(path: Path) -> Path:
    """An uncompressed digital radiograph of 12 bits."""
    pixels = np.rint(xray_phantom(0, "COVID", FILM) * 4095).astype("<u2")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.PatientName, dataset.PatientID = "Drawn^", "DRAWN"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.PatientOrientation, dataset.ImagerPixelSpacing = ["L", "F"], [0.17, 0.17]
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    named(dataset, path, 0)
    return path


def named(dataset: Dataset, path: Path, number: int) -> None:
    """Write a dataset under UIDs of its own."""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=[keyword, str(number)]))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


def copies(film: Path, folder: Path, count: int) -> Path:
    """The same radiograph under other UIDs, so that each is an input of its own."""
    folder.mkdir()
    dataset = dcmread(film)
    for number in range(count):
        named(dataset, folder / f"{number:03}.dcm", number + 1)
    return folder


if __name__ == "__main__":
    main()
