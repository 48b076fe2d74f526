"""What preprocessing does to a CT study, step by step, as pictures: a sheet for every step, and one of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.files import claim_folder, write_bytes
from pulmoscope.core.types import Bytes, FloatArray, Scan, Units
from pulmoscope.explain.overlay import png
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import SYSTEM_B, CtAugmentation
from pulmoscope.preprocess.ct_interpolate import interpolate_slices
from pulmoscope.segment.ct_lungs import LEFT, RIGHT, LungFinder, LungMask, lung_mask

STEPS = (
    "raw",
    "grey",
    "blurred",
    "threshold",
    "contour",
    "masked",
    "brightened",
    "resized",
    "network",
    "augmented",
    "interpolated",
    "lungs",
)
"""The pictures' names, in order; ``01-raw.png`` is the first."""

LUNG_WINDOW = -1350.0, 150.0
"""HU shown as black and as white: level -600, width 1500."""

COLOURS = {RIGHT: (230, 60, 60), LEFT: (60, 200, 60)}
BODY_COLOUR = (255, 200, 0)
TILE = 256
"""Side of a slice's picture on a sheet, px."""

OVERVIEW = "00-overview.png"


def write_steps(
    scan: Scan,
    out: Path,
    prepare: CtPreprocess | None = None,
    *,
    count: int = 6,
    finder: LungFinder = lung_mask,
    augment: CtAugmentation = SYSTEM_B,
    force: bool = False,
) -> list[Path]:
    """Write ``00-overview.png`` (a row a step) and a sheet a step for slices spread evenly over a study.

    Args:
        scan: a CT, HU or grey.
        out: a new folder, unless ``force``.
        prepare: the settings; system B's by default.
        count: how many slices, at most.
        finder: finds the lungs; needs the scan's spacing, and there is no picture of lungs without it.
        augment: what the augmented example is made with.
        force: replace what is there.

    Raises:
        OutputExistsError: there are such pictures in the folder.
    """
    claim_folder(out, OVERVIEW, force)
    prepare = prepare or CtPreprocess()
    lungs = finder(scan.pixels, scan.spacing_mm) if scan.units is Units.HU and scan.spacing_mm else None
    chosen = _spread(len(scan.pixels), count)
    tiles = [dict(_steps(scan, index, prepare, lungs, augment)) for index in chosen]
    written, rows = [], []
    for number, step in enumerate(STEPS, start=1):
        if step not in tiles[0]:
            continue
        rows.append(np.hstack([_tile(tile[step]) for tile in tiles]))
        written.append(out / f"{number:02d}-{step}.png")
        write_bytes(written[-1], png(_labelled(rows[-1], step, chosen)))
    shrunk = [cv2.resize(row, (row.shape[1] // 2, TILE // 2), interpolation=cv2.INTER_AREA) for row in rows]
    names = [step for step in STEPS if step in tiles[0]]
    overview = np.vstack([_labelled(row, step, ()) for row, step in zip(shrunk, names, strict=True)])
    write_bytes(out / OVERVIEW, png(overview))
    return [out / OVERVIEW, *written]


def _steps(
    scan: Scan, index: int, prepare: CtPreprocess, lungs: LungMask | None, augment: CtAugmentation
) -> Iterator[tuple[str, Bytes]]:
    """One slice after every step: name, and uint8 (rows, columns) or (rows, columns, 3)."""
    plane, units = scan.plane(index), scan.units
    raw = _window(plane, units)
    grey = prepare.to_uint8(plane, units)
    body = prepare.body(grey, units)
    blurred = prepare.blurred(grey)
    yield "raw", raw
    yield "grey", grey
    yield "blurred", blurred
    yield "threshold", prepare.thresholded(blurred, units) * np.uint8(255)
    yield "contour", _outlined(raw, body, BODY_COLOUR)
    masked = np.where(body, grey, np.uint8(0))
    yield "masked", masked
    yield "brightened", prepare.brighten(masked, units)
    near = slice(max(0, index - 1), index + 1)
    images = prepare.slices(scan.pixels[near], units, lungs)
    yield "resized", images[-1]
    yield "network", _as_seen(prepare.tensor(images[-1:])[0], prepare)
    yield "augmented", augment(images[-1], np.random.default_rng(index))
    if len(images) == 2:
        yield "interpolated", interpolate_slices(images, [True, True], 2)[0][1]
    else:
        yield "interpolated", images[-1]
    if lungs is not None:
        outlined = raw
        for label, colour in COLOURS.items():
            outlined = _outlined(outlined, lungs.labels[index] == label, colour)
        yield "lungs", outlined


def _spread(slices: int, count: int) -> list[int]:
    """So many slices, evenly spaced, without the ends."""
    at = (np.arange(min(count, slices)) + 0.5) / min(count, slices) * slices
    return [int(index) for index in at]


def _window(plane: FloatArray, units: Units) -> Bytes:
    """The lung window, or a picture as it is: 0 … 255."""
    low, high = LUNG_WINDOW if units is Units.HU else (0.0, 1.0)
    return np.asarray(np.rint(np.clip((plane - low) / (high - low), 0, 1) * 255), dtype=np.uint8)


def _outlined(image: Bytes, mask: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> Bytes:
    """An image in colour with a mask's outline."""
    coloured = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(coloured, outlines, -1, colour, max(1, round(image.shape[1] / 256)))
    return np.asarray(coloured, dtype=np.uint8)


def _as_seen(tensor: FloatArray, prepare: CtPreprocess) -> Bytes:
    """What the network is given, (3, rows, columns), with the normalisation taken back."""
    mean, std = (
        np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (prepare.mean, prepare.std)
    )
    back = np.rint(np.clip((tensor * std + mean) * 255, 0, 255))
    return np.asarray(back.transpose(1, 2, 0), dtype=np.uint8)


def _tile(image: Bytes) -> Bytes:
    """An image as a square in colour."""
    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    method = cv2.INTER_AREA if image.shape[0] > TILE else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(colour, (TILE, TILE), interpolation=method), dtype=np.uint8)


def _labelled(row: Bytes, step: str, slices: list[int] | tuple[int, ...]) -> Bytes:
    """A row of pictures under its step's name, with the slices' numbers (0: the feet)."""
    head = np.full((22, row.shape[1], 3), 30, dtype=np.uint8)
    texts = [
        (6, step),
        *((column * TILE + TILE - 80, f"slice {index}") for column, index in enumerate(slices)),
    ]
    for x, text in texts:
        cv2.putText(head, text, (x, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([head, row])
