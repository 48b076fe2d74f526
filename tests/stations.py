"""Radiographs of simulated X-ray stations, and bundles that know a station."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bundles import tiny_bundle
from films import write_manifest
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import SampleTable
from pulmoscope.inference.hospitals import known_hospitals
from pulmoscope.runtime.bundle import HOSPITALS, Bundle
from pulmoscope.runtime.model import Model
from radiographs import chest

CLASSES = ("COVID", "Normal")


def radiograph(seed: int, sick: bool, *, gamma: float = 1.0, blur: float = 0.0) -> FloatArray:
    """A chest of 128 px whose upper left (COVID) or upper right (Normal) is a little brighter.

    Exposure and fall-off of the light differ from image to image; gamma and blur (px) are the station's.
    """
    rng = np.random.default_rng(seed)
    image = chest(128, seed).astype(np.float32) / 255 * rng.uniform(0.85, 1.05)
    image += rng.uniform(0, 0.1) * np.linspace(-1, 1, 128, dtype=np.float32)[:, None]
    down, across = np.mgrid[:128, :128]
    image += 0.2 * np.exp(-((down - 32) ** 2 + (across - (32 if sick else 96)) ** 2) / 600)
    image = cv2.GaussianBlur(np.clip(image, 0, 1) ** gamma, (0, 0), 0.7 + blur)
    return np.asarray(image, dtype=np.float32)


def station(
    folder: Path,
    seeds: range,
    sick: float = 0.5,
    *,
    gamma: float = 1.0,
    blur: float = 0.0,
    suffix: str = "png",
) -> list[Path]:
    """Write a station's radiographs, so many of them sick, and give back their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, seed in enumerate(seeds):
        is_sick = (number * sick) % 1 + sick >= 1
        image = np.rint(radiograph(seed, is_sick, gamma=gamma, blur=blur) * 255).astype(np.uint8)
        paths.append(folder / f"{number:03d}.{suffix}")
        Image.fromarray(image).save(paths[-1])
    return paths


def training_data(folder: Path, hospitals: int = 1) -> SampleTable:
    """80 training and 36 validation radiographs of each of the hospitals north, south (gamma 0.6) …"""
    rows = []
    for hospital, gamma in (("north", 1.0), ("south", 0.6))[:hospitals]:
        for split, seeds in (("train", range(80)), ("val", range(100, 136))):
            for number, path in enumerate(station(folder / hospital / split, seeds, gamma=gamma)):
                label = CLASSES[1 - number % 2]
                row = {
                    "file": str(path.relative_to(folder)),
                    "label": label,
                    "split": split,
                    "source": hospital,
                }
                rows.append(row)
    return load_all([write_manifest(folder, rows)])


def knowing_bundle(folder: Path, table: SampleTable) -> Bundle:
    """A tiny bundle that knows the hospitals of the table."""
    bundle = tiny_bundle(folder, CLASSES)
    known = known_hospitals(Model(bundle), table)
    assert known is not None
    (folder / HOSPITALS).write_bytes(known.to_bytes())
    return bundle.save()
