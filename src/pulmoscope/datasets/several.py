"""Several data sets as one table: every hospital known, and no patient on both sides of a split."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.hospitals import mapped
from pulmoscope.datasets.layouts import draw, load
from pulmoscope.datasets.table import Sample, SampleTable

STRICTEST = ("test", "val", "train")
"""A patient with images in several splits stays in the first of these, and is left out of the others."""


def load_all(
    paths: Sequence[Path], layout: str | None = None, progress: Callable[[int, int], None] | None = None
) -> SampleTable:
    """Read data sets as one table, with the hospital of every image (see :mod:`pulmoscope.datasets.hospitals`).

    A single one is read as :func:`~pulmoscope.datasets.layouts.load` does. Of several, one whose images are all in
    one split is shared out by patient, as if it had none: it was made for another purpose. Files are named from the
    folder that all have in common.

    Args:
        layout: of every data set; default: recognised.
        progress: called with (images read, images to read) where splits are drawn.

    Raises:
        DatasetError: one of them can't be read (see ``load``), is given twice, or a file is in two of them.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise DatasetError(f"--data: a data set is given once (found: {', '.join(map(str, paths))})")
    tables = mapped(load(path, layout, progress) for path in paths)
    if len(tables) == 1:
        return tables[0]
    return without_leaks(joined([_shared_out(table, progress) for table in tables]))


def joined(tables: Sequence[SampleTable]) -> SampleTable:
    """The rows of all tables under one root; a warning names the data set that it is about.

    Raises:
        DatasetError: a file is in two of them.
    """
    roots = [table.root.resolve() for table in tables]
    root = Path(os.path.commonpath(roots))
    samples: list[Sample] = []
    for own, table in zip(roots, tables, strict=True):
        below = own.relative_to(root)
        samples += [_moved(sample, below) for sample in table]
    named = Counter(os.path.normpath(root / sample.file) for sample in samples)
    twice = [file for file, count in named.items() if count > 1]
    if twice:
        raise DatasetError(f"{twice[0]}: a file is in one data set (found: {len(twice)} in several)")
    warnings = tuple(f"{table.root.name}: {warning}" for table in tables for warning in table.warnings)
    return SampleTable(root, "several", tuple(samples), warnings)


def without_leaks(table: SampleTable) -> SampleTable:
    """Keep a patient whose images are in several splits in the strictest of them; the others are put in none."""
    splits: dict[str, set[str]] = defaultdict(set)
    for sample in table:
        if sample.patient and sample.split in STRICTEST:
            splits[sample.patient].add(sample.split)
    home = {patient: next(name for name in STRICTEST if name in own) for patient, own in splits.items()}
    samples = [
        replace(sample, split="") if home.get(sample.patient, sample.split) != sample.split else sample
        for sample in table
    ]
    moved = sum(new.split != old.split for new, old in zip(samples, table, strict=True))
    if not moved:
        return table
    patients = sum(len(own) > 1 for own in splits.values())
    warning = f"{patients} patients have images in several splits: {moved} images are left aside"
    return table.with_samples(samples, warning)


def _shared_out(table: SampleTable, progress: Callable[[int, int], None] | None) -> SampleTable:
    only = {sample.split for sample in table} - {""}
    if len(only) != 1 or only == {"train"}:
        return table
    return draw(table, next(iter(only)), progress, whole=True)


def _moved(sample: Sample, below: Path) -> Sample:
    place = (below / sample.file).as_posix()
    return replace(sample, file=place, mask=(below / sample.mask).as_posix() if sample.mask else "")
