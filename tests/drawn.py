"""Small drawn radiographs and tables of them, for the tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.recipes.published import named
from pulmoscope.recipes.recipe import Recipe

IMAGES = {name: recipe for name, recipe in named(Recipe).items() if recipe.slices is None}
"""The recipes of single images."""
CLASSES = ("COVID", "Normal", "Tuberculosis", "Viral Pneumonia")


def film(label: str, rng: np.random.Generator, size: int = 72) -> FloatArray:
    """A drawn film, float32 (size, size): dark lungs in a bright body, and in each class but Normal its own mark."""
    image = np.full((size, size), 0.75, dtype=np.float32)
    for centre in (0.3, 0.7):
        cv2.ellipse(
            image,
            (round(centre * size), size // 2),
            (round(0.14 * size), round(0.34 * size)),
            0,
            0,
            360,
            0.2,
            thickness=-1,
        )
    if label != "Normal":
        row = {"COVID": 0.7, "Tuberculosis": 0.3, "Viral Pneumonia": 0.5}.get(label, 0.4)
        for centre in (0.3, 0.7) if label == "COVID" else (0.3,):
            cv2.circle(image, (round(centre * size), round(row * size)), round(0.1 * size), 0.7, thickness=-1)
    noisy = image + rng.normal(0, 0.04, image.shape)
    return np.asarray(np.clip(noisy, 0, 1), dtype=np.float32)


def table(
    folder: Path,
    train: int,
    val: int = 4,
    classes: tuple[str, ...] = CLASSES,
    patients: int = 0,
    test: int = 0,
    seed: int = 3,
) -> SampleTable:
    """Draw this many films per class and split, as PNG, and give their table.

    With ``patients``, film n of a class and split is of patient n modulo that number.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for label in classes:
        for split, count in (("train", train), ("val", val), ("test", test)):
            for number in range(count):
                file = f"{label}-{split}-{number}.png"
                grey = np.rint(film(label, rng) * 255).astype(np.uint8)
                folder.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / file), grey)
                patient = f"{label}-{number % patients}" if patients else ""
                samples.append(Sample(file, label, split, patient, "drawn"))
    return SampleTable(folder, "manifest", tuple(samples))


def named(classes: tuple[str, ...]) -> SampleTable:
    """A table of these classes whose images are not there: enough where no pixel is read."""
    return SampleTable(Path(), "manifest", tuple(Sample(f"{name}.png", name, "train") for name in classes))
