"""Files that lie in no folder: within a zip, in an object store, on a server."""

from __future__ import annotations

import re
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from weakref import finalize

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/+(?=[^/])")
"""How the name begins of what lies elsewhere: ``s3:/bucket/key``, as a path's library writes ``s3://bucket/key``."""


class Archive:
    """A zip that its entries share: opened on first use, read by several threads at once, closed with the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._open: zipfile.ZipFile | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.path,)

    @property
    def zip(self) -> zipfile.ZipFile:
        """The open zip.

        Raises:
            OSError, zipfile.BadZipFile: it can't be opened, or is no whole zip.
        """
        with self._lock:
            if self._open is None:
                self._open = zipfile.ZipFile(self.path)
                finalize(self, self._open.close)  # also where only a cycle of references is left of it
            return self._open


@dataclass(frozen=True)
class Member:
    """A file within a zip."""

    archive: Archive
    info: zipfile.ZipInfo


class Stored(Protocol):
    """A file that lies in no file system: in an object store, or on a server."""

    @property
    def size(self) -> int | None:
        """bytes; None where that shows only when it is read."""

    @property
    def stamp(self) -> str:
        """Another text where the file is another one; empty where nothing tells."""

    def open(self) -> IO[bytes]:
        """The file for reading from its beginning; maybe only its head, as far as the pixel data."""

    def read_bytes(self) -> bytes:
        """The whole file."""


def from_root(name: str) -> str:
    """An input's path from the root; the address of one that lies elsewhere."""
    address = _ADDRESS.match(name)
    return (
        str(Path(name).absolute())
        if address is None
        else address[0].rstrip("/") + "//" + name[address.end() :]
    )
