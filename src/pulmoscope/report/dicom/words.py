"""One of our objects in plain words: a Structured Report, Segmentation, Parametric Map, Secondary Capture or PDF.

Nothing of a patient is told; pydicom alone reads them, so that no extra is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.io.dicom_rules import is_own

_SR = ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34")
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_MAP = "1.2.840.10008.5.1.4.1.1.30"
_CAPTURES = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4")
_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_MADE = (_SEGMENTATION, _MAP, *_CAPTURES, _PDF)
"""What is made with a report."""
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_CONTENT = "ContentSequence"
_INDENT = "  "
_OF_CONTEXT = ("HAS OBS CONTEXT", "HAS ACQ CONTEXT")


def words(dataset: Dataset, name: str) -> list[str]:
    """What an object says, in lines.

    Args:
        dataset: the object.
        name: the file, for messages.

    Raises:
        UnsuitableError: Pulmoscope did not write it, or writes no such objects.
    """
    kind = str(dataset.get("SOPClassUID", ""))
    if not is_own(dataset):
        raise UnsuitableError(name, "not-own", "Pulmoscope did not write it, by Manufacturer")
    tellers = {
        **dict.fromkeys(_SR, _report),
        _SEGMENTATION: _segmentation,
        _MAP: _map,
        **dict.fromkeys(_CAPTURES, _capture),
        _PDF: _pdf,
    }
    if kind not in tellers:
        raise UnsuitableError(
            name, "not-own", "it is no kind of object that Pulmoscope writes, by SOPClassUID"
        )
    return [*_head(dataset, UID(kind).name), *tellers[kind](dataset)]


def _head(dataset: Dataset, kind: str) -> list[str]:
    """What it is, what made it, and what it is about."""
    references = _references(dataset)
    about = f"{len(references)} image{'s' * (len(references) != 1)}" if references else "no image by name"
    research = str(dataset.get("ContentQualification", "")) == "RESEARCH"
    return [
        f"{kind.removesuffix(' Storage')}, by Pulmoscope {dataset.get('SoftwareVersions', '')}"
        f"{', for research' if research else ''}",
        f"About           {about} of its study",
    ]


def _references(dataset: Any, evidence: bool = False) -> set[str]:
    """The SOP Instance UIDs of the images that it is about: neither documents before it nor objects made with it.

    Evidence names both images and the objects made with a report; a capture among it is an image where the report's
    content names it, too.
    """
    found: set[str] = set()
    for element in dataset:
        if element.VR == "SQ" and element.keyword != "PredecessorDocumentsSequence":
            for item in element.value:
                found |= _references(item, evidence or element.keyword == _EVIDENCE)
        elif element.keyword == "ReferencedSOPInstanceUID" and not (
            (evidence and str(dataset.ReferencedSOPClassUID) in _MADE) or "ReferencedSegmentNumber" in dataset
        ):
            found.add(str(element.value))
    return found


def _report(dataset: Dataset) -> Iterator[str]:
    """Each measurement group with all that it says."""
    before = dataset.get("PredecessorDocumentsSequence")
    if before:
        yield "Takes the place of an earlier report of the study"
    for item in dataset.get(_CONTENT, ()):
        if _name(item) != "Imaging Measurements":
            continue
        for group in item.get(_CONTENT, ()):
            yield from _group(group)


def _group(group: Dataset) -> Iterator[str]:
    items = list(group.get(_CONTENT, ()))
    titles = [str(item.TextValue) for item in items if _name(item) == "Tracking Identifier"]
    yield titles[0] if titles else "Measurement group"
    for item in items:
        statement = _statement(item)
        if statement and str(item.get("RelationshipType", "")) not in _OF_CONTEXT:
            yield f"{_INDENT}{statement}"


def _statement(item: Dataset) -> str:
    """One content item as ``name: value``; empty for what holds no value."""
    kind = str(item.get("ValueType", ""))
    more = [_meaning(one, "ConceptCodeSequence") for one in item.get(_CONTENT, ()) if one.ValueType == "CODE"]
    name = f"{_name(item)} ({', '.join(more)})" if more and kind == "NUM" else _name(item)
    if kind == "NUM":
        return f"{name}: {_number(item)}"
    if kind == "CODE":
        return f"{name}: {', '.join([_meaning(item, 'ConceptCodeSequence'), *more])}"
    if kind == "TEXT":
        return f"{name}: {item.TextValue}"
    if kind == "SCOORD":
        return f"{name}: outlined on the image"
    segment = "ReferencedSegmentNumber"
    segments = [one[segment].value for one in item.get("ReferencedSOPSequence", ()) if segment in one]
    return f"{name}: {segments[0]}" if segments else ""


def _number(item: Dataset) -> str:
    """A value with its unit."""
    values = item.MeasuredValueSequence
    unit = str(values[0].MeasurementUnitsCodeSequence[0].CodeValue)
    shown = "" if unit in ("1", "{score}") else f" {unit}"
    return f"{float(values[0].NumericValue):g}{shown}"


def _segmentation(dataset: Dataset) -> Iterator[str]:
    """Each segment, and how many frames it has."""
    frames = Counter(
        int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for frame in dataset.get("PerFrameFunctionalGroupsSequence", ())
        if frame.get("SegmentIdentificationSequence")
    )
    yield f"Segments        {dataset.SegmentationType}, {dataset.Rows} x {dataset.Columns} pixels"
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        count = frames[number]
        made = str(segment.get("SegmentAlgorithmName", ""))
        yield (
            f"{_INDENT}{number} {segment.SegmentLabel}: {count} frame{'s' * (count != 1)}"
            f"{f', by {made}' if made else ''}"
        )


def _map(dataset: Dataset) -> Iterator[str]:
    """Its quantity, and between what its values lie."""
    yield f"Map             {dataset.NumberOfFrames} frames of {dataset.Rows} x {dataset.Columns} pixels"
    for mapping in _mappings(dataset):
        low, high = mapping.get("DoubleFloatRealWorldValueFirstValueMapped"), None
        slope = float(mapping.get("RealWorldValueSlope", 1))
        intercept = float(mapping.get("RealWorldValueIntercept", 0))
        first = float(mapping.get("RealWorldValueFirstValueMapped", low or 0))
        last = float(mapping.get("RealWorldValueLastValueMapped", high or 0))
        unit = _meaning(mapping, "MeasurementUnitsCodeSequence")
        label = str(mapping.get("LUTLabel", "")) or "value"
        yield f"{_INDENT}{label}: {first * slope + intercept:g} to {last * slope + intercept:g} ({unit})"


def _mappings(dataset: Dataset) -> Sequence[Dataset]:
    """How stored values become real ones: once for all frames, or of the first of them."""
    holders = [
        *dataset.get("SharedFunctionalGroupsSequence", ()),
        *dataset.get("PerFrameFunctionalGroupsSequence", ()),
    ]
    for holder in holders:
        if mappings := holder.get("RealWorldValueMappingSequence"):
            return list(mappings)
    return []


def _capture(dataset: Dataset) -> Iterator[str]:
    yield f"Picture         {dataset.Rows} x {dataset.Columns} pixels, {dataset.get('SeriesDescription', '')}"


def _pdf(dataset: Dataset) -> Iterator[str]:
    size = len(dataset.get("EncapsulatedDocument", b""))
    yield f"PDF             {size / 1000:.0f} kB, {dataset.get('DocumentTitle', '')}"


def _name(item: Dataset) -> str:
    return _meaning(item, "ConceptNameCodeSequence")


def _meaning(holder: Dataset, keyword: str) -> str:
    """What the first code of a sequence means."""
    sequence = holder.get(keyword)
    return str(sequence[0].CodeMeaning) if sequence else ""
