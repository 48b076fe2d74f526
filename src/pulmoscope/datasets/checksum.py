"""One checksum for a data set: the same images with the same labels have the same, wherever they lie."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.files import sha256_of
from pulmoscope.datasets.studies import study_checksum
from pulmoscope.datasets.table import SampleTable


def table_checksum(table: SampleTable) -> str:
    """SHA-256 over label, split and content of every file that can be read, in an order of its own.

    Neither names nor the order of the table count. Reads all files. One that is gone or can't be read is left out:
    whoever needs its pixels names it.
    """
    contents = ((sample, _content(table.path(sample))) for sample in table)
    lines = sorted(f"{content} {sample.split} {sample.label}" for sample, content in contents if content)
    return sha256_of("\n".join(lines).encode())


def _content(file: Path) -> str | None:
    try:
        return study_checksum(file)
    except OSError:
        return None
