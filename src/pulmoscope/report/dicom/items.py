"""What the report's groups are put together from: figures, coded answers and sentences, each with its terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContentItem,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.coding import Code

from pulmoscope.report.dicom.codes import FAILURE, LUNG
from pulmoscope.report.dicom.common import Common

Item = Measurement | QualitativeEvaluation | ContentItem
Group = (
    MeasurementsAndQualitativeEvaluations
    | PlanarROIMeasurementsAndQualitativeEvaluations
    | VolumetricROIMeasurementsAndQualitativeEvaluations
)


def figure(name: Code, value: float | None, unit: Code, about: tuple[Code, Code] | None = None) -> Item:
    """A number with its unit; of what could not be measured, that it could not.

    A number without a value would be the standard's way to say so (PS3.3 C.18.1), and highdicom can't read one.

    Args:
        about: a term that says more of it, with what it says: the class that a probability is of.
    """
    if value is None:
        return coded(name, FAILURE)
    measurement = Measurement(name, value, unit)
    if about is not None:
        item: NumContentItem = measurement[0]
        modifier = CodeContentItem(*about, RelationshipTypeValues.HAS_CONCEPT_MOD)
        item.ContentSequence = [*item.get("ContentSequence", ()), modifier]
    return measurement


def coded(name: Code, value: Code) -> QualitativeEvaluation:
    """A coded answer."""
    return QualitativeEvaluation(name, value)


def sentence(name: Code, text: str) -> TextContentItem:
    """An answer in words."""
    return TextContentItem(name, text, RelationshipTypeValues.CONTAINS)


def group(
    common: Common,
    title: str,
    items: Iterable[Item],
    *,
    finding: Code | None = None,
    side: Code | None = None,
    part: Code | None = None,
    region: ReferencedSegment | ImageRegion | None = None,
    algorithm: AlgorithmIdentification | None = None,
) -> Group:
    """A measurement group about the whole study (TID 1501), or about one part of the lungs (TID 1411, TID 1410).

    Args:
        title: its tracking identifier; the tracking UID follows from it.
        finding: what was found.
        side, part: which lung, and which part of it.
        region: where it lies: a segment, or an outline on a radiograph.
        algorithm: what measured it.
    """
    listed = list(items)
    statements: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(common.tracking_uid(title), title),
        "finding_type": finding,
        "finding_sites": None if side is None else [FindingSite(LUNG, side, part)],
        "algorithm_id": algorithm,
        "measurements": [item for item in listed if isinstance(item, Measurement)],
        "qualitative_evaluations": [item for item in listed if isinstance(item, QualitativeEvaluation)],
    }
    made: Group
    if isinstance(region, ReferencedSegment):
        made = VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=region, **statements)
    elif region is not None:
        made = PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **statements)
    else:
        made = MeasurementsAndQualitativeEvaluations(**statements)
    content: Any = made[0].ContentSequence
    content.extend(item for item in listed if isinstance(item, TextContentItem))
    return made
