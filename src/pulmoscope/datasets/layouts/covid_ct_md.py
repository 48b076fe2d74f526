"""The layout of COVID-CT-MD: ``COVID-19 subjects/P001/*.dcm``, ``Cap subjects/cap001/*.dcm``, ``Normal subjects/…``.

Afshar et al., Scientific Data 8:121 (2021), doi 10.1038/s41597-021-00900-3; github.com/ShahinSHH/COVID-CT-MD, README,
«Data Structure and Sample» and «Labels». Beside the folders lie ``Index.csv`` (patient → row of the labels) and
``Slice-level-labels.npy`` (rows, slices), binary, or a newer version of it named ``…-updated-1.npy``. The files with
lobes' labels, with clinical data and with each radiologist's word are not read.

The README says to sort the slices by SliceLocation, not which way. The labels run from head to feet: upper lobes come
before lower lobes in every patient with labels of both. Ours count from the feet, so they are turned round here, which
needs the number of a study's slices: the DICOM files in its folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import BoolArray
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.layouts.folders import subfolders
from pulmoscope.datasets.manifest import read_csv
from pulmoscope.datasets.studies import slices_in
from pulmoscope.datasets.table import Sample, SampleTable

INDEX = "Index.csv"
INDEX_COLUMNS = ("label index", "folder/id")

_CLASSES = {"covid": "COVID", "covid19": "COVID", "cap": "CAP", "normal": "Normal"}
_SAMPLE_DATA = "Sample data"


def recognise(path: Path) -> bool:
    """A class folder with a patient's folder with DICOM slices."""
    return bool(_patients(path))


def read(path: Path) -> SampleTable:
    """Read one sample a study; there are no splits.

    Raises:
        DatasetError: there is no patient, or the labels do not fit the index or the slices.
    """
    patients = _patients(path)
    if not patients:
        raise DatasetError(
            f"{path}: must hold folders like COVID-19 subjects/P001 with DICOM slices (found: none)"
        )
    rows = _label_rows(path)
    samples = []
    for folder, label in patients:
        infected = "none" if label == "Normal" else ""
        if folder.name.lower() in rows:
            labels = _from_the_feet(rows[folder.name.lower()], folder)
            infected = infected_text(int(number) for number in np.flatnonzero(labels))
        samples.append(
            Sample(
                file=folder.relative_to(path).as_posix(),
                label=label,
                patient=folder.name,
                source="COVID-CT-MD",
                infected=infected,
            )
        )
    return SampleTable(path, "covid-ct-md", tuple(samples), tuple(_warnings(samples, len(rows))))


def _warnings(samples: list[Sample], labelled: int) -> list[str]:
    if not labelled:
        return ["no slice labels: Index.csv or Slice-level-labels.npy is not there"]
    unknown = sum(not sample.infected for sample in samples)
    there = sum(bool(sample.infected) and sample.label != "Normal" for sample in samples)
    warnings = [f"no slice labels: {unknown} of {len(samples)} studies"] if unknown else []
    if there < labelled:
        warnings.append(f"{INDEX}: {labelled - there} of {labelled} labelled patients are not there")
    return warnings


def _patients(path: Path) -> list[tuple[Path, str]]:
    """(folder, class) of every patient with slices; in a clone of the repository they lie in ``Sample data``."""
    return [
        (patient, label)
        for root in (path, path / _SAMPLE_DATA)
        for folder in subfolders(root)
        if (label := _class_of(folder.name))
        for patient in subfolders(folder)
        if slices_in(patient)
    ]


def _class_of(folder: str) -> str | None:
    """``COVID-19 subjects``, ``Cap_Cases``, ``normal`` → the class; None where the name is another."""
    return _CLASSES.get(re.sub(r"[\W_]|subjects?|cases?|patients?", "", folder.lower()))


def _label_rows(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Patient in lower case → the row of its labels, slices from the head; empty where there are no labels.

    The index of the repository skips 43. An array that is as long as the index goes without that row: then rows count.
    """
    arrays = sorted(
        path.glob("Slice-level-labels*.npy"), key=lambda file: ("updated" in file.name.lower(), file.name)
    )
    if not arrays or not (path / INDEX).is_file():
        return {}
    index: dict[str, int] = {}
    for line, row in read_csv(path / INDEX, INDEX_COLUMNS):
        if not row["label index"].isdecimal():
            raise DatasetError(
                f"{path / INDEX}, line {line}: label index must be a whole number (found: {row['label index']})"
            )
        index[row["folder/id"].lower()] = int(row["label index"])
    labels = _load(arrays[-1])
    if len(labels) == len(index):
        index = {
            patient: number for number, patient in enumerate(sorted(index, key=lambda name: index[name]))
        }
    if max(index.values()) >= len(labels):
        raise DatasetError(
            f"{arrays[-1]}: must have a row for every label index up to {max(index.values())} "
            f"(found: {len(labels)} rows)"
        )
    return {patient: labels[row] for patient, row in index.items()}


def _load(file: Path) -> npt.NDArray[Any]:
    try:
        labels = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file}: must be a NumPy array (found: {error})") from error
    if labels.ndim != 2:
        raise DatasetError(f"{file}: must be an array (patients, slices) (found: {labels.shape})")
    return np.asarray(labels)


def _from_the_feet(labels: npt.NDArray[Any], folder: Path) -> BoolArray:
    """The labels of the slices that are there, first at the feet."""
    slices = len(slices_in(folder))
    used = 1 + max(np.nonzero(labels)[0], default=-1)
    if slices > len(labels) or used > slices:
        room = f"{len(labels)} slices with labels, the last infected one number {used}"
        raise DatasetError(f"{folder}: its labels must fit its slices (found: {slices} slices; {room})")
    return np.asarray(labels[:slices][::-1] != 0)
