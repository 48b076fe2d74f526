"""CT studies small enough to draw in a test, whose class is plain to see.

An elliptic body of 40 HU in air with two lungs of -850 HU. Infected slices of COVID have a patch of -500 HU in both
lungs, those of CAP one of 20 HU in the patient's right lung.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.settings import apply

CLASSES = ("CAP", "COVID", "Normal")
SIZE = 64


def volume(label: str, slices: int, infected: np.ndarray, seed: int) -> np.ndarray:
    """HU, float32 (slices, 64, 64), from the feet to the head."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    hu = np.full((slices, SIZE, SIZE), -1000, dtype=np.float32)
    hu[:, (columns / 0.9) ** 2 + (rows / 0.7) ** 2 < 1] = 40
    for side in (-1, 1):
        lung = ((columns - side * 0.4) / 0.28) ** 2 + (rows / 0.5) ** 2 < 1
        hu[:, lung] = -850
        patch = lung & (rows > rng.uniform(-0.2, 0.1))
        if label == "COVID":
            hu[np.ix_(infected, *map(np.arange, patch.shape))] = np.where(patch, -500, hu[infected])
        if label == "CAP" and side < 0:
            hu[np.ix_(infected, *map(np.arange, patch.shape))] = np.where(patch, 20, hu[infected])
    return hu + rng.normal(0, 10, hu.shape).astype(np.float32)


def write(path: Path, hu: np.ndarray, pixel_mm: float = 2.0) -> None:
    """A volume as NIfTI, 5 mm between slices. Pixels of 2 mm make lungs of 0.2 l, fewer than a chest has."""
    image = SimpleITK.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((pixel_mm, pixel_mm, 5.0))
    SimpleITK.WriteImage(image, str(path))


def table(folder: Path, train: int = 4, val: int = 1, test: int = 0, *, unknown: int = 0) -> SampleTable:
    """So many patients of each class in each split; of ``unknown`` training patients of each sick class no slice label
    is known. Studies have 10 to 13 slices."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for number in range(count):
            for label in CLASSES:
                seed = len(samples)
                slices = 10 + seed % 4
                infected = (np.arange(slices) >= 2) & (np.arange(slices) < 5) & (label != "Normal")
                name = f"p{seed:03d}.nii.gz"
                if not (folder / name).exists():
                    write(folder / name, volume(label, slices, infected, seed))
                known = label == "Normal" or split != "train" or number >= unknown
                text = infected_text(np.flatnonzero(infected).tolist()) if known else ""
                samples.append(Sample(name, label, split, f"p{seed:03d}", "phantom", infected=text))
    return SampleTable(folder, "manifest", tuple(samples))


def recipe(*changes: str) -> Recipe:
    """The light recipe made tiny: from scratch, 32 px, a few steps."""
    small = apply(
        find("ct-three-level-light"),
        [
            "model.backbone=mobilenetv2_035",
            "model.pretrained=false",
            "model.hidden=12",
            "preprocess.size=32",
            "preprocess.region=body",
            "slices.per_epoch=24",
            "batch_size=8",
            "phases.tune.epochs=2",
            "phases.picked.epochs=1",
            "patient.epochs=2",
            "patient.lstm_units=6",
            "ensemble.epochs=3",
        ],
    )
    return apply(small, changes)
