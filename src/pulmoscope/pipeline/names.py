"""What the inputs of a run are called in everything that may be shared, and the one local file that has their paths.

By default an input is named by its content, ``xray-`` or ``ct-`` and the first digits of its checksum: a path may hold
a patient's name. ``OUT/local-names.csv`` leads back from a name to the path; a run that was killed has it, too.
"""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pulmoscope.core.errors import PulmoscopeError, ResourceError
from pulmoscope.core.files import csv_text, write_text
from pulmoscope.core.types import Scan
from pulmoscope.io.inputs import unique
from pulmoscope.io.stored import from_root
from pulmoscope.io.studies import Study

LOCAL_NAMES = "local-names.csv"
_BEGINNING = "# Local: not for sharing. These paths may name patients; the results beside this file do not.\n"
_HEADER = ("name", "path")
_PLACE = "/"
"""Ends the folder of a place, and no input's path."""

TAKEN = ("index.json", "results.csv", LOCAL_NAMES)
"""What else lies beside the inputs' folders."""
_LONGEST = 100
"""Characters of a name that the user chose."""


@dataclass(frozen=True)
class Naming:
    """How the inputs of a run are named: by content, unless the user says otherwise.

    Attributes:
        name: of the run's only input.
        keep: name inputs and their files after the files, as the user's own decision.
    """

    name: str = ""
    keep: bool = False

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            PulmoscopeError: it is no safe name of a folder, or both are given.
        """
        if self.name and self.keep:
            raise PulmoscopeError("--name and --keep-names exclude each other")
        safe = re.fullmatch(r"\w[\w.-]*", self.name) and len(self.name) <= _LONGEST
        if self.name and not (safe and self.name.casefold() not in TAKEN and not self.name.endswith(".")):
            raise PulmoscopeError(
                f"--name takes letters, digits, dots, dashes and underscores, {_LONGEST} at most, "
                "a letter or digit first"
            )


BY_CONTENT = Naming()


class Names:
    """Gives the inputs of a run their names, each once, and none of those ``reserved`` for others. Thread-safe."""

    def __init__(self, out: Path, naming: Naming, reserved: Iterable[str] = ()) -> None:
        self._file, self._naming = out / LOCAL_NAMES, naming
        self._lock = threading.Lock()
        self._taken = {*TAKEN, *reserved}
        self._given: dict[int, tuple[str, str]] = {}

    def of(self, number: int, study: Study, content: str) -> str:
        """The name of an input; also noted beside its path in the local file, before anything is written of it.

        Args:
            number: of the input, counted from 1.
            content: what it is called by its content; empty where that can't be read.

        Raises:
            ResourceError: the local file can't be written.
        """
        wanted = self._naming.name or (study.slug if self._naming.keep else content) or f"input-{number}"
        with self._lock:
            before, name = self._given.get(number, ("", ""))
            if before != wanted:
                name = unique(wanted, self._taken)
                self._given[number] = wanted, name
                _append(self._file, name, local_path(study))
        return name


def with_name(scan: Scan, name: str, naming: Naming) -> Scan:
    """A scan under its name in results; its files under their own names where the user wants to keep these."""
    if not naming.keep:
        return replace(scan, name=name)
    files = tuple(replace(file, name=PurePosixPath(file.path).name) for file in scan.files)
    return replace(scan, name=name, files=files)


def is_plain(name: str) -> bool:
    """Whether a name is that of something within a folder, and leads nowhere else."""
    return Path(name).name == name and name not in ("", ".", "..")


def local_path(study: Study) -> str:
    """A study's path from the root, or its address."""
    return from_root(study.name)


def read_local_names(out: Path) -> dict[str, str]:
    """Name → path of a run's inputs (not its places), by its local file; empty where that is missing or damaged."""
    try:
        lines = (out / LOCAL_NAMES).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, ValueError):
        return {}
    rows = csv.reader(line for line in lines[2:] if line.endswith("\n"))  # what a kill has cut off is no row
    return {row[0]: row[1] for row in rows if len(row) == len(_HEADER) and not row[1].endswith(_PLACE)}


def write_local_names(
    out: Path, rows: Iterable[tuple[str, str]], places: Iterable[tuple[str, str]] = ()
) -> None:
    """Write the local file of a complete run: of every input, in order, its name and its path from the root.

    Args:
        rows: of the inputs.
        places: name and folder of every place that they are of.

    Raises:
        ResourceError: the file can't be written.
    """
    folders = [(name, str(Path(folder).absolute()) + _PLACE) for name, folder in places]
    write_text(out / LOCAL_NAMES, _BEGINNING + csv_text(_HEADER, [*rows, *folders]))


def without_path(text: str, path: str, name: str) -> str:
    """A text in which an input's path, and every end of it, is replaced by its name."""
    parts = path.split("/")
    for first in range(len(parts)):
        end = "/".join(parts[first:])
        if end:
            text = text.replace(end, name)
    return text


def _append(file: Path, name: str, path: str) -> None:
    """Add a row in one piece, so that a kill leaves whole rows."""
    row = csv_text((name, path), ())
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(row if stream.tell() else _BEGINNING + csv_text(_HEADER, ()) + row)
    except OSError as error:
        raise ResourceError(f"{file}: could not be written ({error.strerror or error})") from error
