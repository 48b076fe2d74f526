"""Synthetic radiographs whose disease grows from patient to patient, with the scores that the drawing gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.core.xray_severity import ZONES
from pulmoscope.datasets.scores import EXTENT, OPACITY
from pulmoscope.phantoms.xray.draw import draw_xray
from pulmoscope.segment.xray_zones import lung_zones

SIZE = 160


def write(folder: Path, patients: int = 32, normals: int = 10, boxed: int = 4) -> Path:
    """A data set: scored patients, the first with two radiographs; others without disease; others with boxes.

    Disease is drawn over a chest more and more densely: a zone's score is nine times its mean density, at most 3;
    extent and opacity are the lungs' affected fraction and mean density, each as its scale has it.
    """
    folder.mkdir(parents=True)
    scores = [",".join(("file", "patient", EXTENT.upper(), OPACITY, *(f"one_{zone}" for zone in ZONES)))]
    manifest, boxes = ["file,label,split,patient,source"], ["file,x0,y0,x1,y1"]
    for number in range(patients + 1):
        file, patient = f"ill-{number}.png", f"p{number % patients}"
        dense, lungs = _ill(folder / file, number, (number % 8 + 1) / 8)
        scores.append(",".join([file, patient, *(f"{value:.3f}" for value in _scores(dense, lungs))]))
        manifest.append(f"{file},COVID,train,{patient},phantom")
    for number in range(normals):
        file, split = f"well-{number}.png", "train" if number % 2 else "val"
        save(folder / file, draw_xray(1000 + number, "Normal", SIZE).image)
        manifest.append(f"{file},Normal,{split},n{number},{'north' if number < normals // 2 else 'south'}")
    for number in range(boxed):
        file = f"boxed-{number}.png"
        down, across = np.nonzero(_ill(folder / file, 2000 + number, 1.0)[0] > 0.1)
        manifest.append(f"{file},COVID,train,b{number},phantom")
        boxes.append(f"{file},{across.min()},{down.min()},{across.max() + 1},{down.max() + 1}")
    for name, lines in (("scores.csv", scores), ("manifest.csv", manifest), ("boxes.csv", boxes)):
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def _ill(path: Path, seed: int, strength: float) -> tuple[FloatArray, BoolArray]:
    """Draw disease so strongly over a chest; how dense it is at each pixel, and the lungs."""
    ill, well = (draw_xray(seed, finding, SIZE) for finding in ("COVID", "Normal"))
    save(path, well.image + strength * (ill.image - well.image))
    return np.asarray(strength * ill.lesions, dtype=np.float32), ill.lungs


def _scores(dense: FloatArray, lungs: BoolArray) -> list[float]:
    """Extent, opacity, and the six zones'."""
    zones = lung_zones(lungs.astype(np.float32), SIZE, SIZE)
    assert zones is not None
    inside = dense[lungs]
    extent, opacity = 8 * float((inside > 0.1).mean()), min(6.0, 18 * float(inside.mean()))
    return [extent, opacity, *(min(3.0, 9 * float(dense[part].mean())) for part in zones.parts)]


def save(path: Path, pixels: FloatArray) -> None:
    Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(path)
