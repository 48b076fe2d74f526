"""Images with their heat maps, their lungs, and what readers drew in them, all at one small size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Box, FloatArray, Modality, Scan
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.explain.gradcam import place
from pulmoscope.explain.lungs import seen_lungs
from pulmoscope.explain.maps import Viewed, maps
from pulmoscope.io import read_xray
from pulmoscope.pipeline.pictures.xray import shrunk
from pulmoscope.runtime.model import Model, Prepared
from pulmoscope.segment.slice_lungs import lung_hulls, slice_lungs

SIDE = 256
"""Longest side at which maps and masks are compared, px."""
_BATCH = 16


@dataclass(frozen=True)
class Located:
    """An image, at most :data:`SIDE` px a side, and what is known of places in it.

    Attributes:
        sample: what it is.
        viewed: as the network saw it.
        target: the number of its label among the model's classes.
        box: the network's region.
        pixels: float32 (rows, columns) in [0, 1].
        lungs: bool (rows, columns): where a reader has drawn them, else where the model's finder, or of a CT slice the
            picture's grey, says they are; None where they were not found.
        drawn: whether a reader has drawn them.
        finder: the lung finder's map over the whole image, of any size; None without one.
        finding: bool (rows, columns): all that readers marked as diseased; None where they marked nothing.
    """

    sample: Sample
    viewed: Viewed
    target: int
    box: Box
    pixels: FloatArray
    lungs: BoolArray | None
    drawn: bool
    finding: BoolArray | None
    finder: FloatArray | None = None

    def placed(self, cells: FloatArray) -> FloatArray:
        """A map of the network's region, laid over the image."""
        return place(cells, self.box, *self.pixels.shape)


def located(model: Model, table: SampleTable) -> list[Located]:
    """The table's images whose label is one of the model's classes; all of them can be read."""
    known = [sample for sample in table if sample.label in model.bundle.classes]
    images: list[Located] = []
    for start in range(0, len(known), _BATCH):
        part = known[start : start + _BATCH]
        scans = [read_xray(table.path(sample)) for sample in part]
        prepared = [model.prepare(scan.pixels[0]) for scan in scans]
        outputs = model.predict(np.stack([one.tensor for one in prepared]))
        images += [
            _located(
                model, table, sample, scan, one, Viewed(one.tensor, outputs, index, model.bundle.negative)
            )
            for index, (sample, scan, one) in enumerate(zip(part, scans, prepared, strict=True))
        ]
    return images


def cells_of(model: Model, image: Located, kind: str) -> FloatArray:
    """The map of an image for its label, by this kind, as the network gives it."""
    (cells,) = maps(kind, image.viewed, model.predict, [image.target])
    return cells


def seen_by(model: Model, images: Sequence[Located]) -> list[Viewed]:
    """The same tensors, as another network sees them."""
    outputs = model.predict(np.stack([image.viewed.tensor for image in images]))
    negative = model.bundle.negative
    return [Viewed(image.viewed.tensor, outputs, index, negative) for index, image in enumerate(images)]


def _located(
    model: Model, table: SampleTable, sample: Sample, scan: Scan, prepared: Prepared, viewed: Viewed
) -> Located:
    pixels = scan.pixels[0]
    small = shrunk(pixels, SIDE)
    lungs, drawn = _lungs(model, table, sample, scan, prepared)
    return Located(
        sample=sample,
        viewed=viewed,
        target=model.bundle.classes.index(sample.label),
        box=_scaled(prepared.framed.box, small.shape[0] / pixels.shape[0], small.shape[1] / pixels.shape[1]),
        pixels=small,
        lungs=None if lungs is None else _fitted(lungs, small),
        drawn=drawn,
        finding=_finding(table, sample, scan, small),
        finder=prepared.lungs,
    )


def _scaled(box: Box, down: float, across: float) -> Box:
    top, left = round(box.top * down), round(box.left * across)
    bottom, right = round((box.top + box.height) * down), round((box.left + box.width) * across)
    return Box(top, left, max(1, bottom - top), max(1, right - left))


def _lungs(
    model: Model, table: SampleTable, sample: Sample, scan: Scan, prepared: Prepared
) -> tuple[BoolArray | None, bool]:
    """The lungs, and whether a reader has drawn them."""
    drawn = _mask(table, sample.mask, scan) if sample.mask else None
    if drawn is not None and drawn.any():
        return drawn, True
    if model.bundle.modality == Modality.CT:
        return _slice_lungs(scan.pixels[0]), False
    return seen_lungs(prepared, *scan.pixels.shape[1:]), False


def _slice_lungs(pixels: FloatArray) -> BoolArray | None:
    """The lungs of a CT slice with vessels and what is consolidated in them: within their hulls."""
    dark = slice_lungs(pixels)
    if dark is None:
        return None
    inside = np.zeros(pixels.shape, dtype=np.uint8)
    for hull in lung_hulls(dark):
        cv2.fillConvexPoly(inside, np.rint(hull).astype(np.int32), 1)
    return inside > 0


def _finding(table: SampleTable, sample: Sample, scan: Scan, small: FloatArray) -> BoolArray | None:
    """Boxes and masks together; None of an image that was turned in reading, as they were not."""
    if not _as_stored(scan):
        return None
    rows, columns = scan.pixels.shape[1:]
    marked = np.zeros((rows, columns), dtype=bool)
    for left, top, right, bottom in sample.boxes:
        down, across = (max(0, int(first)) for first in (top, left))
        marked[down : max(0, int(np.ceil(bottom))), across : max(0, int(np.ceil(right)))] = True
    for name in sample.lesions:
        mask = _mask(table, name, scan)
        if mask is not None:
            marked |= mask
    found = _fitted(marked, small)
    return found if found.any() else None


def _mask(table: SampleTable, name: str, scan: Scan) -> BoolArray | None:
    """A mask of the image's own size; None where it can't be read, or is of another size.

    It is no radiograph, and may be empty but for a few pixels, which the reader of radiographs refuses.
    """
    try:
        content = np.fromfile(table.root / name, dtype=np.uint8)
    except OSError:
        return None
    decoded = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    if decoded is None or decoded.shape != scan.pixels.shape[1:] or not _as_stored(scan):
        return None
    return np.asarray(decoded > 127)


def _as_stored(scan: Scan) -> bool:
    return not any(flag.code in ("turned", "resampled") for flag in scan.remarks)


def _fitted(mask: BoolArray, small: FloatArray) -> BoolArray:
    rows, columns = small.shape
    return np.asarray(
        cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) >= 0.5
    )
