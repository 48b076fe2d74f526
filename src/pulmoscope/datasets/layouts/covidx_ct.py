"""The layout of COVIDx-CT, versions 1 to 3: listings of single slices, ``train_COVIDx_CT-2A.txt`` and so on.

Gunraj et al., Frontiers in Medicine 7 (2020) and 8 (2022); github.com/haydengunraj/COVIDNet-CT, docs/dataset.md, the
listings in splits/ and the names that dataset_construction/ gives to the slices. A line of a listing is ``filename
class xmin ymin xmax ymax``; classes are 0 Normal, 1 Pneumonia (ours: CAP), 2 COVID-19. The pictures lie in
``2A_images/``, ``3A_images/``, ``images/`` (version 1) or beside the listings. Version 1 has
``train_COVIDx-CT.txt``.

The boxes are not kept: the authors drew them round the body by threshold and contour, and the systems here find the
body's contour in every slice themselves.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.folders import subfolders
from pulmoscope.datasets.layouts.sheets import read_lines
from pulmoscope.datasets.manifest import patient_warnings, read_csv
from pulmoscope.datasets.table import Sample, SampleTable

METADATA = "metadata.csv"
METADATA_COLUMNS = ("patient id", "source")
CLASSES = ("Normal", "CAP", "COVID")
_LISTING = re.compile(r"(train|val|test)_COVIDx[-_]CT[-_]?v?(\w*)\.txt", re.IGNORECASE)
# CNCB: class_patient_scan_slice; COVID-CT-MD: prefix-patient-slice; all others: patient-slice.
_PATIENT = re.compile(r"((?:NCP|CP|Normal)_\d+)_\d+_\d+|(COVIDCTMD-[^-]+)-.+|(.+)-\d+")


def recognise(path: Path) -> bool:
    """A listing of one split."""
    return bool(_listings(path))


def read(path: Path) -> SampleTable:
    """Read one sample a slice; of several versions the last, and of that the one with confirmed diagnoses (A).

    The patient is the ``patient id`` of ``metadata.csv`` that the file's name begins with; where it lists none, the
    part of the name that says whose slice it is.

    Raises:
        DatasetError: there is no listing, a line is not as described, or none of the pictures is there.
    """
    listings = _listings(path)
    if not listings:
        raise DatasetError(f"{path}: must hold listings like train_COVIDx_CT-2A.txt (found: none)")
    # «2B» is «2A» with diagnoses that nobody confirmed
    version = max(listings, key=lambda name: (name.rstrip("AB"), not name.endswith("B")))
    where = _pictures(path)
    known = _metadata(path)
    ids = sorted(known)
    samples: list[Sample] = []
    missing = 0
    for split, listing in listings[version].items():
        for name, label in _lines(listing):
            if name not in where:
                missing += 1
                continue
            patient = _patient(name, ids)
            source = known.get(patient, "") or "COVIDx-CT"
            samples.append(Sample(where[name] + name, label, split, patient, source))
    if not samples:
        raise DatasetError(f"{path}: none of the {missing} pictures that the listings name is there")
    warnings = patient_warnings(samples)
    if len(listings) > 1:
        others = ", ".join(sorted(set(listings) - {version}))
        warnings.append(f"several versions of the listings: {version} is read (also there: {others})")
    if missing:
        warnings.append(f"{missing} of {missing + len(samples)} listed pictures are not there: left out")
    if not known:
        warnings.append(f"no sources: {METADATA} is not there")
    return SampleTable(path, "covidx-ct", tuple(samples), tuple(warnings))


def _listings(path: Path) -> dict[str, dict[str, Path]]:
    """Version (``2A``; version 1: ``1``) → split → listing, splits in the order of use."""
    listings: dict[str, dict[str, Path]] = defaultdict(dict)
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            if match := _LISTING.fullmatch(file.name):
                listings[match[2].upper() or "1"][match[1].lower()] = file
    return {
        version: {split: files[split] for split in ("train", "val", "test") if split in files}
        for version, files in listings.items()
    }


def _pictures(path: Path) -> dict[str, str]:
    """A picture's name → the folder that it lies in, as text before the name; one pass over each folder."""
    folders = [folder for folder in subfolders(path) if folder.name.lower().endswith("images")]
    where = {file.name: "" for file in path.glob("*.png")}
    for folder in folders:
        where.update({file.name: f"{folder.name}/" for file in folder.glob("*.png")})
    return where


def _lines(listing: Path) -> list[tuple[str, str]]:
    """(file name, class) of every line."""
    rows = []
    for number, line in enumerate(read_lines(listing), start=1):
        if not line.strip():
            continue
        # from the right: a name may hold blanks
        values = line.rsplit(maxsplit=5)
        if len(values) != 6 or values[1] not in ("0", "1", "2") or not all(map(_is_whole, values[2:])):
            raise DatasetError(
                f"{listing}, line {number}: must be filename, class (0, 1 or 2), xmin, ymin, xmax, ymax "
                f"(found: {line.strip()[:80]})"
            )
        rows.append((values[0], CLASSES[int(values[1])]))
    return rows


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _metadata(path: Path) -> dict[str, str]:
    """Patient id → source."""
    file = path / METADATA
    if not file.is_file():
        return {}
    return {row["patient id"]: row["source"] for _, row in read_csv(file, METADATA_COLUMNS)}


def _patient(name: str, ids: list[str]) -> str:
    """The longest id that the name begins with (``CP_1``, not ``CP_10``), else the part of the name; else empty."""
    stem = name.rsplit(".", 1)[0]
    parts = [match.start() for match in re.finditer(r"[-_]", stem)]
    for end in reversed(parts):
        position = bisect_right(ids, stem[:end]) - 1
        if position >= 0 and ids[position] == stem[:end]:
            return ids[position]
    match = _PATIENT.fullmatch(stem)
    return next(filter(None, match.groups())) if match else ""
