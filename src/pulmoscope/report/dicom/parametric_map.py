"""DICOM Parametric Maps of a CT's heat maps, on the slices that have one and no others (PS3.3 A.75)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless

from pulmoscope.core.types import Explanation
from pulmoscope.report.dicom.common import Common, finished
from pulmoscope.report.dicom.placing import Planes
from pulmoscope.report.dicom.quantities import quantity

LEVELS = 2**16 - 1
"""The stored value of the greatest heat; 8 bits are no valid Parametric Map, floating point can't be compressed."""

_Group = tuple[str, str, int]


def parametric_maps(common: Common) -> Iterator[tuple[str, Dataset]]:
    """The heat maps of a CT, an object for each kind, class and stage of the network, with its name; none of an X-ray.

    Raises:
        NoSourceError: the headers do not say where the slices lie.
    """
    groups: dict[_Group, list[Explanation]] = {}
    for one in sorted(common.diagnosis.explanations, key=lambda one: one.index):
        groups.setdefault((one.kind, one.target, one.stage), []).append(one)
    geometry = common.diagnosis.scan.geometry
    if geometry is None or not groups:
        return
    planes = Planes(common.sources, geometry)
    for number, group in enumerate(groups.values(), 1):
        yield f"heat-map-{number}", finished(_map(common, planes, number, group), common)


def _map(common: Common, planes: Planes, number: int, group: Sequence[Explanation]) -> ParametricMap:
    """One object; ``number``: which of its series."""
    first = group[0]
    levels = [np.rint(one.heat * np.float32(LEVELS)).astype(np.uint16) for one in group]
    mapping = RealWorldValueMapping(
        lut_label="HEAT",
        lut_explanation=f"What spoke for {first.target}"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(0, LEVELS),
        slope=1 / LEVELS,
        intercept=0.0,
        quantity_definition=quantity(first.kind),
    )
    made = ParametricMap(
        pixel_array=planes.stored(np.stack(levels)),
        series_instance_uid=common.uid("parametric map series"),
        series_number=common.series_number(3),
        sop_instance_uid=common.uid(f"parametric map {number}"),
        instance_number=number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=LEVELS / 2, window_width=LEVELS)],
        transfer_syntax_uid=JPEGLSLossless,
        content_label="HEATMAP",
        content_description=f"Heat map: {first.target}. Research use only"[:64],
        series_description="Pulmoscope heat maps, research use only",
        content_qualification="RESEARCH",
        **common.equipment,
        **planes.of([one.index for one in group]),
    )
    made.BodyPartExamined = common.sources.first.BodyPartExamined  # without it the side is asked for
    return made
