"""Where the results of a run on many machines go, and the entries that say which studies are done.

::

    OUT/.entries/run.json          what the run is told to do: its presence means «unfinished»
    OUT/.entries/<ab>/<key>.json   an entry of a study, written after all its files: its presence means «done»
    OUT/.entries/made-…/           results of a study that a node is writing

``key`` is a checksum of the study's path, or of its address. Besides there is what one machine writes
(:mod:`pulmoscope.pipeline.outputs`). The entries are removed when the index is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pulmoscope.apps.ray.stores import Store, is_address
from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import write_bytes, write_json
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.names import LOCAL_NAMES

ENTRIES = ".entries"
_RUN = f"{ENTRIES}/run.json"
_MOVES = 10
"""Times that results are moved where others of the same study may come in between."""


def entry_file(key: str) -> str:
    """The name of a study's entry."""
    return f"{ENTRIES}/{key[:2]}/{key}.json"


@dataclass(frozen=True)
class FolderResults:
    """Results in a folder that all nodes share."""

    out: Path

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The folder that a study's results are written into: one of its own, on the file system of the results.

        Raises:
            ResourceError: it can't be made.
        """
        try:
            scratch = TemporaryDirectory(prefix="made-", dir=self.out / ENTRIES, ignore_cleanup_errors=True)
        except OSError as error:
            raise ResourceError(f"{self.out}: could not be written ({error.strerror or error})") from error
        with scratch as path:
            yield Path(path)

    def check_shared(self) -> None:
        """Refuse a node that has not this folder.

        Raises:
            ResourceError: it has not.
        """
        if not (self.out / _RUN).exists():
            raise ResourceError(
                f"{self.out}: is not there on every node; a folder must be one that all nodes share, "
                "or results go to an object store"
            )

    def publish(self, folder: Path, name: str) -> None:
        """Put a study's results where they belong, whole, in place of those of an earlier try.

        Raises:
            ResourceError: the folder can't be written.
        """
        made, target = folder / name, self.out / name
        for left in reversed(range(_MOVES)):
            try:
                files.clear(target)
                if made.is_dir():  # it was not refused
                    _move(made, target)
                return
            except (OSError, ResourceError) as error:  # another node may be writing the same study
                if not left:
                    reason = str(error) if isinstance(error, ResourceError) else error.strerror or error
                    raise ResourceError(f"{target}: could not be written ({reason})") from error

    def put_entry(self, key: str, entry: dict[str, Any]) -> None:
        """Write a study's entry."""
        write_json(self.out / entry_file(key), entry)

    def entry(self, key: str) -> dict[str, Any] | None:
        """A study's entry whose results are there; None without one."""
        try:
            entry: dict[str, Any] = json.loads((self.out / entry_file(key)).read_bytes())
            diagnosis = self.out / entry["name"] / files.DIAGNOSIS
            return entry if entry["plain"] is None or diagnosis.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def claim(self, settings: dict[str, Any], force: bool) -> bool:
        """Make ready for a run; whether it goes on with one that was killed.

        Raises:
            OutputExistsError: there are results of another run, and ``force`` is not given.
            ResourceError: the folder can't be written.
        """
        before = self._before()
        if not force and before == settings and not (self.out / files.INDEX).exists():
            return True
        if before is not None and force:  # whatever it has written is replaced
            for path in self.out.glob(f"*/{files.DIAGNOSIS}"):
                files.clear(path.parent)
        files.claim(self.out, (), force)
        try:
            shutil.rmtree(self.out / ENTRIES)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ResourceError(f"{self.out}: could not be made ready ({error.strerror or error})") from error
        write_json(self.out / _RUN, settings)
        return False

    def _before(self) -> dict[str, Any] | None:
        """What the run that has left something here was told to do."""
        try:
            before: dict[str, Any] = json.loads((self.out / _RUN).read_bytes())
        except (OSError, ValueError):
            return None
        return before

    def stale(self, names: set[str]) -> None:
        """Remove what a killed run has left of inputs that are there no more."""
        for path in list(self.out.glob(f"*/{files.DIAGNOSIS}")):
            if path.parent.name not in names:
                files.clear(path.parent)

    @contextmanager
    def completing(self, pages: list[str]) -> Iterator[Path]:
        """The folder in which a run is completed, ``pages``: names of results whose pages may be told more."""
        yield self.out
        with suppress(OSError):  # the index is there: what is left of them does no harm
            shutil.rmtree(self.out / ENTRIES)

    @property
    def shown(self) -> str:
        """What people are told of where they are."""
        return str(self.out / files.INDEX)


@dataclass(frozen=True)
class StoreResults:
    """Results in an object store: a study's are made in a folder of the node's own, and uploaded, the entry last."""

    store: Store

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The folder that a study's results are written into."""
        with TemporaryDirectory(prefix="pulmoscope-") as scratch:
            yield Path(scratch)

    def check_shared(self) -> None:
        """Nothing to do: every node reaches the store, or says that it can't."""

    def publish(self, folder: Path, name: str) -> None:
        """Upload a study's results, ``diagnosis.json`` last; what an earlier try has uploaded beyond them is removed.

        Raises:
            ResourceError: the store can't be reached, or written.
        """
        paths = (path for path in (folder / name).rglob("*") if path.is_file())
        made = sorted(path.relative_to(folder / name).as_posix() for path in paths)
        before = [path for path in self.store.found(name) if path.removeprefix(f"{name}/") not in made]
        self.store.remove(sorted(before))
        for file in sorted(made, key=lambda file: (file == files.DIAGNOSIS, file)):
            self.store.write(f"{name}/{file}", (folder / name / file).read_bytes())

    def put_entry(self, key: str, entry: dict[str, Any]) -> None:
        """Write a study's entry."""
        self._put(entry_file(key), entry)

    def entry(self, key: str) -> dict[str, Any] | None:
        """A study's entry; None without one."""
        return self._get(entry_file(key))

    def claim(self, settings: dict[str, Any], force: bool) -> bool:
        """Make ready for a run; whether it goes on with one that was killed (errors: as of a folder)."""
        before, complete = self._get(_RUN), self._get(files.INDEX) is not None
        if not force and not complete and before == settings:
            return True
        results = _ours(self.store.found())
        if results and not force:
            raise OutputExistsError(Path(self.store.url), finding="holds results of a run")
        self.store.remove(results)
        self._put(_RUN, settings)
        return False

    def stale(self, names: set[str]) -> None:
        """Remove what a killed run has left of inputs that are there no more."""
        found = (name for name in _ours(self.store.found()) if "/" in name)
        self.store.remove([name for name in found if name.partition("/")[0] not in {*names, ENTRIES}])

    @contextmanager
    def completing(self, pages: list[str]) -> Iterator[Path]:
        """The folder in which a run is completed; what is made or changed there is uploaded, the index last.

        Raises:
            ResourceError: the store can't be reached, or written.
        """
        with TemporaryDirectory(prefix="pulmoscope-") as scratch:
            folder, before = Path(scratch), {}
            for name in [
                f"{page}/{file}" for page in pages for file in (files.DIAGNOSIS, files.REPORT, files.PDF)
            ]:
                with suppress(FileNotFoundError):  # not every result has a page
                    before[name] = self.store.read(name)
                    write_bytes(folder / name, before[name])
            yield folder
            for name, content in before.items():
                if (after := (folder / name).read_bytes()) != content:
                    self.store.write(name, after)
            for name in (LOCAL_NAMES, files.RESULTS, files.INDEX):
                self.store.write(name, (folder / name).read_bytes())
        self.store.remove(list(self.store.found(ENTRIES)))

    @property
    def shown(self) -> str:
        """What people are told of where they are."""
        return f"{self.store.url}/{files.INDEX}"

    def _get(self, name: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads(self.store.read(name))
        except (FileNotFoundError, ValueError):
            return None
        return content

    def _put(self, name: str, content: dict[str, Any]) -> None:
        self.store.write(name, (json.dumps(content, ensure_ascii=False) + "\n").encode())


Results = FolderResults | StoreResults


def results_at(out: str) -> Results:
    """Where a run's results go, by what the user names."""
    return StoreResults(Store(out.rstrip("/"))) if is_address(out) else FolderResults(Path(out))


def _move(made: Path, target: Path) -> None:
    """Move a study's results where none of ours are; beside files of others they are copied, the diagnosis last.

    Raises:
        OSError, ResourceError: the target can't be written, or others have come in between.
    """
    if not target.exists():
        made.replace(target)
        return
    copied = (path.relative_to(made) for path in made.rglob("*") if path.is_file())
    for file in sorted(copied, key=lambda file: (file == Path(files.DIAGNOSIS), file)):
        write_bytes(target / file, (made / file).read_bytes())


def _ours(found: Iterable[str]) -> list[str]:
    """Those objects below the results' address that a run has written, in an order to remove them in.

    A folder is a study's where a diagnosis is in it, which goes last: what a kill leaves is still known.
    """
    names = list(found)
    studies = {
        folder for folder, _, file in (name.partition("/") for name in names) if file == files.DIAGNOSIS
    }

    def is_ours(name: str) -> bool:
        folder, _, file = name.partition("/")
        own = name in (files.INDEX, files.RESULTS, LOCAL_NAMES) or folder == ENTRIES
        return own or (folder in studies and files.is_written(file))

    def order(name: str) -> tuple[bool, bool, str]:
        return name != files.INDEX, name.endswith(f"/{files.DIAGNOSIS}"), name

    return sorted(filter(is_ours, names), key=order)
