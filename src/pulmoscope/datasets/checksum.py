"""One checksum for a data set: the same images with the same labels have the same, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulmoscope.core.files import sha256_of
from pulmoscope.datasets.studies import study_checksum
from pulmoscope.datasets.table import SampleTable


def table_checksum(table: SampleTable, contents: Sequence[str] | None = None) -> str:
    """SHA-256 over label, split and content of every file that can be read, in an order of its own.

    Neither names nor the order of the table count. One that is gone or can't be read is left out: whoever needs its
    pixels names it.

    Args:
        contents: the table's :func:`file_checksums`; None: all files are read.
    """
    known = file_checksums(table) if contents is None else contents
    pairs = zip(table, known, strict=True)
    lines = sorted(f"{content} {sample.split} {sample.label}" for sample, content in pairs if content)
    return sha256_of("\n".join(lines).encode())


def file_checksums(table: SampleTable) -> list[str]:
    """SHA-256 of every sample's file (or study) in the table's order; empty where it can't be read."""
    return [_content(table.path(sample)) for sample in table]


def _content(file: Path) -> str:
    try:
        return study_checksum(file)
    except OSError:
        return ""
