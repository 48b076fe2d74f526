"""Small pictures and data sets that tests draw themselves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from pulmoscope.core.types import FloatArray
from pulmoscope.phantoms.xray.draw import xray_phantom


@cache
def film(seed: int, size: int = 96) -> FloatArray:
    """A synthetic chest, different with every seed."""
    return xray_phantom(seed, size=size)


def save(path: Path, pixels: FloatArray) -> Path:
    """Write [0, 1] pixels as an 8-bit picture; the format comes from the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(path)
    return path


def write_manifest(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """A ``manifest.csv``; columns that a row does not have are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "manifest.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["file", "label", "split", "patient", "source"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return file
