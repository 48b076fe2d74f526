"""DICOM Segmentations: lungs and lesions of a CT, lungs and heat maps of a radiograph (PS3.3 A.51, C.8.20).

Masks are BINARY: viewers and validators know that longest. The heat map of a radiograph is FRACTIONAL, as a Parametric
Map needs a frame of reference, which a radiograph has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pulmoscope.core.severity import CONSOLIDATION, GLASS
from pulmoscope.core.types import Bytes, Explanation, Modality
from pulmoscope.report.dicom.algorithms import measurement, network
from pulmoscope.report.dicom.codes import BOTH, LEFT, LUNG, RIGHT
from pulmoscope.report.dicom.common import Common, finished
from pulmoscope.report.dicom.placing import Planes, on_radiograph
from pulmoscope.report.dicom.quantities import quantity
from pulmoscope.report.dicom.run_length import encoded, set_frames

GROUND_GLASS = Code("112120", "DCM", "Ground glass opacity")
LUNG_CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
_LEVELS = 255
"""The stored value of the greatest heat."""


@dataclass(frozen=True)
class _Kind:
    """What a segment shows.

    Attributes:
        label: for people.
        category, type: coded, of CID 7150 and 7151.
        side: of a lung; None for anything else.
        colour: red, green, blue, as on the report's page; None: the viewer's choice.
    """

    label: str
    category: Code
    type: Code
    side: Code | None = None
    colour: tuple[int, int, int] | None = None


_LUNGS = {
    1: _Kind("Right lung", _ANATOMY, LUNG, RIGHT, (127, 212, 255)),
    2: _Kind("Left lung", _ANATOMY, LUNG, LEFT, (64, 160, 230)),
}
_LESIONS = {
    GLASS: _Kind("Ground-glass opacity", _ABNORMAL, GROUND_GLASS, colour=(255, 176, 0)),
    CONSOLIDATION: _Kind("Consolidation", _ABNORMAL, LUNG_CONSOLIDATION, colour=(220, 38, 127)),
}


def segmentations(common: Common) -> Iterator[tuple[str, Dataset]]:
    """What is lung and what is lesion, and a radiograph's heat maps; each object where there is any, with its name.

    Of a CT two objects rather than one: a lesion lies within a lung, and readers that put all segments of an object
    into one map can't show overlapping ones.

    Raises:
        NoSourceError: the headers do not say where a CT's slices lie.
    """
    ct = common.diagnosis.scan.modality is Modality.CT
    for name, segmentation in _of_ct(common) if ct else _of_xray(common):
        yield name, finished(segmentation, common)


def _of_ct(common: Common) -> Iterator[tuple[str, Segmentation]]:
    masks, geometry = common.diagnosis.masks, common.diagnosis.scan.geometry
    if masks is None or geometry is None:
        return
    planes = Planes(common.sources, geometry)
    for number, mask, kinds in ((1, masks.lungs, _LUNGS), (2, masks.lesions, _LESIONS)):
        present = [value for value in kinds if any((plane == value).any() for plane in mask)]
        if not present:
            continue
        algorithm = measurement("CT lung mask" if kinds is _LUNGS else "CT density of lesions")
        segments = [
            _described(common, segment, kinds[value], algorithm) for segment, value in enumerate(present, 1)
        ]
        stored = planes.stored(mask)
        if present != list(range(1, len(present) + 1)):  # segments are numbered from 1, without a gap
            stored = np.isin(stored, present).astype(np.uint8)
        name = "lungs" if kinds is _LUNGS else "lesions"
        made = _segmentation(common, name, number, stored, segments, **planes.of(range(planes.count)))
        yield f"segmentation-{name}", made


def _of_xray(common: Common) -> Iterator[tuple[str, Segmentation]]:
    source = common.sources.first
    if common.diagnosis.lungs is not None:
        lungs = on_radiograph(common.diagnosis.lungs, source) > 0.5
        kind = _Kind("Lungs", _ANATOMY, LUNG, BOTH, (127, 212, 255))
        segments = [_described(common, 1, kind, network(common.diagnosis))]
        made = _segmentation(common, "lungs", 1, lungs[None], segments, source_images=[source])
        made.PatientOrientation = source.PatientOrientation
        yield "segmentation-lungs", made
    if common.diagnosis.explanations:
        made = _heat(common)
        made.PatientOrientation = source.PatientOrientation
        yield "heat-map", made


def _heat(common: Common) -> Segmentation:
    """The heat maps of a radiograph, a segment each: 0 to 255 stands for 0 to 1 of a map."""
    explanations, source = common.diagnosis.explanations, common.sources.first
    algorithm = network(common.diagnosis)
    segments = [
        _described(
            common, segment, _Kind(f"Heat map: {one.target}"[:64], _CONCEPT, quantity(one.kind)), algorithm
        )
        for segment, one in enumerate(explanations, 1)
    ]
    # highdicom sorts all values of a map, looking for odd ones, for longer than all else takes: it gets an empty one.
    empty = np.zeros((1, source.Rows, source.Columns, len(segments)), dtype=np.uint8)
    heat = _segmentation(
        common,
        "heat",
        2,
        empty,
        segments,
        segmentation_type="FRACTIONAL",
        max_fractional_value=1,
        omit_empty_frames=False,
        source_images=[source],
    )
    heat.MaximumFractionalValue = _LEVELS
    heat.SegmentsOverlap = "UNDEFINED"

    def frame(one: Explanation) -> bytes:
        return encoded(np.asarray(cv2.convertScaleAbs(on_radiograph(one.heat, source), alpha=_LEVELS)))

    with ThreadPoolExecutor() as threads:
        set_frames(heat, list(threads.map(frame, explanations)))
    return heat


def _segmentation(
    common: Common,
    name: str,
    number: int,
    pixels: Bytes | Any,
    segments: Sequence[SegmentDescription],
    *,
    segmentation_type: str = "BINARY",
    **more: Any,
) -> Segmentation:
    """One object; ``number``: which of its series."""
    return Segmentation(
        pixel_array=pixels,
        segmentation_type=segmentation_type,
        segment_descriptions=segments,
        series_instance_uid=common.uid("segmentation series"),
        series_number=common.series_number(2),
        sop_instance_uid=common.uid(f"segmentation {name}"),
        instance_number=number,
        content_label=name.upper(),
        content_description="Found by an algorithm. Research use only",
        series_description="Pulmoscope segmentation, research use only",
        content_qualification="RESEARCH",
        **common.equipment,
        **more,
    )


def _described(
    common: Common, number: int, kind: _Kind, algorithm: AlgorithmIdentificationSequence
) -> SegmentDescription:
    """One segment's item."""
    described = SegmentDescription(
        segment_number=number,
        segment_label=kind.label,
        segmented_property_category=kind.category,
        segmented_property_type=kind.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=common.tracking_uid(kind.label),
        tracking_id=kind.label,
        anatomic_regions=None if kind.type == LUNG else [LUNG],
        display_color=None if kind.colour is None else CIELabColor.from_rgb(*kind.colour),
    )
    if kind.side is not None:
        (coded,) = described.SegmentedPropertyTypeCodeSequence
        coded.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(kind.side)]
    return described
