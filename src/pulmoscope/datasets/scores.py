"""Readers' severity scores of radiographs: ``scores.csv`` beside a data set's manifest.

Columns: ``file`` (from the table's folder, or from the folder above) and ``patient``; ``geographic_extent_0_8`` and
``opacity_0_6``, and zones of the Brixia score as ``A`` … ``F``, of several readers as ``<reader>_A`` and so on. Any of
these may be missing, or empty in a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.xray_severity import MOST_EXTENT, MOST_OPACITY, MOST_ZONE, ZONES
from pulmoscope.datasets.manifest import read_csv

NAME = "scores.csv"
EXTENT, OPACITY = "geographic_extent_0_8", "opacity_0_6"


@dataclass(frozen=True)
class Scored:
    """A radiograph that readers have scored.

    Attributes:
        path: of the image.
        file: as the table names it.
        patient: an id that tells patients apart.
        extent, opacity: 0 to 8 and 0 to 6; None where nobody scored it.
        readers: name → the six zones' scores, 0 to 3, in the order of :data:`ZONES`; empty where nobody scored them.
    """

    path: Path
    file: str
    patient: str
    extent: float | None
    opacity: float | None
    readers: Mapping[str, tuple[float, ...]]

    @property
    def zones(self) -> tuple[float, ...] | None:
        """The mean of the readers, zone by zone."""
        if not self.readers:
            return None
        return tuple(sum(scores) / len(scores) for scores in zip(*self.readers.values(), strict=True))


def read_scores(root: Path) -> list[Scored]:
    """The scored radiographs of a data set's folder; empty where it has no ``scores.csv``.

    Raises:
        DatasetError: a column is missing, a score is none or beyond its limits, a patient or a file is not known, a
            file is named twice, or a reader has scored some of the six zones only.
    """
    table = root / NAME
    if not table.is_file():
        return []
    seen: dict[Path, int] = {}
    scored = []
    for line, row in read_csv(table, ("file", "patient")):
        one = _scored(table, line, row)
        if one.path in seen:
            raise DatasetError(
                f"{table}, line {line}: a file is named once (found: {one.file} also in line {seen[one.path]})"
            )
        seen[one.path] = line
        scored.append(one)
    return scored


def together(scored: Sequence[Scored]) -> list[Scored]:
    """One entry an image: what several tables say of the same file is put together, the first one's word first."""
    by_path: dict[Path, Scored] = {}
    for one in scored:
        known = by_path.get(one.path)
        if known is None:
            by_path[one.path] = one
            continue
        if known.patient != one.patient:
            raise DatasetError(f"{one.file}: two tables of scores name two patients for it")
        by_path[one.path] = Scored(
            one.path,
            known.file,
            known.patient,
            one.extent if known.extent is None else known.extent,
            one.opacity if known.opacity is None else known.opacity,
            {**one.readers, **known.readers},
        )
    return list(by_path.values())


def _scored(table: Path, line: int, row: Mapping[str, str]) -> Scored:
    where = f"{table}, line {line}"
    path = next(
        (
            folder / row["file"]
            for folder in (table.parent, table.parent.parent)
            if (folder / row["file"]).is_file()
        ),
        None,
    )
    if path is None:
        raise DatasetError(f"{where}: {row['file']}: is neither in the table's folder nor in the one above")
    if not row["patient"]:
        raise DatasetError(f"{where}: column patient must not be empty: folds are drawn by patient")
    return Scored(
        path.resolve(),
        row["file"],
        row["patient"],
        _score(where, row, EXTENT, MOST_EXTENT),
        _score(where, row, OPACITY, MOST_OPACITY),
        _readers(where, row),
    )


def _readers(where: str, row: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Every reader's six zones; a reader without a name is ``reader``."""
    readers = {}
    for prefix in (column.removesuffix("a") for column in row if column == "a" or column.endswith("_a")):
        name = prefix.removesuffix("_") or "reader"
        scores = [_score(where, row, f"{prefix}{zone.lower()}", MOST_ZONE) for zone in ZONES]
        known = tuple(score for score in scores if score is not None)
        if known and len(known) < len(ZONES):
            raise DatasetError(f"{where}: {name}: all six zones have a score, or none (found: {len(known)})")
        if known:
            readers[name] = known
    return readers


def _score(where: str, row: Mapping[str, str], column: str, most: float) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise DatasetError(f"{where}: {column} must be a number from 0 to {most:g} (found: {text})")
    return value
