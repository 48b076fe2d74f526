"""The layout of the SPGC-COVID test sets: ``SPGC-COVID_Test1/<patient>/*.dcm`` and labels by patient in a table.

Heidarian et al., «SPGC-COVID dataset» (2021), the test sets of the ICASSP 2021 Signal Processing Grand Challenge, from
the authors of COVID-CT-MD: three sets of 30 patients each, handed out to participants, and published later with a
fourth (doi 10.34740/kaggle/dsv/2866458). No public page that we know spells out the names of folders and tables, so
much is taken: a folder whose name ends in ``Test`` and a number, with a folder a patient; a ``.csv`` or ``.xlsx`` file
in it, or beside it (then with ``Test1`` in its name, or for all sets together), with a column of patients and one of
labels.
"""

from __future__ import annotations

import re
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.folders import subfolders
from pulmoscope.datasets.layouts.sheets import read_rows
from pulmoscope.datasets.studies import slices_in
from pulmoscope.datasets.table import Sample, SampleTable

PATIENT_COLUMNS = (
    "patient id",
    "patient_id",
    "patientid",
    "patient",
    "subject",
    "case",
    "folder",
    "folder/id",
    "id",
)
LABEL_COLUMNS = ("label", "labels", "diagnosis", "class", "category", "ground truth", "ground_truth")
_SET = re.compile(r"(?:^|.*[\W_])test[\W_]*(?:set)?[\W_]*([1-9])", re.IGNORECASE)
_LABELS = {"covid": "COVID", "covid19": "COVID", "cap": "CAP", "normal": "Normal"}


def recognise(path: Path) -> bool:
    """A test set's folder with a patient's folder with DICOM slices, or such a set itself."""
    return bool(_sets(path))


def read(path: Path) -> SampleTable:
    """Read one sample a study, all in the split ``test``; the source names the set, the patient the set and its folder.

    Raises:
        DatasetError: there is no set, or a label or a table of labels is not as described.
    """
    sets = _sets(path)
    if not sets:
        raise DatasetError(
            f"{path}: must hold folders like SPGC-COVID_Test1 with a folder of DICOM slices a patient (found: none)"
        )
    samples = []
    for number, folder in sets:
        labels = _labels_of(path, folder, number)
        samples += [
            Sample(
                file=patient.relative_to(path).as_posix(),
                label=labels.get(patient.name.lower(), ""),
                split="test",
                patient=f"Test{number}-{patient.name}",
                source=f"SPGC-COVID Test{number}",
            )
            for patient in subfolders(folder)
            if slices_in(patient)
        ]
    unlabelled = sum(not sample.label for sample in samples)
    warnings = (f"no label: {unlabelled} of {len(samples)} studies",) if unlabelled else ()
    return SampleTable(path, "spgc-covid", tuple(samples), warnings)


def _sets(path: Path) -> list[tuple[str, Path]]:
    """(number, folder) of every set: below the path, or the path itself."""
    return [
        (match[1], folder)
        for folder in (*subfolders(path), path)
        if (match := _SET.fullmatch(folder.resolve().name))
        and any(slices_in(patient) for patient in subfolders(folder))
    ]


def _labels_of(path: Path, folder: Path, number: str) -> dict[str, str]:
    """Patient's folder in lower case → class, from the first table that fits: the set's own, then a common one."""
    beside = _tables(path) if folder != path else []
    numbered = [file for file in beside if _number_of(file) == number]
    common = [file for file in beside if _number_of(file) is None]
    for file in (*_tables(folder), *numbered, *common):
        if labels := _labels_in(file):
            return labels
    return {}


def _tables(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in (".csv", ".xlsx") and not file.name.startswith((".", "~"))
    )


def _number_of(file: Path) -> str | None:
    match = re.search(r"test[\W_]*(?:set)?[\W_]*([1-9])", file.stem, re.IGNORECASE)
    return match[1] if match else None


def _labels_in(file: Path) -> dict[str, str]:
    """The labels of one table; empty where it has no column of patients or none of labels (then it is another's)."""
    rows = read_rows(file, ())
    header = list(rows[0][1]) if rows else []
    patient = next((name for name in PATIENT_COLUMNS if name in header), None)
    label = next((name for name in LABEL_COLUMNS if name in header), None)
    if patient is None or label is None:
        return {}
    labels: dict[str, str] = {}
    for line, row in rows:
        known = _LABELS.get(re.sub(r"[\W_]", "", row[label].lower()))
        if known is None:
            raise DatasetError(
                f"{file}, line {line}: {label} must be COVID-19, CAP or Normal (found: {row[label]})"
            )
        if labels.setdefault(row[patient].lower(), known) != known:
            raise DatasetError(f"{file}, line {line}: a patient has one label (found: {known} and another)")
    return labels
