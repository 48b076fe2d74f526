"""A CT's slices as a table for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator

from pulmoscope.core.files import csv_text
from pulmoscope.core.types import Diagnosis


def to_csv(diagnosis: Diagnosis) -> str:
    """The content of ``slices.csv``, from the feet to the head.

    Its columns are ``index,file,z_mm,lung_fraction,dense_fraction,lesion_fraction,missing_fraction,anomaly_score`` and
    ``p_<class>`` for every class.

    Cells are empty where nothing is known, or where the slice was not judged. A file name that a spreadsheet would
    read as a formula gets a ``./`` before it, which leads to the same file.
    """
    classes = list(diagnosis.prediction.probabilities)
    header = [
        "index",
        "file",
        "z_mm",
        "lung_fraction",
        "dense_fraction",
        "lesion_fraction",
        "missing_fraction",
        "anomaly_score",
        *(f"p_{name}" for name in classes),
    ]
    return csv_text(header, _rows(diagnosis, classes))


def _rows(diagnosis: Diagnosis, classes: list[str]) -> Iterator[list[str]]:
    for found in diagnosis.slices:
        shares = found.probabilities or {}
        yield [
            str(found.index),
            f"./{found.file}" if found.file[:1] in ("=", "+", "-", "@", "\t", "\r") else found.file,
            "" if found.z_mm is None else f"{found.z_mm:.3f}",
            "" if found.lung_fraction is None else f"{found.lung_fraction:.6f}",
            "" if found.dense_fraction is None else f"{found.dense_fraction:.6f}",
            "" if found.lesion_fraction is None else f"{found.lesion_fraction:.6f}",
            "" if found.missing_fraction is None else f"{found.missing_fraction:.6f}",
            "" if found.anomaly_score is None else f"{found.anomaly_score:.6f}",
            *(f"{shares[name]:.6f}" if name in shares else "" for name in classes),
        ]
