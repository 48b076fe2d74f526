"""Writing so that a file is there whole or not at all, and naming what was written."""

from __future__ import annotations

import csv
import ctypes
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from pulmoscope.core.errors import OutputExistsError, ResourceError

NOTICE = (
    "Research use only. Pulmoscope is decision support for research, not a medical device; "
    "a physician must read the image. No decision about a patient may rest on this result alone."
)


_UNFINISHED = ".pulmoscope-", ".part"
"""How the name of a file begins and ends that is being written; a kill leaves it."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write atomically: a reader sees the old file or the whole new one, also after a kill.

    What a power cut loses, :func:`settle` guards.

    Raises:
        ResourceError: the disk is full or the folder can't be written.
    """
    begins, ends = _UNFINISHED
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=begins, suffix=ends, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def settle(folder: Path) -> None:
    """Have the disk hold what was written into a folder and its folders, so that a power cut loses nothing of it.

    Files are not flushed one by one, which would take longer than diagnosing radiographs: this flushes the file system
    that they lie on, once. Where the system knows no such call (only Linux does), everything is flushed, or nothing.

    Raises:
        ResourceError: the disk is full or broken.
    """
    try:
        flush = (
            getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
        )
        if flush is None:
            getattr(os, "sync", lambda: None)()
            return
        opened = os.open(folder, os.O_RDONLY)
        try:
            if flush(opened):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(opened)
    except OSError as error:
        raise ResourceError(f"{folder}: could not be written ({error.strerror or error})") from error


def sweep(folder: Path) -> None:
    """Remove what a kill has left of files that :func:`write_bytes` was writing into a folder; nothing else.

    Only where no other process writes into it.

    Raises:
        OSError: the folder can't be written.
    """
    begins, ends = _UNFINISHED
    for path in folder.glob(f"{begins}*{ends}"):
        path.unlink(missing_ok=True)


@contextmanager
def growing(path: Path) -> Iterator[Callable[[str], None]]:
    """A text file that grows piece by piece and stands in place once it is complete: gives what adds a piece.

    Where an error or an interrupt ends the block, what was there before stays (see :func:`write_bytes`).

    Raises:
        ResourceError: the disk is full or the folder can't be written.
    """
    begins, ends = _UNFINISHED
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=begins, suffix=ends, dir=path.parent)

    def add(piece: str) -> None:
        with _told(path):
            stream.write(piece.encode())

    try:
        with os.fdopen(handle, "wb") as stream:
            yield add
            with _told(path):
                stream.flush()
        with _told(path):
            Path(name).chmod(0o644)
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell in one line of a file that can't be written.

    Raises:
        ResourceError: the disk is full or the folder can't be written.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(f"{path}: could not be written ({error.strerror or error})") from error


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically (see :func:`write_bytes`)."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, in stable key order as given; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV, lines ended by a line feed; None becomes an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def shareable(file: str) -> str:
    """A data set's file as results name it: within the data set; of a path from the root, the last part."""
    path = PurePath(file)
    return path.name if path.is_absolute() else file


def sha256_of(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_all(sums: Sequence[str]) -> str:
    """Names several files by their checksums in order: one file's own; of several, that of the sums, one a line."""
    return sums[0] if len(sums) == 1 else sha256_of("\n".join(sums).encode())


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_folder(folder: Path, marker: str, force: bool, others: Iterable[str] = ()) -> None:
    """Refuse, before any work, a folder that :func:`claim_folder` would refuse; nothing is made or removed.

    Args:
        others: names of files that the result would replace: without a marker beside them they are someone else's.

    Raises:
        OutputExistsError: ``marker`` is in it, or one of ``others``, and ``force`` is not given.
        ResourceError: it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ResourceError(f"{folder}: results need a folder (found: a file)")
    there = next((name for name in (marker, *others) if (folder / name).exists()), None)
    if there is not None and not force:
        raise OutputExistsError(folder / there)


def claim_folder(folder: Path, marker: str, force: bool, others: Iterable[str] = ()) -> None:
    """Make a folder for results; refuse when ``marker`` is already in it and ``force`` is not given.

    The marker is written last, so that its presence means «complete». With ``force`` an old one is removed first:
    a run that is killed leaves none beside its new files. What a killed run was writing is removed.

    Raises:
        OutputExistsError: a result is already there.
        ResourceError: the folder can't be made or cleared.
    """
    check_folder(folder, marker, force, others)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / marker).unlink(missing_ok=True)
        sweep(folder)
    except OSError as error:
        raise ResourceError(f"{folder}: could not be made ready ({error.strerror or error})") from error
