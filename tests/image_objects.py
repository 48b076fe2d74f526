"""Small CTs and radiographs, stored in every way, and their diagnoses: for tests of the image objects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_series import CORNER_MM, PIXEL_MM, STEP_MM, drawn_hu, slice_datasets, write_slices
from diagnoses import a_ct_diagnosis, a_diagnosis
from pulmoscope.core.severity import CONSOLIDATION, GLASS, SeverityMasks
from pulmoscope.core.types import Diagnosis, Explanation, Scan
from pulmoscope.io import read_scan
from pulmoscope.pipeline.objects.overlays import secondary_captures
from pulmoscope.report.dicom.common import Common, file_bytes
from pulmoscope.report.dicom.parametric_map import parametric_maps
from pulmoscope.report.dicom.segmentation import segmentations
from pulmoscope.report.dicom.sources import read_sources
from radiographs import dicom_file, ramp

SHAPE = (16, 64, 64)
HOT = (5, 9)
"""The slices with heat maps."""

TILT = math.radians(20)
WAYS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "as a scan": ((0, 1, 2), (1, 1, 1)),
    "rows upwards": ((0, 1, 2), (1, -1, 1)),
    "columns to the right": ((0, 1, 2), (1, 1, -1)),
    "head first": ((0, 1, 2), (-1, 1, 1)),
    "rows and columns exchanged": ((0, 2, 1), (1, 1, -1)),
    "all the other way": ((0, 2, 1), (-1, -1, -1)),
}
"""How a series is stored: which of the axes slice, row, column its planes, rows and columns run along, and whether
forwards."""


def position_mm(index: tuple[int, ...] | np.ndarray, tilt: float = 0.0) -> np.ndarray:
    """Where a voxel of the drawn chest lies: the rows of a tilted gantry's slices run backwards and downwards."""
    z, y, x = index
    return np.array(
        [
            CORNER_MM[0] + PIXEL_MM * x,
            CORNER_MM[1] + PIXEL_MM * math.cos(tilt) * y,
            CORNER_MM[2] + STEP_MM * z - PIXEL_MM * math.sin(tilt) * y,
        ]
    )


def series(folder: Path, way: str = "as a scan", tilt: float = 0.0, **elements: Any) -> Path:
    """The drawn chest as a series that is stored in one of :data:`WAYS`."""
    axes, signs = WAYS[way]
    hu = drawn_hu(*SHAPE[:2])
    corner = [0 if sign > 0 else hu.shape[axis] - 1 for axis, sign in zip(axes, signs, strict=True)]
    stored = hu.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    steps = []
    for axis, sign in zip(axes, signs, strict=True):
        step = np.zeros(3)
        step[axis] = sign
        steps.append(position_mm(step, tilt) - position_mm(np.zeros(3), tilt))
    start = np.zeros(3)
    start[list(axes)] = corner
    row_mm, column_mm = (float(np.linalg.norm(step)) for step in steps[1:])
    orientation = [*(steps[2] / column_mm), *(steps[1] / row_mm)]
    datasets = slice_datasets(stored)
    for number, dataset in enumerate(datasets):
        place = position_mm(start, tilt) + number * steps[0]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in place]
        dataset.ImageOrientationPatient = [f"{value:.9f}" for value in orientation]
        dataset.PixelSpacing = [row_mm, column_mm]
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
    write_slices(folder, datasets)
    return folder


def masks(scan: Scan) -> SeverityMasks:
    """Lungs by density, the right and the left half; in both a lesion, in the right one with a dense core."""
    inside = np.asarray(scan.pixels < -600) & np.asarray(scan.pixels > -950)
    lungs = np.where(np.arange(inside.shape[2]) < inside.shape[2] // 2, 1, 2).astype(np.uint8) * inside
    z, y, _ = np.indices(inside.shape)
    middle = inside.shape[1] / 2
    near = (z > 3) & (z < 8) & (y > middle - 4) & (y < middle + 3) & inside
    lesions = near * np.uint8(GLASS)
    lesions[near & (lungs == 1) & (z == 5)] = CONSOLIDATION
    return SeverityMasks(lungs.astype(np.uint8), lesions.astype(np.uint8))


def ct_diagnosis(scan: Scan) -> Diagnosis:
    """Masks, and heat maps on two slices from two stages of the network."""
    heat = np.zeros(scan.pixels.shape[1:], dtype=np.float32)
    heat[3:9, 2:5], heat[10, 4] = 0.25, 1
    maps = [
        Explanation("grad-cam", "COVID", heat * (1 if index == HOT[0] else 0.5), index, stage)
        for index in HOT
        for stage in (4, 5)
    ]
    return replace(
        a_ct_diagnosis(), scan=scan, slices=(), levels={}, masks=masks(scan), explanations=tuple(maps)
    )


def radiograph(path: Path, **elements: Any) -> Path:
    """A slanted ramp of 80 x 100 px as a radiograph."""
    study = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "StudyDate": "20200314"}
    return dicom_file(path, ramp(), **study | elements)


def xray_diagnosis(scan: Scan) -> Diagnosis:
    """A lung in the upper left corner of the scan, a heat map below it and one at the right."""
    rows, columns = scan.pixels.shape[1:]
    lungs = np.zeros((rows, columns), dtype=bool)
    lungs[5:30, 10:20] = True
    low, right = np.zeros((2, rows, columns), dtype=np.float32)
    low[50:60, 10:15], right[20:30, columns - 10 : columns - 5] = 1, 0.5
    return replace(
        a_diagnosis(),
        scan=scan,
        lungs=lungs,
        explanations=(
            Explanation("grad-cam", "COVID", low),
            Explanation("anomaly", "anything unlike normal lungs", right),
        ),
    )


def common_of(path: Path) -> Common:
    """What the objects of a file or a series are made of."""
    scan = read_scan(path)
    diagnosis = ct_diagnosis(scan) if scan.modality == "CT" else xray_diagnosis(scan)
    return Common(diagnosis, read_sources(scan))


def objects(common: Common) -> Iterator[tuple[str, bytes]]:
    """All image objects as files."""
    for make in (segmentations, parametric_maps, secondary_captures):
        for name, dataset in make(common):
            yield name, file_bytes(dataset)


def read_back(content: bytes) -> Dataset:
    """A file, by pydicom."""
    return dcmread(BytesIO(content))
