"""Drawn CT series for the tests of `io`: HU, real DICOM files of them, any tag changeable."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import gdcm
import imagecodecs
import numpy as np
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

STEP_MM, PIXEL_MM = 4.0, 5.0
CORNER_MM = (-157.5, -190.0, -300.0)
"""ImagePositionPatient of the lowest slice."""


def drawn_hu(slices: int = 16, side: int = 64, seed: int = 0, step_mm: float = STEP_MM) -> np.ndarray:
    """A chest in HU: int16 (slices, rows, columns), feet to head, rows to the back, columns to the left.

    Every turn of it differs: the heart is at the left, the spine at the back, the lungs get smaller to the head.
    """
    rng = np.random.default_rng(seed)
    wide, deep = rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.7)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    vessels = [
        (*rng.uniform(-0.6, 0.6, 2), *rng.uniform(-0.004, 0.004, 2), rng.uniform(0.03, 0.07))
        for _ in range(25)
    ]
    volume = np.full((slices, side, side), -1000.0)
    for index, pixels in enumerate(volume):
        height = index * step_mm
        pixels[(x / wide) ** 2 + (y / deep) ** 2 < 1] = 40
        lungs = np.zeros_like(pixels, dtype=bool)
        for centre in (-0.45, 0.45):
            size = 1 - height / 400
            lungs |= ((x - centre * wide) / (0.34 * wide * size)) ** 2 + (y / (0.75 * deep * size)) ** 2 < 1
        pixels[lungs] = -850
        for column, row, column_step, row_step, radius in vessels:
            near = (x - column - column_step * height) ** 2 + (y - row - row_step * height) ** 2 < radius**2
            pixels[near & lungs] = 30
        pixels[((x - 0.12) / 0.28) ** 2 + ((y + 0.1) / 0.25) ** 2 < (1 - height / 200)] = 50
        pixels[(x / 0.1) ** 2 + ((y - 0.8 * deep) / 0.1) ** 2 < 1] = 400
    return np.rint(volume + rng.normal(0, 12, volume.shape)).clip(-1024, 3071).astype(np.int16)


def slice_datasets(hu: np.ndarray, signed: bool = False, bits: int = 12, **elements: Any) -> list[Dataset]:
    """One CT image a slice, from feet to head; `elements` replace or add, None removes."""
    study, series, frame = (
        generate_uid(entropy_srcs=["drawn ct", part]) for part in ("study", "series", "frame")
    )
    found = []
    for index, pixels in enumerate(hu):
        stored = pixels.astype("<i2") if signed else (pixels.astype(np.int32) + 1024).astype("<u2")
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["drawn ct", str(index)])
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
            study,
            series,
            frame,
        )
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
        dataset.Modality, dataset.BodyPartExamined = "CT", "CHEST"
        dataset.SeriesNumber, dataset.AcquisitionNumber = 2, 1
        dataset.InstanceNumber = len(hu) - index  # scanned from head to feet
        dataset.SliceThickness, dataset.PixelSpacing = STEP_MM, [PIXEL_MM, PIXEL_MM]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [*CORNER_MM[:2], CORNER_MM[2] + index * STEP_MM]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0 if signed else -1024
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
        dataset.PixelRepresentation = int(signed)
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW"
        change(dataset, **elements)
        found.append(dataset)
    return found


def change(dataset: Dataset, **elements: Any) -> Dataset:
    """Replace or add elements; None removes."""
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]
    return dataset


def file_bytes(dataset: Dataset) -> bytes:
    """A dataset as a file."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_slices(folder: Path, datasets: Sequence[Dataset], seed: int = 1, prefix: str = "IM") -> list[Path]:
    """Files whose names tell nothing of their order; the paths, in the order of the datasets."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed).permutation(len(datasets))
    paths = [folder / f"{prefix}{number:04}" for number in numbers]
    for path, dataset in zip(paths, datasets, strict=True):
        path.write_bytes(file_bytes(dataset))
    return paths


def write_series(folder: Path, hu: np.ndarray | None = None, **elements: Any) -> list[Path]:
    """A drawn series as files; the paths from feet to head."""
    return write_slices(folder, slice_datasets(drawn_hu() if hu is None else hu, **elements))


def stored_pixels(dataset: Dataset) -> np.ndarray:
    """The stored values of an uncompressed slice."""
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    return np.frombuffer(dataset.PixelData, kind).reshape(-1, dataset.Rows, dataset.Columns)


# How the codes that GDCM can't write are made; by imagecodecs, which for JPEG is libjpeg-turbo.
ENCODERS = {
    "1.2.840.10008.1.2.4.51": lambda frame: imagecodecs.jpeg8_encode(frame, level=98, bitspersample=12),
    "1.2.840.10008.1.2.4.57": lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, bitspersample=12, predictor=6
    ),
    "1.2.840.10008.1.2.4.70": lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, bitspersample=12, predictor=1
    ),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.81": lambda frame: imagecodecs.jpegls_encode(frame, level=3),
    "1.2.840.10008.1.2.4.90": lambda frame: imagecodecs.jpeg2k_encode(
        frame, codecformat="J2K", reversible=True, level=0
    ),
    "1.2.840.10008.1.2.4.91": lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="J2K", level=80),
    "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_encode,
}


def encoded(dataset: Dataset, syntax: str) -> Dataset:
    """The same slice (or frames) compressed by imagecodecs, or by pydicom's RLE."""
    pixels = stored_pixels(dataset)
    if syntax == "1.2.840.10008.1.2.5":
        dataset.compress(syntax, generate_instance_uid=False)
        return dataset
    dataset.PixelData = encapsulate([ENCODERS[syntax](np.ascontiguousarray(frame)) for frame in pixels])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def by_gdcm(path: Path, syntax: str) -> None:
    """Transcode a file by GDCM, by its name for the syntax."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    changing = gdcm.ImageChangeTransferSyntax()
    changing.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    changing.SetInput(reader.GetImage())
    assert changing.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(changing.GetOutput())
    assert writer.Write()


def rewritten(path: Path, syntax: str) -> None:
    """The same file, uncompressed, in another encoding of its elements."""
    read = dcmread(path)
    dataset = change(Dataset(), **{element.keyword: element.value for element in read if element.keyword})
    dataset.file_meta = read.file_meta
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(
        path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
    )


def item(**elements: Any) -> Dataset:
    return change(Dataset(), **elements)


def enhanced(hu: np.ndarray, order: Sequence[int], shared_rescale: bool = True, **elements: Any) -> Dataset:
    """An Enhanced CT: all slices as frames of one file, in a given order."""
    first = slice_datasets(hu[:1])[0]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del first[keyword]
    del first.RescaleSlope, first.RescaleIntercept
    first.SOPClassUID = EnhancedCTImageStorage
    first.NumberOfFrames = len(order)
    rescale = {
        "PixelValueTransformationSequence": [item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")]
    }
    first.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[PIXEL_MM, PIXEL_MM], SliceThickness=STEP_MM)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            **(rescale if shared_rescale else {}),
        )
    ]
    first.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[*CORNER_MM[:2], CORNER_MM[2] + place * STEP_MM])
            ],
            CTImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
            **({} if shared_rescale else rescale),
        )
        for place in order
    ]
    first.PixelData = (hu[list(order)].astype(np.int32) + 1024).astype("<u2").tobytes()
    return change(first, **elements)


def from_feet_to_head(folder: Path) -> list[Path]:
    """A real series' files by their slices' heights."""
    heights = {path: dcmread(path, specific_tags=["ImagePositionPatient"]) for path in folder.iterdir()}
    return sorted(heights, key=lambda path: float(heights[path].ImagePositionPatient[2]))


def by_simpleitk(folder: Path) -> sitk.Image:
    """The series of a folder as SimpleITK's own reader sees it."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()
