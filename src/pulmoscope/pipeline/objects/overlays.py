"""The pictures of a diagnosis as Secondary Captures have them: those of the report's page, with a notice burned in."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from pydicom.dataset import Dataset

from pulmoscope.core.types import Bytes, Diagnosis, Modality
from pulmoscope.explain.overlay import overlay
from pulmoscope.pipeline.pictures.lesions import lesion_picture, most_affected
from pulmoscope.pipeline.pictures.xray import LUNGS, displayed, edged, outlined, shrunk
from pulmoscope.report.dicom.common import Common
from pulmoscope.report.dicom.secondary_capture import Picture, captures

NOTICE = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE"
_SIDE = 1024
"""Longest side of a radiograph's picture, px."""
_NARROWEST = 320
"""The notice needs so many px; a smaller picture is enlarged by a whole factor."""
_AFFECTED = 4
"""Slices with most lesion, at most."""
_OPACITY = 0.6
_ANOMALY = "anomaly"
"""The kind of the map that says why an image is unlike normal ones."""


def secondary_captures(common: Common) -> Iterator[tuple[str, Dataset]]:
    """The pictures as objects, each with its name."""
    return captures(common, overlays(common.diagnosis))


def overlays(diagnosis: Diagnosis) -> list[Picture]:
    """Pictures with what was found and the notice burned in.

    Of a CT: the heat maps over their slices, from the last stage of the network, then the slices with most lesion
    outlined. Of a radiograph: the map of the most probable class over it, and of what is unlike normal lungs.
    """
    pictures = _of_ct(diagnosis) if diagnosis.scan.modality is Modality.CT else _of_xray(diagnosis)
    return [Picture(_captioned(one.pixels, one.title), one.title, one.index) for one in pictures]


def _of_ct(diagnosis: Diagnosis) -> Iterator[Picture]:
    scan, masks, imputed = diagnosis.scan, diagnosis.masks, diagnosis.imputed
    last = {one.index: one for one in sorted(diagnosis.explanations, key=lambda one: one.stage)}
    for index, one in sorted(last.items()):
        blended = overlay(displayed(scan.pixels[index], scan.units), one.heat, _OPACITY)
        shown = outlined(blended, None if imputed is None else imputed.mask[index])
        yield Picture(shown, f"Heat map: {one.target}"[:64], index)
    if masks is not None:
        side = max(scan.pixels.shape[1:])
        for index in most_affected(masks, _AFFECTED):
            picture = lesion_picture(scan, masks, index, side)
            yield Picture(picture, "Outlines of lungs and lesions", index)


def _of_xray(diagnosis: Diagnosis) -> Iterator[Picture]:
    pixels = shrunk(diagnosis.scan.pixels[0], _SIDE)
    for index, one in enumerate(diagnosis.explanations):
        if index == 0 or one.kind == _ANOMALY:
            blended = overlay(pixels, shrunk(one.heat, _SIDE), _OPACITY)
            yield Picture(edged(blended, diagnosis.lungs, LUNGS), f"Heat map: {one.target}"[:64])


def _captioned(pixels: Bytes, title: str) -> Bytes:
    """A picture with what it shows and the notice on a bar below it: nothing of the image is hidden."""
    larger = -(-_NARROWEST // pixels.shape[1])
    pixels = np.repeat(np.repeat(pixels, larger, axis=0), larger, axis=1) if larger > 1 else pixels
    width = pixels.shape[1]
    size = max(0.3, width / 1100)
    line = round(34 * size)
    bar = np.zeros((2 * line + line // 3, width, 3), dtype=np.uint8)
    for number, text in enumerate((title, NOTICE)):
        shown = text.encode("ascii", "replace").decode()
        origin = (line // 3, (number + 1) * line - line // 4)
        cv2.putText(bar, shown, origin, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([pixels, bar])
