"""A CT's slices as a table for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator

from pulmoscope.core.files import csv_text
from pulmoscope.core.types import Diagnosis


def to_csv(diagnosis: Diagnosis) -> str:
    """The content of ``slices.csv``, from the feet to the head.

    Its columns are ``index,file,instance,z_mm,lung_fraction,dense_fraction,lesion_fraction,missing_fraction``,
    ``anomaly_score`` and ``p_<class>`` for every class.

    Cells are empty where nothing is known, or where the slice has no prediction. A file name that a spreadsheet would
    read as a formula gets a ``./`` before it, which leads to the same file.
    """
    classes = list(diagnosis.prediction.probabilities)
    header = [
        "index",
        "file",
        "instance",
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
    for one_slice in diagnosis.slices:
        probabilities = one_slice.probabilities or {}
        yield [
            str(one_slice.index),
            f"./{one_slice.file}"
            if one_slice.file[:1] in ("=", "+", "-", "@", "\t", "\r")
            else one_slice.file,
            "" if one_slice.instance is None else str(one_slice.instance),
            "" if one_slice.z_mm is None else f"{one_slice.z_mm:.3f}",
            "" if one_slice.lung_fraction is None else f"{one_slice.lung_fraction:.6f}",
            "" if one_slice.dense_fraction is None else f"{one_slice.dense_fraction:.6f}",
            "" if one_slice.lesion_fraction is None else f"{one_slice.lesion_fraction:.6f}",
            "" if one_slice.missing_fraction is None else f"{one_slice.missing_fraction:.6f}",
            "" if one_slice.anomaly_score is None else f"{one_slice.anomaly_score:.6f}",
            *(f"{probabilities[name]:.6f}" if name in probabilities else "" for name in classes),
        ]
