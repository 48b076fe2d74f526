"""The layout of covid-chestxray-dataset (Cohen et al., arXiv 2006.11988): ``metadata.csv`` and ``images/``."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.radiography import collection
from pulmoscope.datasets.manifest import patient_facts, patient_warnings, read_csv
from pulmoscope.datasets.table import Sample, SampleTable

NAME = "metadata.csv"
COLUMNS = ("patientid", "finding", "view", "modality", "folder", "filename")
FRONTAL = frozenset({"pa", "ap", "ap supine", "ap erect"})
UNKNOWN = frozenset({"", "todo", "unknown"})
_LABELS = {"covid-19": "COVID", "no finding": "Normal"}


def recognise(path: Path) -> bool:
    """A folder with a ``metadata.csv`` that lists patients or files as this data set does (COVIDx-CT has one, too)."""
    try:
        with (path / NAME).open(encoding="utf-8-sig") as stream:
            header = {name.strip().lower() for name in stream.readline().split(",")}
    except (OSError, UnicodeDecodeError):
        return False
    return bool(header & {"patientid", "filename"})


def read(path: Path) -> SampleTable:
    """Read the frontal X-rays; CT, lateral views and images without a finding are left out, and counted.

    Raises:
        DatasetError: ``metadata.csv`` is missing, or lacks a column or rows.
    """
    if not (path / NAME).is_file():
        raise DatasetError(f"{path}: must hold {NAME} (found: none)")
    rows = read_csv(path / NAME, COLUMNS)
    frontal = [
        row for _, row in rows if row["modality"].lower() == "x-ray" and row["view"].lower() in FRONTAL
    ]
    labelled = [(row, label_of(row["finding"])) for row in frontal]
    samples = tuple(
        Sample(
            file=f"{row['folder']}/{row['filename']}".lstrip("/"),
            label=label,
            patient=row["patientid"],
            source=collection(row.get("url", "")) or "covid-chestxray-dataset",
            **patient_facts(row),
        )
        for row, label in labelled
        if label
    )
    warnings = patient_warnings(samples)
    if len(frontal) < len(rows):
        warnings.append(f"{len(rows) - len(frontal)} of {len(rows)} rows are no frontal X-ray: left out")
    if len(samples) < len(frontal):
        warnings.append(f"{len(frontal) - len(samples)} frontal X-rays have no finding: left out")
    return SampleTable(path, "covid-chestxray-dataset", samples, tuple(warnings))


def label_of(finding: str) -> str:
    """The class of a finding: the last component of its hierarchy, e.g. ``Pneumonia/Viral/COVID-19`` → COVID.

    Empty where nothing was found out. Older versions list several findings (``COVID-19, ARDS``): COVID-19 counts
    wherever it stands, otherwise the first.
    """
    names = [part.split("/")[-1].strip() for part in finding.split(",")]
    name = next((name for name in names if name.lower() == "covid-19"), names[0])
    return "" if name.lower() in UNKNOWN else _LABELS.get(name.lower(), name)
