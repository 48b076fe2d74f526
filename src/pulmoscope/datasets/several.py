"""Several data sets as one table: every hospital known, and no patient and no file on both sides of a split.

Exact copies of a file are found here; near-duplicates (another size, another format) are what ``datasets check`` looks
for, in one data set.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.datasets.fingerprint import connected
from pulmoscope.datasets.hospitals import PART_OF, UNIDENTIFIED, hospital_of, mapped
from pulmoscope.datasets.layouts.detect import draw, load
from pulmoscope.datasets.table import Sample, SampleTable

STRICTEST = ("test", "val", "train")
"""A patient with images in several splits stays in the first of these, and is left out of the others."""
_ORDER = (*STRICTEST, "all", "")


def load_all(
    paths: Sequence[Path], layout: str | None = None, progress: Callable[[int, int], None] | None = None
) -> SampleTable:
    """Read data sets as one table, with the hospital of every image (see :mod:`pulmoscope.datasets.hospitals`).

    A single one is read as :func:`~pulmoscope.datasets.layouts.detect.load` does. Of several, one whose images are
    all in one split is shared out by patient, as if it had none: it was made for another purpose. Of exact copies
    that lie in several the first is kept. A patient's id holds within a hospital, or within a data set where the
    hospital is not known. Files are named from the folder that all have in common.

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
    table = joined([_shared_out(table, progress) for table in tables])
    copies = copies_in(table, [len(part) for part in tables])
    return _kept_once(without_leaks(_strictest(table, copies), copies), copies)


def joined(tables: Sequence[SampleTable]) -> SampleTable:
    """The rows of all tables under one root; a warning names the data set that it is about.

    Where the ids of patients of different hospitals are alike, the hospital goes before the id.

    Raises:
        DatasetError: a file is in two of them.
    """
    roots = [table.root.resolve() for table in tables]
    root = Path(os.path.commonpath(roots))
    samples: list[Sample] = []
    homes: list[str] = []
    for one_root, table in zip(roots, tables, strict=True):
        below = one_root.relative_to(root)
        samples += [_moved(sample, below) for sample in table]
        homes += [_home(sample, below) for sample in table]
    named = Counter(os.path.normpath(root / sample.file) for sample in samples)
    twice = [file for file, count in named.items() if count > 1]
    if twice:
        raise DatasetError(f"{twice[0]}: a file is in one data set (found: {len(twice)} in several)")
    warnings = tuple(f"{table.root.name}: {warning}" for table in tables for warning in table.warnings)
    return SampleTable(root, "several", tuple(_with_distinct_patients(samples, homes)), warnings)


def _home(sample: Sample, folder: Path) -> str:
    """Within what a patient's id holds: a hospital, with what is a part of it; else a data set's folder."""
    hospital = hospital_of(sample)
    return folder.as_posix() if hospital == UNIDENTIFIED else PART_OF.get(hospital, hospital)


def _with_distinct_patients(samples: Sequence[Sample], homes: Sequence[str]) -> Iterator[Sample]:
    origins: dict[str, set[str]] = defaultdict(set)
    for sample, home in zip(samples, homes, strict=True):
        origins[sample.patient].add(home)
    for sample, home in zip(samples, homes, strict=True):
        alike = sample.patient and len(origins[sample.patient]) > 1
        yield replace(sample, patient=f"{home}: {sample.patient}") if alike else sample


def copies_in(table: SampleTable, sizes: Sequence[int]) -> dict[int, int]:
    """Exact copies in several data sets: row → the first row, of another data set, with the same content.

    Only files of the same size are read. CT studies that are folders are not looked into.

    Args:
        sizes: how many rows of the table are each data set's, in order.
    """
    owners = [number for number, size in enumerate(sizes) for _ in range(size)]
    alike: dict[int, list[int]] = defaultdict(list)
    for row, sample in enumerate(table):
        path = table.path(sample)
        if path.is_file():
            alike[path.stat().st_size].append(row)
    first: dict[str, int] = {}
    copies: dict[int, int] = {}
    for rows in alike.values():
        if len({owners[row] for row in rows}) > 1:
            for row in rows:
                original = first.setdefault(sha256_of_file(table.path(table.samples[row])), row)
                if owners[original] != owners[row]:
                    copies[row] = original
    return copies


def _strictest(table: SampleTable, copies: Mapping[int, int]) -> SampleTable:
    """The strictest split of all copies for every one of them."""
    split: dict[int, str] = {}
    for row, original in copies.items():
        splits = table.samples[row].split, split.get(original, table.samples[original].split)
        split[original] = min(splits, key=_ORDER.index)
    return table.with_samples(
        replace(sample, split=split.get(copies.get(row, row), sample.split))
        for row, sample in enumerate(table)
    )


def _kept_once(table: SampleTable, copies: Mapping[int, int]) -> SampleTable:
    """Without copies; what the first row does not know is taken from its copy."""
    if not copies:
        return table
    samples = list(table.samples)
    other = 0
    for row, original in copies.items():
        kept, copy = samples[original], samples[row]
        known = hospital_of(kept) != UNIDENTIFIED
        other += known and hospital_of(copy) not in (hospital_of(kept), UNIDENTIFIED)
        samples[original] = replace(
            kept,
            hospital=kept.hospital if known else copy.hospital,
            patient=kept.patient or copy.patient,
            boxes=kept.boxes or copy.boxes,
            mask=kept.mask or copy.mask,
            lesions=kept.lesions or copy.lesions,
        )
    warning = f"exact copies in several data sets: {len(copies)} are left out, the first is kept"
    if other:
        warning += f"; {other} of them are of another hospital by the data set that is read later"
    return table.with_samples((sample for row, sample in enumerate(samples) if row not in copies), warning)


def without_leaks(table: SampleTable, copies: Mapping[int, int] = MappingProxyType({})) -> SampleTable:
    """Keep a patient whose images are in several splits in the strictest of them; the others are put in none.

    Args:
        copies: rows that show the same image (see :func:`copies_in`), and so the same patient, whatever the ids.
    """
    first: dict[str, int] = {}
    same = [(first.setdefault(one.patient, row), row) for row, one in enumerate(table) if one.patient]
    persons = connected(len(table), [*same, *copies.items()])
    splits: dict[int, set[str]] = defaultdict(set)
    for person, sample in zip(persons, table, strict=True):
        if sample.split in STRICTEST:
            splits[person].add(sample.split)
    home = {
        person: next(name for name in STRICTEST if name in of_patient)
        for person, of_patient in splits.items()
    }
    samples = [
        replace(sample, split="") if home.get(person, sample.split) != sample.split else sample
        for person, sample in zip(persons, table, strict=True)
    ]
    moved = sum(new.split != old.split for new, old in zip(samples, table, strict=True))
    if not moved:
        return table
    patients = sum(len(of_patient) > 1 for of_patient in splits.values())
    warning = f"{patients} patients have images in several splits: {moved} images are left aside"
    return table.with_samples(samples, warning)


def _shared_out(table: SampleTable, progress: Callable[[int, int], None] | None) -> SampleTable:
    only = {sample.split for sample in table} - {""}
    if len(only) != 1 or only == {"train"}:
        return table
    split = next(iter(only))
    split_table = draw(table, split, progress, whole=True)
    warning = (
        f"all images were in split {split}: shared out by patient, since it is read beside others; evaluated alone it "
        f"is all {split}, and a model trained on this has seen most of it: evaluate with RUN/images.csv"
    )
    return replace(split_table, warnings=(*table.warnings, warning))


def _moved(sample: Sample, below: Path) -> Sample:
    moved = (below / sample.file).as_posix()
    mask = (below / sample.mask).as_posix() if sample.mask else ""
    return replace(
        sample, file=moved, mask=mask, lesions=tuple((below / one).as_posix() for one in sample.lesions)
    )
