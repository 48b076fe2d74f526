"""Simulated images and studies of no patient, drawn by the command line; equal seeds give equal ones.

python tests/golden/simulated.py OUT       draws what the archived bundles learnt from
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import SimpleITK

WINDOW_LOW, WINDOW_HU = -1350.0, 1500.0
"""The lung window of slices that are saved as pictures: its lower end and its width, HU."""
GRADES = ("CT-0", "CT-1", "CT-2", "CT-3")
EACH = 3
"""Studies of each grade, at most, that are taken of one folder: CT-1 would outnumber the others."""


def command(*arguments: object) -> int:
    """Run a command in this process, its words unheard, and give back its exit code."""
    (entry,) = entry_points(group="console_scripts", name="pulmoscope")
    told = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["pulmoscope", *map(str, arguments)]),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        try:
            entry.load()()
        except SystemExit as ended:
            if ended.code not in (None, 0, 3):  # 3: some inputs were refused
                raise RuntimeError(f"{arguments}: {told.getvalue()}") from ended
            return int(ended.code or 0)
    return 0


def learn(out: Path) -> None:
    """What the archived bundles learnt from."""
    _xrays(out / "xrays", count=150, seed=3)
    _negatives(out / "xrays", out / "negatives")
    _studies(out / "studies", count=18, seed=3)
    _pictures(out / "studies", out / "slices")
    for number, split in enumerate(("train", "train", "val")):
        _graded(out / "graded" / f"{split}-{number}", count=10, seed=3 + number)
    _graded_manifest(out / "graded")


class Asked:
    """What the golden answers ask about, each drawn when it is first asked for; nothing of it has been learnt from.

    ``xrays``, ``studies`` and ``slices`` are folders with a manifest; ``graded`` is as MosMedData has it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    @cached_property
    def xrays(self) -> Path:
        """78 radiographs of three classes."""
        _xrays(self.out / "xrays", count=78, seed=11)
        return self.out / "xrays"

    @cached_property
    def negatives(self) -> Path:
        """Those of them that are COVID or Normal, dark for light."""
        _negatives(self.xrays, self.out / "negatives")
        return self.out / "negatives"

    @cached_property
    def studies(self) -> Path:
        """A study of COVID, one of no disease, one of another pneumonia."""
        _studies(self.out / "studies", count=3, seed=11)
        return self.out / "studies"

    @cached_property
    def slices(self) -> Path:
        """54 slices of these studies as pictures."""
        _pictures(self.studies, self.out / "slices")
        return self.out / "slices"

    @cached_property
    def graded(self) -> Path:
        """A study of each grade, with missing regions."""
        _graded(self.out / "graded", count=5, seed=11)
        return self.out / "graded"


def _xrays(out: Path, count: int, seed: int) -> None:
    classes = "Normal,COVID,Viral Pneumonia"
    command(
        *("datasets", "phantom", "--kind", "xray", "--count", count, "--classes", classes),
        *("--size", 128, "--seed", seed, "-o", out),
    )


def _negatives(xrays: Path, out: Path) -> None:
    """The same radiographs of two classes, dark for light: the view network takes them for none and so stays out."""
    rows = []
    for sample in _read_manifest(xrays):
        if sample["label"] in ("Normal", "COVID"):
            grey = cv2.imread(str(xrays / sample["file"]), cv2.IMREAD_GRAYSCALE)
            (out / sample["file"]).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / sample["file"]), 255 - grey)
            rows.append(tuple(sample.values()))
    _manifest(out, ("file", "label", "split", "patient", "source"), rows)


def _studies(out: Path, count: int, seed: int) -> None:
    command(
        *("datasets", "phantom", "--kind", "ct", "--count", count, "--size", 96, "--slices", 24),
        *("--format", "nifti", "--seed", seed, "-o", out),
    )


def _graded(out: Path, count: int, seed: int) -> None:
    command(
        *("datasets", "phantom", "--kind", "ct", "--layout", "mosmed", "--count", count, "--size", 96),
        *("--slices", 20, "--damage", 0.3, "--seed", seed, "-o", out),
    )


def _graded_manifest(folder: Path) -> None:
    """One data set of several folders; the splits are those that the folders are named by."""
    rows = []
    for part in sorted(folder.iterdir()):
        for grade in GRADES:
            for study in sorted((part / "studies" / grade).iterdir())[:EACH]:
                file = study.relative_to(folder).as_posix()
                rows.append(
                    (file, grade, part.name.partition("-")[0], f"{part.name}-{study.name}", "phantom")
                )
    _manifest(folder, ("file", "label", "split", "patient", "source"), rows)


def _pictures(studies: Path, out: Path) -> None:
    """The middle slices of every study, three quarters of it, as pictures in the lung window."""
    rows = []
    for sample in _read_manifest(studies):
        volume = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(studies / sample["file"])), "LPS")
        hu = SimpleITK.GetArrayFromImage(volume).astype(np.float32)
        infected = _numbers(sample["infected"])
        for number in range(len(hu) // 8, len(hu) * 7 // 8):
            label = "COVID" if sample["label"] == "COVID" and number in infected else "non-COVID"
            file = f"{sample['patient']}/{number:03}.png"
            grey = np.rint(np.clip((hu[number] - WINDOW_LOW) / WINDOW_HU, 0, 1) * 255).astype(np.uint8)
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / file), grey)
            rows.append((file, label, sample["split"], sample["patient"], "phantom"))
    _manifest(out, ("file", "label", "split", "patient", "source"), rows)


def _numbers(text: str) -> set[int]:
    """``1-16,19`` as numbers; ``none`` is none."""
    found: set[int] = set()
    for part in text.split(",") if text not in ("", "none") else ():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _manifest(folder: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    learn(Path(sys.argv[1]))
