"""Hand-made radiographs for the tests of `io`: arrays, encoded files, DICOM files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)


def ramp(rows: int = 80, columns: int = 100, top: int = 255) -> np.ndarray:
    """A slanted ramp from 0 to `top`, brighter to the right and to the bottom: every turn of it differs."""
    down, right = np.mgrid[:rows, :columns]
    slant = (down + 3 * right) / (rows - 1 + 3 * (columns - 1))
    return np.rint(slant * top).astype(np.uint8 if top < 256 else np.uint16)


def chest(side: int = 128, seed: int = 0) -> np.ndarray:
    """Two dark lungs in a bright, slightly noisy body: uint8 (side, side)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.where((x / 0.9) ** 2 + (y / 1.1) ** 2 < 1, 170.0, 10.0)
    for centre in (-0.42, 0.42):
        body[((x - centre) / 0.3) ** 2 + (y / 0.65) ** 2 < 1] = 60
    return np.clip(body + rng.normal(0, 6, body.shape), 0, 255).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    """An image file's bytes."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def dicom_dataset(pixels: np.ndarray, bits: int | None = None, **elements: Any) -> Dataset:
    """A computed radiograph of a chest; `elements` replace or add, None removes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["radiograph"])
    dataset.PatientName = "Secret^Name"
    dataset.PatientID = "SECRET-ID"
    dataset.Modality = "CR"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(dataset: Dataset) -> bytes:
    """A dataset as a file."""
    stream = BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def dicom_file(path: Path, pixels: np.ndarray, bits: int | None = None, **elements: Any) -> Path:
    """An uncompressed radiograph on disk."""
    path.write_bytes(dicom_bytes(dicom_dataset(pixels, bits, **elements)))
    return path


def compressed(path: Path, syntax: str) -> Path:
    """The same radiograph in another transfer syntax, by GDCM's name for it."""
    target = path.with_name(f"{syntax}_{path.name}")
    if syntax == "DeflatedExplicitVRLittleEndian":
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(target)
        return target
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target
