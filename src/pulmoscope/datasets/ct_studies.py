"""A CT study of a table: read, told apart by its content, prepared for a slice network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import SimpleITK

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.types import Modality, Scan, Units
from pulmoscope.preprocess.ct import Bytes, CtPreprocess
from pulmoscope.preprocess.ct_lungs import lung_mask


def read_study(path: Path) -> Scan:
    """Read a study in HU, slices from the feet to the head: a folder of DICOM slices, or a volume's file.

    Raises:
        UnreadableError: it is neither, or damaged.
    """
    try:
        if path.is_dir():
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
            image = reader.Execute()
        else:
            image = SimpleITK.ReadImage(str(path))
        image = SimpleITK.DICOMOrient(image, "LPS")
    except RuntimeError as error:
        raise UnreadableError(path, "a study is a folder of DICOM slices or a volume's file") from error
    columns, rows, slices = image.GetSpacing()
    pixels = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    return Scan(path.name, Modality.CT, pixels, (), (slices, rows, columns), Units.HU)


def prepared_slices(scan: Scan, preprocess: CtPreprocess) -> Bytes:
    """All steps up to uint8 (slices, size, size), the lungs looked for where the preprocessing wants them."""
    lungs = None
    if preprocess.region == "lungs" and scan.units is Units.HU and scan.spacing_mm is not None:
        lungs = lung_mask(scan.pixels, scan.spacing_mm)
    return preprocess.slices(scan.pixels, scan.units, lungs)


def study_checksum(path: Path) -> str:
    """SHA-256 of a study's content: of its file, or of all files of its folder, whatever the folder is called.

    Raises:
        UnreadableError: there is nothing.
    """
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise UnreadableError(path, "a study is a folder of DICOM slices or a volume's file")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\t{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
