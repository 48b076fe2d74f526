"""How much a model's answers change when an image gets worse, as images do: kinds of change, each at some strengths.

All are done to the raw image, before any preprocessing; they take and give float32 (rows, columns) in [0, 1], change
nothing in place, and give the same every time. Lengths are fractions of the image's longer side, so that large and
small images suffer alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from pulmoscope.core.types import Bytes, Decision, FloatArray
from pulmoscope.evaluation.audit.verdict import Level, Verdict
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.evaluation.metrics import Predictions

GOOD_LOSS, BAD_LOSS = 0.02, 0.10
"""AUROC lost at plausible strengths: up to GOOD_LOSS a model bears the change, above BAD_LOSS it breaks."""
GOOD_FLIPS, BAD_FLIPS = 0.02, 0.10
"""Reported answers that become another reported answer, as a fraction of those reported, likewise."""
GOOD_REFERRED = 0.25
"""Of the reported answers the fraction that may be referred: above it, the model is of little use on such images."""
LEAST = 20
"""Images, or studies, of which fewer tell too little for a verdict."""


@dataclass(frozen=True)
class Change:
    """One kind of change at one strength.

    Attributes:
        kind: a stable word; ``strength``: how strong, in words for people.
        plausible: whether images in clinical use are like that.
        apply: from pixels to pixels; of CT studies HU (slices, rows, columns), with their spacing.
    """

    kind: str
    strength: str
    plausible: bool
    apply: Callable[..., FloatArray]

    @property
    def code(self) -> str:
        """A stable word for file names and JSON."""
        return f"{self.kind}-{self.strength}".replace(" ", "").replace("%", "").replace("°", "")


def blurred(pixels: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur; ``sigma``: of the longer side."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma * max(pixels.shape)), dtype=np.float32)


def noisy(pixels: FloatArray, sd: float) -> FloatArray:
    """Gaussian noise, another one for every image."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pixels).tobytes()))
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sd)
    return np.clip(pixels + noise, 0, 1)


def toned(pixels: FloatArray, gamma: float) -> FloatArray:
    """Gamma: below 1 the image gets brighter."""
    return np.asarray(np.clip(pixels, 0, 1) ** np.float32(gamma), dtype=np.float32)


def coarse(pixels: FloatArray, side: int) -> FloatArray:
    """The image as one ``side`` px long had it, in its old size; smaller ones as they are."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels.copy()
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.float32)


def compressed(pixels: FloatArray, quality: int) -> FloatArray:
    """Through a JPEG file of this quality."""
    grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / np.float32(255)


def rotated(pixels: FloatArray, degrees: float) -> FloatArray:
    """Turned about its centre, black where nothing was."""
    rows, columns = pixels.shape
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, (columns, rows)), dtype=np.float32)


def cropped(pixels: FloatArray, edge: float) -> FloatArray:
    """Without ``edge`` of each side."""
    rows, columns = pixels.shape
    top, left = round(rows * edge), round(columns * edge)
    return pixels[top : rows - top, left : columns - left].copy()


def lettered(pixels: FloatArray, letters: int) -> FloatArray:
    """With white letters as technicians put them: a side marker, then a position, then a line of text below."""
    drawn = np.zeros(pixels.shape, dtype=np.uint8)
    rows, columns = pixels.shape
    scale = max(rows, columns) / 512
    places = (
        ("R", 0.04, 0.12, 1.6),
        ("AP SITTING", 0.62, 0.08, 0.8),
        ("PORTABLE 12:40", 0.05, 0.96, 0.8),
    )
    for text, column, row, size in places[:letters]:
        at = (round(columns * column), round(rows * row))
        thickness = max(1, round(2 * scale * size))
        cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, size * scale, 255, thickness, cv2.LINE_AA)
    return _over(pixels, drawn, 1.0)


_WIRES = (
    ((0.30, 0.00), (0.42, 0.25), (0.36, 0.52)),
    ((0.72, 0.00), (0.60, 0.22), (0.66, 0.40)),
    ((1.00, 0.55), (0.80, 0.66), (0.68, 0.72)),
    ((0.52, 0.00), (0.51, 0.30), (0.50, 0.80)),
    ((0.00, 0.60), (0.15, 0.74), (0.28, 0.76)),
)
"""A port, ECG leads and a tube: courses (column, row) in fractions of the image, the last point the tip."""


def wired(pixels: FloatArray, wires: int) -> FloatArray:
    """With so many simulated devices: bright lines that end in an electrode or a chamber."""
    drawn = np.zeros(pixels.shape, dtype=np.uint8)
    rows, columns = pixels.shape
    longest = max(rows, columns)
    thickness = max(1, round(0.005 * longest))
    for course in _WIRES[:wires]:
        start, middle, end = (np.array((column * columns, row * rows)) for column, row in course)
        step = np.linspace(0, 1, 40)[:, None]
        curve = (1 - step) ** 2 * start + 2 * step * (1 - step) * middle + step**2 * end
        cv2.polylines(drawn, [np.rint(curve).astype(np.int32)], False, 255, thickness, cv2.LINE_AA)
        centre = (round(float(end[0])), round(float(end[1])))
        cv2.circle(drawn, centre, max(2, round(0.014 * longest)), 255, -1, cv2.LINE_AA)
    return _over(pixels, drawn, float(np.quantile(pixels, 0.98)))


def _over(pixels: FloatArray, drawn: Bytes, grey: float) -> FloatArray:
    """One grey laid over an image where something is drawn (255: fully)."""
    cover = drawn.astype(np.float32) / np.float32(255)
    return pixels + cover * (np.float32(grey) - pixels)


CHANGES: tuple[Change, ...] = (
    Change("blur", "0.25 %", True, partial(blurred, sigma=0.0025)),
    Change("blur", "0.5 %", True, partial(blurred, sigma=0.005)),
    Change("blur", "1 %", False, partial(blurred, sigma=0.01)),
    Change("noise", "2 %", True, partial(noisy, sd=0.02)),
    Change("noise", "5 %", False, partial(noisy, sd=0.05)),
    Change("noise", "10 %", False, partial(noisy, sd=0.10)),
    Change("gamma", "0.5", False, partial(toned, gamma=0.5)),
    Change("gamma", "0.7", True, partial(toned, gamma=0.7)),
    Change("gamma", "1.4", True, partial(toned, gamma=1.4)),
    Change("resolution", "256 px", True, partial(coarse, side=256)),
    Change("resolution", "128 px", False, partial(coarse, side=128)),
    Change("resolution", "64 px", False, partial(coarse, side=64)),
    Change("jpeg", "50", True, partial(compressed, quality=50)),
    Change("jpeg", "25", False, partial(compressed, quality=25)),
    Change("jpeg", "10", False, partial(compressed, quality=10)),
    Change("rotation", "3°", True, partial(rotated, degrees=3)),
    Change("rotation", "7°", True, partial(rotated, degrees=7)),
    Change("rotation", "15°", False, partial(rotated, degrees=15)),
    Change("crop", "3 %", True, partial(cropped, edge=0.03)),
    Change("crop", "6 %", True, partial(cropped, edge=0.06)),
    Change("crop", "12 %", False, partial(cropped, edge=0.12)),
    Change("letters", "1", True, partial(lettered, letters=1)),
    Change("letters", "2", True, partial(lettered, letters=2)),
    Change("letters", "3", True, partial(lettered, letters=3)),
    Change("devices", "1", True, partial(wired, wires=1)),
    Change("devices", "3", True, partial(wired, wires=3)),
    Change("devices", "5", False, partial(wired, wires=5)),
)

TITLES = {
    "blur": "Blur, s.d. in percent of the longer side",
    "noise": "Noise, s.d. in percent of the range of greys",
    "gamma": "Gamma",
    "resolution": "Resolution, longer side",
    "jpeg": "JPEG, quality",
    "rotation": "Rotation",
    "crop": "Cropped, of each side",
    "letters": "Burned-in letters, how many texts",
    "devices": "Simulated lines and ECG leads, how many",
    "kernel": "Sharper or softer kernel",
    "shift": "HU shifted",
    "thick": "Thicker slices",
}


@dataclass(frozen=True)
class Borne:
    """What one change does.

    Attributes:
        change: which one.
        auroc: under it, as the audit's other figures; ``lost``: how much lower it is than without, None where
            undefined.
        flipped: the fraction of images whose most probable class changes.
        flipped_reported: of the answers that were reported, the fraction that is reported as another class; None
            where none was reported.
        referred: of the answers that were reported, the fraction that is referred now.
    """

    change: Change
    auroc: Estimate
    lost: float | None
    flipped: float
    flipped_reported: float | None
    referred: float | None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.change.code,
            "kind": self.change.kind,
            "strength": self.change.strength,
            "plausible": self.change.plausible,
            "auroc": self.auroc.plain(),
            "lost": self.lost,
            "flipped": self.flipped,
            "flipped_reported": self.flipped_reported,
            "referred": self.referred,
        }


def borne(
    change: Change, auroc: Estimate, clean: Estimate, changed: Predictions, before: Predictions
) -> Borne:
    """Compare the answers for changed images with those for the same images as they are.

    Args:
        auroc, clean: with the change, and without.

    Raises:
        ValueError: the two are of other images.
    """
    if changed.files != before.files:
        raise ValueError("the answers before and after a change must be of the same images")
    other = np.array(changed.predicted) != np.array(before.predicted)
    was = np.array([decision == Decision.REPORT for decision in before.decisions], dtype=bool)
    still = np.array([decision == Decision.REPORT for decision in changed.decisions], dtype=bool)
    some = bool(was.any())
    return Borne(
        change,
        auroc,
        None if auroc.value is None or clean.value is None else clean.value - auroc.value,
        float(other.mean()),
        float((other & still)[was].mean()) if some else None,
        float((~still)[was].mean()) if some else None,
    )


def verdicts(results: Sequence[Borne], images: int) -> list[Verdict]:
    """One for every kind of change: what its plausible strengths do.

    Args:
        images: how many were changed.
    """
    kinds = dict.fromkeys(result.change.kind for result in results)
    return [_verdict(kind, [row for row in results if row.change.kind == kind], images) for kind in kinds]


def _verdict(kind: str, results: Sequence[Borne], images: int) -> Verdict:
    plausible = [row for row in results if row.change.plausible]
    lost = max((row.lost for row in plausible if row.lost is not None), default=None)
    flips = max((row.flipped_reported for row in plausible if row.flipped_reported is not None), default=None)
    code, title = f"robust-{kind}", TITLES[kind].split(",")[0]
    referred = max((row.referred for row in plausible if row.referred is not None), default=None)
    levels: list[Level] = []
    if lost is not None:
        levels.append("good" if lost <= GOOD_LOSS else "bad" if lost > BAD_LOSS else "doubtful")
    if flips is not None:
        levels.append("good" if flips <= GOOD_FLIPS else "bad" if flips > BAD_FLIPS else "doubtful")
    if referred is not None:
        levels.append("good" if referred <= GOOD_REFERRED else "doubtful")
    if not levels or images < LEAST:
        return Verdict(code, "none", f"{title}: too few images or studies to tell ({images}).")
    level = max(levels, key=("good", "doubtful", "bad").index)
    parts = [] if lost is None else [f"AUROC falls by up to {max(0.0, lost):.3f}"]
    parts += [] if flips is None else [f"up to {flips:.0%} of the reported answers become others"]
    parts += [] if referred is None else [f"up to {referred:.0%} are referred instead"]
    return Verdict(code, level, f"{title} as it occurs in practice: {', '.join(parts)}.")
