"""The files that a DICOMDIR lists: the directory of a CD, PS3.10 (Media Storage Directory)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.io.formats import HEAD

# MediaStorageSOPClassUID, which is written in one way only (PS3.10 7.1): explicit, little endian.
_MARK = b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"
_LARGEST = 64 * 2**20  # bytes; of a record of half a KiB each, more than any medium has files
_NAME = re.compile(r"[\w .-]+")


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a DICOMDIR, by its content."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except (OSError, ValueError):
        return False  # then reading it says why
    return head[128:132] == b"DICM" and _MARK in head


def listed_files(path: Path, name: str) -> tuple[list[Path], InputError | None]:
    """The files that a DICOMDIR's records name and that lie in its folder, in the records' order.

    Args:
        path: the DICOMDIR.
        name: the same as the user named it, for messages.

    Returns:
        The files; and an error where some are missing or lie elsewhere. It does not name them: a record may hold
        anything.

    Raises:
        UnreadableError: it is damaged.
    """
    import pydicom  # takes a fifth of a second

    from pulmoscope.io.quiet import decoding, quieten_decoders

    quieten_decoders()
    with decoding(name):  # pydicom's own messages quote elements
        size = path.stat().st_size
        if size > _LARGEST:
            rule = f"a DICOMDIR has at most {_LARGEST // 2**20} MiB"
            raise UnreadableError(name, "too-large", f"{size // 2**20} MiB", rule)
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
        named = [parts for record in records if (parts := _parts(record))]
    referenced = [_within(path.parent, parts) for parts in named]
    files = list(dict.fromkeys(file for file in referenced if file is not None))
    lost = referenced.count(None)
    if lost:
        verb = "is" if lost == 1 else "are"
        finding = f"{lost} of the {len(referenced)} files that it lists {verb} not in its folder"
        return files, UnreadableError(name, "files-missing", finding)
    return files, None


def _parts(record: Any) -> list[str]:
    """The folders and the name of a record's file, PS3.3 F.3.2.2; none where it refers to no file."""
    value = record.get("ReferencedFileID")
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _within(folder: Path, parts: list[str]) -> Path | None:
    """A listed file that is there, in the folder or below it; discs may show their names in small letters."""
    if not all(_NAME.fullmatch(part) and part.strip(".") for part in parts):
        return None
    for candidate in (folder.joinpath(*parts), folder.joinpath(*(part.lower() for part in parts))):
        if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
            return candidate
    return None
