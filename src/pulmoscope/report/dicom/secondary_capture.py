"""Secondary Captures: what was seen, burned into pictures that every viewer shows (PS3.3 A.8.1, C.8.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from pulmoscope.core.types import Bytes, Modality
from pulmoscope.io.dicom_rules import upright
from pulmoscope.report.dicom.common import Common, finished

_LEFT_OUT = (
    *("PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "BodyPartExamined"),
    *(
        "BurnedInAnnotation",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ),
)
"""Of the source, by highdicom. BurnedInAnnotation says whether pixels name the patient (PS3.3 C.7.6.1): ours do no more
than the source's do."""


@dataclass(frozen=True)
class Picture:
    """A picture with the overlay and the notice burned in.

    Attributes:
        pixels: uint8 (rows, columns, 3), red, green, blue; upright, as the scan is.
        title: what it shows, at most 64 characters; names nothing of the patient.
        index: the slice of the scan that it shows.
    """

    pixels: Bytes
    title: str
    index: int = 0


def captures(common: Common, pictures: Iterable[Picture]) -> Iterator[tuple[str, Dataset]]:
    """The pictures as objects, each with its name."""
    for number, picture in enumerate(pictures, 1):
        yield f"overlay-{number}", finished(_capture(common, number, picture), common)


def _capture(common: Common, number: int, picture: Picture) -> SCImage:
    """One object; ``number``: which of its series."""
    several, ct = common.sources.frames, common.diagnosis.scan.modality is Modality.CT
    source = common.sources.images[0 if several else picture.index]
    capture = SCImage.from_ref_dataset(
        source,
        pixel_array=picture.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P") if ct else upright(source),  # as all scans are turned
        series_instance_uid=common.uid("secondary capture series"),
        series_number=common.series_number(4),
        sop_instance_uid=common.uid(f"secondary capture {number}"),
        instance_number=number,
        series_description="Pulmoscope overlays, research use only",
        content_qualification="RESEARCH",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **common.equipment,
    )
    for keyword in _LEFT_OUT:
        if keyword in source:
            capture[keyword] = source[keyword]
    capture.ConversionType = "WSD"
    capture.ImageComments = f"{picture.title}. Made by an algorithm. Research use only"
    capture.DerivationDescription = "What an algorithm found, and a notice, burned in"
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = common.moment
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if several:
        reference.ReferencedFrameNumber = several[picture.index]
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    capture.SourceImageSequence = [reference]
    return capture
