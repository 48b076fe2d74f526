"""What the report's groups are put together from: figures, coded answers and sentences, each with its terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContentItem,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code

from pulmoscope.report.dicom.codes import FAILURE, LUNG
from pulmoscope.report.dicom.common import Common

Item = Measurement | QualitativeEvaluation | ContentItem


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
    algorithm: AlgorithmIdentification | None = None,
) -> MeasurementsAndQualitativeEvaluations:
    """A measurement group (TID 1501) about the whole study, or about one part of the lungs.

    Args:
        title: its tracking identifier; the tracking UID follows from it.
        finding: what was found.
        side, part: which lung, and which part of it.
        algorithm: what measured it.
    """
    listed = list(items)
    made = MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(common.tracking_uid(title), title),
        finding_type=finding,
        finding_sites=None if side is None else [FindingSite(LUNG, side, part)],
        algorithm_id=algorithm,
        measurements=[item for item in listed if isinstance(item, Measurement)],
        qualitative_evaluations=[item for item in listed if isinstance(item, QualitativeEvaluation)],
    )
    content: Any = made[0].ContentSequence
    content.extend(item for item in listed if isinstance(item, TextContentItem))
    return made
