"""A file of values, whatever its format."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import UnreadableError
from pulmoscope.core.files import sha256_of
from pulmoscope.values.fhir import read_bundle
from pulmoscope.values.records import ValuesFile
from pulmoscope.values.table import read_table

_LARGEST = 64 * 2**20
"""Bytes."""


def read_values(path: Path) -> ValuesFile:
    """Read a table (CSV) or a FHIR R4 Bundle (JSON), told apart by their content.

    Raises:
        UnreadableError: it is missing or neither of them, or what it means is unclear.
    """
    try:
        if path.stat().st_size > _LARGEST:
            finding = f"{path.stat().st_size // 2**20} MiB of values"
            raise UnreadableError(path, "values-file", finding, f"at most {_LARGEST // 2**20} MiB")
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UnreadableError(
            path, "values-file", f"could not be read ({error.strerror or 'error'})"
        ) from None
    except ValueError:
        raise UnreadableError(
            path, "values-file", "no text in UTF-8", "a table as CSV, or a FHIR Bundle"
        ) from None
    bundle = text.lstrip().startswith(("{", "["))
    records, remarks = (read_bundle if bundle else read_table)(str(path), text)
    return ValuesFile(str(path), sha256_of(content), tuple(records), tuple(remarks))
