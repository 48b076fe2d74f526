"""Labels of many data sets in the words of one model: a stated table, not a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.manifest import read_csv
from pulmoscope.datasets.table import SampleTable

LabelMap = Mapping[str, str]
"""Label → class, or → fractions of several classes, ``COVID 0.4, Normal 0.6``: what a reader left open."""


def read_labels(file: Path) -> dict[str, str]:
    """Read a label table: a CSV file with the columns ``label`` and ``class``; a class as in :data:`LabelMap`.

    Raises:
        DatasetError: a column is missing, or a label is named twice.
    """
    labels: dict[str, str] = {}
    for line, row in read_csv(file, ("label", "class")):
        if row["label"] in labels:
            raise DatasetError(f"{file}, line {line}: a label is named once (found: {row['label']} again)")
        labels[row["label"]] = row["class"]
    return labels


def shares_of(text: str) -> dict[str, float]:
    """The classes that a table's entry stands for, each with its fraction of 1.

    >>> shares_of("COVID 0.4, Other pneumonia 0.6")
    {'COVID': 0.4, 'Other pneumonia': 0.6}
    >>> shares_of("Other pneumonia")
    {'Other pneumonia': 1.0}

    Raises:
        DatasetError: the fractions do not sum to 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and not _is_share(parts[0].rpartition(" ")[2]):
        return {parts[0]: 1.0}
    fractions: dict[str, float] = {}
    for part in parts:
        name, _, fraction = part.rpartition(" ")
        try:
            fractions[name.strip()] = float(fraction)
        except ValueError:
            fractions[part] = float("nan")
    if not abs(sum(fractions.values()) - 1) < 1e-6 or min(fractions.values()) < 0:
        raise DatasetError(
            f"a label's fractions are like «COVID 0.4, Normal 0.6» and sum to 1 (found: {text})"
        )
    return fractions


def _is_share(word: str) -> bool:
    """Whether it is a number between 0 and 1; a class may well be called «stage 2»."""
    try:
        return 0 < float(word) < 1
    except ValueError:
        return False


def soft_labels(labels: LabelMap) -> dict[str, dict[str, float]]:
    """The labels that stand for several classes, each with its fractions."""
    fractions = {label: shares_of(text) for label, text in labels.items()}
    return {label: by_class for label, by_class in fractions.items() if len(by_class) > 1}


def hard_labels(labels: LabelMap) -> dict[str, str]:
    """The labels that stand for one class → that class, or what that stands for in turn.

    >>> hard_labels({"PCR+": "positive", "positive": "COVID", "Normal": "Normal"})
    {'PCR+': 'COVID', 'positive': 'COVID', 'Normal': 'Normal'}

    Raises:
        DatasetError: labels stand for one another in a circle.
    """
    one = {
        label: next(iter(by_class)) for label, text in labels.items() if len(by_class := shares_of(text)) == 1
    }
    hard: dict[str, str] = {}
    for label in one:
        way = [label]
        while (name := one.get(way[-1], way[-1])) != way[-1]:
            if name in way:
                raise DatasetError(f"label {label}: stands for itself ({' → '.join([*way, name])})")
            way.append(name)
        hard[label] = way[-1]
    return hard


def fitted(fractions: Mapping[str, float], classes: Sequence[str]) -> dict[str, float]:
    """Shares of these classes only; what the others had goes to all, the label's own class with them, in proportion.

    >>> fitted({"COVID": 0.4, "Normal": 0.4, "Tuberculosis": 0.2}, ["COVID", "Normal"])
    {'COVID': 0.5, 'Normal': 0.5}
    """
    rest = 1 - sum(fraction for name, fraction in fractions.items() if name not in classes)
    return {name: round(fraction / rest, 9) for name, fraction in fractions.items() if name in classes}


def fitted_labels(labels: LabelMap, classes: Sequence[str]) -> dict[str, str]:
    """A table of labels for these classes: see :func:`fitted`.

    A label of several classes, of which there is but one or none, says nothing for sure and is left out.
    """
    fitting = dict(labels)
    for label, fractions in soft_labels(labels).items():
        by_class = fitted(fractions, classes)
        if len(by_class) == 1 or not by_class:
            del fitting[label]
        elif len(by_class) < len(fractions):
            fitting[label] = ", ".join(f"{name} {fraction:.9g}" for name, fraction in by_class.items())
    return fitting


def renamed(table: SampleTable, labels: LabelMap) -> str:
    """What a table of labels makes of these labels, with counts, in a line; empty: nothing is renamed."""
    stand = {label: name for label, name in hard_labels(labels).items() if label != name}
    stand |= {label: f"({labels[label]})" for label in soft_labels(labels)}
    counts = Counter(sample.label for sample in table if sample.label in stand)
    return ", ".join(f"{label} → {stand[label]}: {count}" for label, count in sorted(counts.items()))


def mapped_labels(table: SampleTable, labels: LabelMap) -> SampleTable:
    """Put the class in the place of every label that stands for one; a label of several classes stays.

    Doing it twice changes nothing.

    Raises:
        DatasetError: an entry of the table of labels makes no sense.
    """
    one = hard_labels(labels)
    return table.with_samples(replace(sample, label=one.get(sample.label, sample.label)) for sample in table)


def learnable(table: SampleTable, labels: LabelMap, classes: Sequence[str]) -> SampleTable:
    """Leave out what no class can be learnt from, and say so.

    Args:
        table: with :func:`mapped_labels` applied.
    """
    known = {*classes, *soft_labels(labels)}
    strange = Counter(sample.label or "none" for sample in table if sample.label not in known)
    if not strange:
        return table
    counts = ", ".join(f"{label} {count}" for label, count in sorted(strange.items()))
    warning = f"labels that stand for no class are left out: {counts}"
    return table.with_samples((sample for sample in table if sample.label in known), warning)


def targets(
    table: SampleTable, labels: LabelMap, classes: Sequence[str], unread: Mapping[str, float]
) -> FloatArray:
    """What is to be learnt of every image, float32 (images, classes), each row a distribution.

    Args:
        unread: the classes that an image with an unread label may show instead, each with its fraction.

    Raises:
        DatasetError: a label stands for a class that is not one of these.
    """
    matrix = np.zeros((len(table), len(classes)), dtype=np.float32)
    columns = {name: column for column, name in enumerate(classes)}
    for row, sample in zip(matrix, table, strict=True):
        fractions = {sample.label: 1.0} if sample.label in columns else shares_of(labels[sample.label])
        if sample.unread:
            read = 1 - sum(unread.values())
            fractions = {name: fraction * read for name, fraction in fractions.items()}
            fractions |= {name: fractions.get(name, 0) + fraction for name, fraction in unread.items()}
        for name, fraction in fractions.items():
            if name not in columns:
                raise DatasetError(f"label {sample.label}: stands for {name}, which is no class of the model")
            row[columns[name]] = fraction
    return matrix
