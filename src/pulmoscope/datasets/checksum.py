"""One checksum for a data set: the same images with the same labels have the same, wherever they lie."""

from __future__ import annotations

from pulmoscope.core.files import sha256_of, sha256_of_file
from pulmoscope.datasets.table import SampleTable


def table_checksum(table: SampleTable) -> str:
    """SHA-256 over label, split and content of every file that is there, in an order of its own.

    Neither names nor the order of the table count. Reads all files.
    """
    lines = sorted(
        f"{sha256_of_file(table.path(sample))} {sample.split} {sample.label}"
        for sample in table
        if table.path(sample).is_file()
    )
    return sha256_of("\n".join(lines).encode())
