"""A simulated chest CT as files: a DICOM series that says it is a phantom, or NIfTI."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pulmoscope.core.synthetic import CT_DESCRIPTION
from pulmoscope.core.types import Bytes
from pulmoscope.phantoms.ct.acquisition import KERNELS, PADDING_HU, SCANNERS
from pulmoscope.phantoms.ct.draw import CtPhantom

_DESCRIPTION = f"{CT_DESCRIPTION}, no patient"
_INTERCEPT = -1024
_LOWEST_MM = -300.0  # the z of the first slice: as good as any


def dicom_series(phantom: CtPhantom, name: str) -> list[bytes]:
    """The slices as DICOM files, CT Image Storage, uncompressed, feet to head.

    UIDs come from the voxels: equal phantoms have equal ones. The image type is ORIGINAL (made from no other image),
    SECONDARY (of no examination); Synthetic Data (0008,001C) is YES.

    Args:
        name: the patient's id and part of the name, e.g. ``p0001``.
    """
    digest = hashlib.sha256(phantom.hu.tobytes()).hexdigest()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    files = []
    for index in range(len(phantom.hu)):
        uid = generate_uid(entropy_srcs=[digest, "image", str(index)])
        meta.MediaStorageSOPInstanceUID = uid
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = uid
        _study(dataset, phantom, name, digest)
        _image(dataset, phantom, index)
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        files.append(stream.getvalue())
    return files


def _study(dataset: FileDataset, phantom: CtPhantom, name: str, digest: str) -> None:
    """What all slices share: patient, study, series, equipment (PS3.3, A.3.3)."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.PatientName = f"PHANTOM^{name.upper()}"
    dataset.PatientID = f"PHANTOM-{name}"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientComments = "Drawn by a program; no patient"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])
    dataset.StudyDate = dataset.StudyTime = dataset.ReferringPhysicianName = ""
    dataset.StudyID = dataset.AccessionNumber = ""
    dataset.StudyDescription = _DESCRIPTION
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[digest, "series"])
    dataset.SeriesNumber = "1"
    dataset.SeriesDescription = _DESCRIPTION
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[digest, "frame"])
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "Pulmoscope phantom"
    dataset.ManufacturerModelName = str(phantom.nuisances["scanner"])
    dataset.ContentQualification = "RESEARCH"


def _image(dataset: FileDataset, phantom: CtPhantom, index: int) -> None:
    """One slice: its plane, its pixels, how it was made (PS3.3, C.7.6.2, C.7.6.3, C.8.2.1)."""
    step, row_mm, column_mm = phantom.spacing_mm
    _, rows, columns = phantom.hu.shape
    kernel = str(phantom.nuisances["kernel"])
    dataset.ImageType = ["ORIGINAL", "SECONDARY", "AXIAL"]
    dataset.ImageComments = "Drawn by a program; no patient"
    dataset.AcquisitionNumber = "1"
    dataset.InstanceNumber = str(index + 1)
    dataset.KVP = "120"
    dataset.Exposure = str(round(50 * float(phantom.nuisances["dose"])))
    dataset.ConvolutionKernel = kernel.upper() if kernel in KERNELS else ""
    dataset.ReconstructionDiameter = f"{columns * column_mm:.3f}"
    dataset.SliceThickness = f"{float(phantom.nuisances['thickness_mm']):.3f}"
    x, y, z = origin_mm(phantom)
    dataset.ImagePositionPatient = [f"{x:.5f}", f"{y:.5f}", f"{z + index * step:.2f}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = f"{z + index * step:.2f}"
    dataset.PixelSpacing = [f"{row_mm:.4f}", f"{column_mm:.4f}"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = 16
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(_INTERCEPT), "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = ["-600", "50"], ["1500", "350"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    stored = phantom.hu[index].astype(np.int32) - _INTERCEPT
    padded = SCANNERS[str(phantom.nuisances["scanner"])].padded
    dataset.PixelRepresentation = int(padded)
    dataset.BitsStored = 16 if padded else 12
    dataset.HighBit = dataset.BitsStored - 1
    if padded:
        dataset.PixelPaddingValue = PADDING_HU - _INTERCEPT
    dataset.PixelData = stored.astype("<i2" if padded else "<u2").tobytes()


def origin_mm(phantom: CtPhantom) -> tuple[float, float, float]:
    """Where the first voxel of the first slice lies: x, y, z on DICOM's axes."""
    _, row_mm, column_mm = phantom.spacing_mm
    _, rows, columns = phantom.hu.shape
    return -round((columns - 1) / 2 * column_mm, 5), -round((rows - 1) / 2 * row_mm, 5), _LOWEST_MM


def write_nifti(path: Path, voxels: npt.NDArray[np.int16] | Bytes, phantom: CtPhantom) -> None:
    """Write a volume with the phantom's geometry as NIfTI; not atomically.

    Raises:
        RuntimeError: it can't be written.
    """
    image = SimpleITK.GetImageFromArray(voxels)
    step, row_mm, column_mm = phantom.spacing_mm
    image.SetSpacing((column_mm, row_mm, step))
    image.SetOrigin(origin_mm(phantom))
    image.SetMetaData("ITK_FileNotes", _DESCRIPTION)
    SimpleITK.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
