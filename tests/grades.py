"""Drawn CT studies of the grades CT-0 to CT-3, small ones, and a tiny recipe of severity for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.phantoms.ct.damage import damage
from pulmoscope.phantoms.ct.draw import draw
from pulmoscope.phantoms.ct.files import write_nifti
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe

CLASSES = ("CT-0", "CT-1", "CT-2", "CT-3")
TINY = (
    "preprocess.size=32",
    "preprocess.slice_mm=30",
    "phases.train.epochs=2",
    "slices.per_study=3",
    "batch_size=8",
    "model.backbone=resnet10t",
    "quality.imputer=linear",
    "quality.anomalies=false",
)

TINY_ANOGAN = (
    "quality.anomalies=true",
    "quality.anogan.width=8",
    "quality.anogan.epochs=1",
    "quality.anogan.encoder_epochs=1",
    "quality.anogan.batches=2",
    "quality.anogan.batch_size=8",
)


def table(
    folder: Path, *, each: int = 2, splits: tuple[str, ...] = ("train", "val"), damaged: bool = True
) -> SampleTable:
    """``each`` studies of every grade in each split; every second one lacks a block in some slices."""
    samples = []
    for number, (split, grade, copy) in enumerate(
        (split, grade, copy) for split in splits for grade in CLASSES for copy in range(each)
    ):
        file = folder / f"{grade}-{split}-{copy}.nii"
        if not file.exists():
            phantom = draw(grade, (7, number), slices=20, size=64)
            hu = phantom.hu
            if damaged and number % 2:
                hu, _ = damage(hu, np.random.default_rng(number), 0.3, kinds=("zero",), sizes=("large",))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(file, hu, phantom)
        samples.append(Sample(file.name, grade, split, file.stem, SYNTHETIC_SOURCE))
    return SampleTable(folder, "manifest", tuple(samples))


def recipe(*changes: str) -> Recipe:
    """The published recipe, tiny, with these settings."""
    return settings.apply(find("ct-severity-resnet18"), [*TINY, *changes])
