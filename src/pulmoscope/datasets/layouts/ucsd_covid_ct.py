"""The layout of COVID-CT of UCSD: ``Images-processed/CT_COVID``, ``CT_NonCOVID``, and the listings in ``Data-split``.

Zhao et al., arXiv 2003.13865; github.com/UCSD-AI4H/COVID-CT, README. The pictures are figures of papers. Listings are
``Data-split/COVID/trainCT_COVID.txt``, ``Data-split/NonCOVID/valCT_NonCOVID.txt`` and so on, one file name a line.
Patients are in ``COVID-CT-MetaInfo.xlsx`` (columns ``File name``, ``Patient ID``) and ``NonCOVID-CT-MetaInfo.csv``
(``image name``, ``patient id``); older versions of both have ``image`` and ``patient``.
"""

from __future__ import annotations

import re
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.folders import images_in, subfolders
from pulmoscope.datasets.layouts.sheets import read_lines, read_rows, stem_of
from pulmoscope.datasets.manifest import patient_warnings
from pulmoscope.datasets.table import Sample, SampleTable

PICTURES = ("", "Images-processed", "Images")
SPLITS = ("train", "val", "test")
_CLASSES = {"COVID": "COVID", "NonCOVID": "non-COVID"}
_FILE_COLUMNS = ("file name", "image name", "image")
_PATIENT_COLUMNS = ("patient id", "patient")


def recognise(path: Path) -> bool:
    """``CT_COVID`` and ``CT_NonCOVID``, unpacked or as zip files."""
    return len(_folders(path)) == len(_CLASSES) or bool(_packed(path))


def read(path: Path) -> SampleTable:
    """Read both classes with the published splits and patients; patients of the two classes are never the same.

    Raises:
        DatasetError: the folders are not there or still packed, or a listing or a table can't be read.
    """
    folders = _folders(path)
    if len(folders) < len(_CLASSES):
        if packed := _packed(path):
            raise DatasetError(
                f"{path}: the pictures must be unpacked where they lie (found: {', '.join(packed)})"
            )
        raise DatasetError(
            f"{path}: must hold Images-processed/CT_COVID and CT_NonCOVID (found: neither, or one)"
        )
    samples: list[Sample] = []
    warnings: list[str] = []
    for kind, folder in folders.items():
        split_of = _listed(path, kind)
        patient_of = _patients(path, kind)
        pictures = images_in(folder)
        samples += [
            Sample(
                file=picture.relative_to(path).as_posix(),
                label=_CLASSES[kind],
                split=split_of.get(picture.name, ""),
                patient=f"{_CLASSES[kind]} {patient}"
                if (patient := patient_of.get(stem_of(picture.name)))
                else "",
                source="UCSD COVID-CT",
            )
            for picture in pictures
        ]
        if absent := len(split_of.keys() - {picture.name for picture in pictures}):
            warnings.append(f"CT_{kind}: {absent} of {len(split_of)} listed pictures are not there")
    unlisted = sum(not sample.split for sample in samples)
    if 0 < unlisted < len(samples):
        warnings.append(f"no split: {unlisted} of {len(samples)} images are in no listing and are left aside")
    return SampleTable(path, "ucsd-covid-ct", tuple(samples), (*patient_warnings(samples), *warnings))


def _folders(path: Path) -> dict[str, Path]:
    """Class, as the data set spells it → its folder of pictures; the same place for both."""
    for parent in PICTURES:
        named = {folder.name.lower(): folder for folder in subfolders(path / parent)}
        kinds = {kind: named[f"ct_{kind.lower()}"] for kind in _CLASSES if f"ct_{kind.lower()}" in named}
        if kinds:
            return kinds
    return {}


def _packed(path: Path) -> list[str]:
    return [
        (Path(folder) / f"CT_{kind}.zip").as_posix()
        for folder in PICTURES
        for kind in _CLASSES
        if (path / folder / f"CT_{kind}.zip").is_file()
    ]


def _listed(path: Path, kind: str) -> dict[str, str]:
    """File name → split, from the listings that are there."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        file = path / "Data-split" / kind / f"{split}CT_{kind}.txt"
        if not file.is_file():
            continue
        for name in filter(None, map(str.strip, read_lines(file))):
            if split_of.setdefault(name, split) != split:
                raise DatasetError(
                    f"{file}: a picture is in one split (found: {name} also in {split_of[name]})"
                )
    return split_of


def _patients(path: Path, kind: str) -> dict[str, str]:
    """A picture's stem → patient; empty where the table is not there."""
    file = next(
        (sheet for suffix in (".xlsx", ".csv") if (sheet := path / f"{kind}-CT-MetaInfo{suffix}").is_file()),
        None,
    )
    if file is None:
        return {}
    rows = read_rows(file, ())
    header = list(rows[0][1]) if rows else []
    picture = next((name for name in _FILE_COLUMNS if name in header), None)
    patient = next((name for name in _PATIENT_COLUMNS if name in header), None)
    if picture is None or patient is None:
        raise DatasetError(
            f"{file}: needs a column {' or '.join(_FILE_COLUMNS)} and a column {' or '.join(_PATIENT_COLUMNS)} "
            f"(found: {', '.join(header) or 'none'})"
        )
    return {stem_of(row[picture]): re.sub(r"\s+", " ", row[patient]) for _, row in rows if row[picture]}
