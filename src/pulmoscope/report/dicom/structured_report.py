"""The Structured Report (PS3.16, TID 1500): of a CT a Comprehensive 3D SR, of an X-ray a Comprehensive SR."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import UID
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pulmoscope.core.results import MANUFACTURER
from pulmoscope.core.types import Modality
from pulmoscope.core.version import VERSION
from pulmoscope.report.dicom.codes import CT_PROCEDURE, SCHEME, SOURCE, XRAY_PROCEDURE
from pulmoscope.report.dicom.common import Common, finished
from pulmoscope.report.dicom.groups import groups
from pulmoscope.report.dicom.uids import uid

DESCRIPTION = "Pulmoscope: report, research use only"
"""Of the series."""


def structured_report(common: Common, others: Sequence[Dataset] = ()) -> Dataset:
    """The report.

    Args:
        others: the other objects of the diagnosis, which the report refers to.
    """
    diagnosis, sources = common.diagnosis, common.sources
    ct = diagnosis.scan.modality is Modality.CT
    content = MeasurementReport(
        observation_context=ObservationContext(_observer(common)),
        procedure_reported=CT_PROCEDURE if ct else XRAY_PROCEDURE,
        imaging_measurements=groups(common, _algorithm(common), _segments(common, others)),
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(_ENGLISH),
    )
    content[0].ContentSequence.insert(-1, _library(common))  # before the measurements
    document = (Comprehensive3DSR if ct else ComprehensiveSR)(
        evidence=[*sources.images, *others],
        content=content[0],
        series_instance_uid=common.uid("report series"),
        series_number=common.series_number(1),
        sop_instance_uid=common.report_uid,
        instance_number=1,
        is_complete=True,
        previous_versions=list(common.before) or None,
        series_description=DESCRIPTION,
        content_qualification="RESEARCH",
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="Pulmoscope", version=VERSION)],
        **common.equipment,
    )
    return finished(document, common)


_ACQUISITION, _CONTAINS = RelationshipTypeValues.HAS_ACQ_CONTEXT, RelationshipTypeValues.CONTAINS
_ENGLISH = Code("en-GB", "RFC5646", "English (United Kingdom)")


def _library(common: Common) -> ContainerContentItem:
    """The images used, and what they have in common (TID 1600), as far as any header says it."""
    first = common.sources.first
    shared: list[ContentItem] = [CodeContentItem(codes.DCM.Modality, _modality(common), _ACQUISITION)]
    if "FrameOfReferenceUID" in first:
        frame = UIDRefContentItem(codes.DCM.FrameOfReferenceUID, first.FrameOfReferenceUID, _ACQUISITION)
        shared.append(frame)
    images = [
        ImageContentItem(SOURCE, image.SOPClassUID, image.SOPInstanceUID, relationship_type=_CONTAINS)
        for image in common.sources.images
    ]
    listed = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
    listed.ContentSequence = ContentSequence([*shared, *images])
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=_CONTAINS)
    library.ContentSequence = ContentSequence([listed])
    return library


def _segments(common: Common, others: Sequence[Dataset]) -> dict[str, ReferencedSegment]:
    """References to the segments of the objects made, by their labels."""
    series = SourceSeriesForSegmentation(common.sources.first.SeriesInstanceUID)
    return {
        str(segment.SegmentLabel): ReferencedSegment(
            other.SOPClassUID, other.SOPInstanceUID, int(segment.SegmentNumber), source_series=series
        )
        for other in others
        for segment in other.get("SegmentSequence", ())
    }


def _modality(common: Common) -> Code:
    """What kind of images they are, as a term: an X-ray may come as a secondary capture, and its file say CR."""
    if common.diagnosis.scan.modality is Modality.CT:
        return codes.DCM.ComputedTomography
    return _RADIOGRAPHS.get(common.sources.first.get("Modality", ""), codes.DCM.ComputedRadiography)


_RADIOGRAPHS = {"DX": codes.DCM.DigitalRadiography, "RG": codes.DCM.RadiographicImaging}


def _observer(common: Common) -> ObserverContext:
    """The device that observed: this software with this model."""
    model = common.diagnosis.model
    attributes = DeviceObserverIdentifyingAttributes(
        UID(uid("device", VERSION, model["sha256"])),
        name=f"{MANUFACTURER} {VERSION}",
        manufacturer_name=MANUFACTURER,
        model_name=f"{model['name']} {model['version']}",
        serial_number=model["sha256"],
    )
    return ObserverContext(codes.DCM.Device, attributes)


def _algorithm(common: Common) -> AlgorithmIdentification:
    """The model, by name, version and checksum."""
    model = common.diagnosis.model
    parameters = [f"bundle sha256 {model['sha256']}", f"software Pulmoscope {VERSION}"]
    return AlgorithmIdentification(model["name"], model["version"], parameters, manufacturer=MANUFACTURER)
