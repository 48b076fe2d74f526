"""The page on paper as a DICOM object: Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from pulmoscope.report.dicom.clean import NEEDED
from pulmoscope.report.dicom.common import Common, finished

DESCRIPTION = "Pulmoscope: report on paper, research use only"
"""Of the series, and the title of the document."""
_OF_THE_PATIENT = ("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription")


def encapsulated_pdf(common: Common, paper: bytes) -> Dataset:
    """The page as an object in the study of its images, which it refers to.

    Args:
        paper: the PDF.
    """
    source, made = common.sources.first, Dataset()
    for keyword in (*NEEDED, *_OF_THE_PATIENT, "StudyInstanceUID"):
        if keyword in source:
            made[keyword] = source[keyword]
    made.SOPClassUID, made.SOPInstanceUID = EncapsulatedPDFStorage, common.uid("pdf")
    made.Modality, made.SeriesDescription = "DOC", DESCRIPTION
    made.SeriesInstanceUID, made.SeriesNumber = common.uid("pdf series"), common.series_number(5)
    made.Manufacturer = common.equipment["manufacturer"]
    made.ManufacturerModelName = common.equipment["manufacturer_model_name"]
    made.SoftwareVersions = common.equipment["software_versions"]
    made.DeviceSerialNumber = common.equipment["device_serial_number"]
    made.ConversionType, made.InstanceNumber, made.VerificationFlag = "WSD", 1, "UNVERIFIED"
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"  # its pictures show what is burnt into the images
    made.DocumentTitle = DESCRIPTION
    made.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    made.SourceInstanceSequence = [_reference(image) for image in common.sources.images]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = paper + b"\0" * (len(paper) % 2)
    made.EncapsulatedDocumentLength = len(paper)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return finished(made, common)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference
