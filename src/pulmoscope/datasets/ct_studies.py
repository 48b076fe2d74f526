"""A CT study of a table: read, told apart by its content, prepared for a slice network."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.types import Scan, Units
from pulmoscope.preprocess.ct import Bytes, CtPreprocess
from pulmoscope.preprocess.ct_lungs import LungMask, lung_mask


def lungs_of(scan: Scan) -> LungMask | None:
    """The lungs of a study in HU; None for slices that came as pictures."""
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return None
    return lung_mask(scan.pixels, scan.spacing_mm)


def prepared_slices(scan: Scan, preprocess: CtPreprocess) -> Bytes:
    """All steps up to uint8 (slices, size, size), the lungs looked for where the preprocessing wants them."""
    lungs = lungs_of(scan) if preprocess.region == "lungs" else None
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
