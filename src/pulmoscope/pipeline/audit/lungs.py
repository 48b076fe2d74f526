"""Where the lungs are in an image under audit, whether the model looks for them or not."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray, Modality
from pulmoscope.evaluation.audit.erasure import central_box
from pulmoscope.evaluation.audit.traits import ROOM
from pulmoscope.runtime.bundle import built_in_lung_finder
from pulmoscope.runtime.model import Model, find_lungs
from pulmoscope.runtime.network import Network, open_network
from pulmoscope.segment.slice_lungs import lung_hulls, slice_lungs
from pulmoscope.segment.xray_lungs import lung_area

CENTRE = 0.6
"""Where no lungs are seen, this fraction of the area, in the centre, counts as lung."""


def audited_lungs(model: Model, pixels: FloatArray, room: float = ROOM) -> BoolArray:
    """The lungs and a little around them; the centre of the image where none are seen.

    They are looked for by the model's lung finder, or by the one that comes with the package.

    Args:
        pixels: float32 (rows, columns) in [0, 1], of a radiograph or of a CT slice that came as a picture.
        room: how far the area reaches beyond the lungs, in shorter sides of the image.

    Returns:
        bool (rows, columns).
    """
    rows, columns = pixels.shape
    if model.bundle.modality == Modality.CT:
        area = _slice_area(pixels)
    else:
        found = model.lung_map(pixels) if model.finds_lungs else find_lungs(_finder(), pixels)
        area = None if found is None else lung_area(found, rows, columns, room)
    if area is None:
        area = np.zeros((rows, columns), dtype=bool)
        area[central_box(rows, columns, CENTRE).slices] = True
    return area


def _slice_area(pixels: FloatArray) -> BoolArray | None:
    """The hulls of a slice's lungs: what is dense in them is no part of the dark that is found."""
    lungs = slice_lungs(pixels)
    if lungs is None:
        return None
    area = np.zeros(pixels.shape, dtype=np.uint8)
    for hull in lung_hulls(lungs):
        cv2.fillConvexPoly(area, np.rint(hull).astype(np.int32), 1)
    return area > 0


@cache
def _finder() -> Network:
    return open_network(built_in_lung_finder() / "lungs.onnx")
