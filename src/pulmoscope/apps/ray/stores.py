"""Object stores, by their addresses for fsspec (``s3://bucket/prefix``): their images, and results in them.

How a store is reached (endpoint, credentials) is read where fsspec and the store's own library look for it, on every
node: ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` … or ``FSSPEC_S3``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import IO, Any, overload

from pulmoscope.apps.ray.retries import tried
from pulmoscope.core.errors import PulmoscopeError, ResourceError, UnreadableError
from pulmoscope.core.results import RESULT_FILES
from pulmoscope.core.threads import ahead
from pulmoscope.io.inputs import Entry, is_result, left_out, slug_of, unique

HEAD = 2**16
"""bytes of an object that are read to see what it is; more where its header is longer."""
REQUESTS = 16
"""Objects that are looked at at a time."""


def is_address(text: str) -> bool:
    """Whether a text is the address of something that is in no local file system."""
    return "://" in text


@dataclass(frozen=True)
class Store:
    """A place in an object store.

    Attributes:
        url: as fsspec takes it.
    """

    url: str

    @property
    def _shown(self) -> str:
        return self.url.partition("?")[0]

    def _asked(self, request: Callable[[Any, str], Any], name: str = "") -> Any:
        files, root = _system(self.url)
        return tried(self._shown, lambda: request(files, f"{root}/{name}" if name else root))

    def found(self, name: str = "") -> dict[str, dict[str, Any]]:
        """Every object below a name: its name relative to the store's, and what the store says of it."""
        _, root = _system(self.url)
        try:
            listed = self._asked(lambda files, path: files.find(path, detail=True), name)
        except FileNotFoundError:
            return {}
        return {path[len(root) :].lstrip("/"): about for path, about in listed.items()}

    def read(self, name: str, most: int | None = None) -> bytes:
        """An object's bytes; ``most``: so many from its beginning.

        Raises:
            FileNotFoundError: there is none.
            ResourceError: the store can't be reached.
        """
        # s3fs fetches a large object in many requests at a time, unless it is told.
        more = {"max_concurrency": 1} if self.url.startswith(("s3://", "s3a://")) else {}
        content: bytes = self._asked(lambda files, path: files.cat_file(path, end=most, **more), name)
        return content

    def opened(self, name: str, size: int) -> IO[bytes]:
        """An object for reading from its beginning: only as much is fetched as is read."""
        head = _head(self, name, size)
        if size <= HEAD:
            return io.BytesIO(head)
        return io.BufferedReader(_Rest(head, lambda: self.read(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write an object; it is there whole or not at all.

        Raises:
            ResourceError: the store can't be reached, or written.
        """
        self._asked(lambda files, path: files.pipe_file(path, content), name)

    def remove(self, names: list[str]) -> None:
        """Remove objects; what is not there is no error."""
        for name in names:
            try:
                self._asked(lambda files, path: files.rm_file(path), name)
            except FileNotFoundError:
                continue

    def entries(
        self, taken: set[str], without: str = "", passed_over: Callable[[str], None] = lambda _: None
    ) -> Iterator[Entry]:
        """Every object that may hold an image, in the order of a folder that holds the same files.

        Args:
            taken: the slugs that others have; added to.
            without: the address of the results, which may lie among the images.
            passed_over: called with the address of each folder of results, which is left out.

        Raises:
            ResourceError: the store can't be reached.
        """
        found = self.found()
        own = without.removeprefix(self.url).strip("/") if without.startswith(f"{self.url}/") else None
        results = {
            str(PurePosixPath(name).parent)
            for name in found
            if PurePosixPath(name).name in RESULT_FILES and is_result(self.read(name))
        }
        for folder in sorted(results):
            passed_over(f"{self.url}/{folder}")
        count, top = 0, PurePosixPath(self.url).name
        for name in sorted(found, key=lambda name: PurePosixPath(name).parts):
            parents = {str(parent) for parent in PurePosixPath(name).parents}
            if parents & results or (own is not None and own in parents):
                continue
            if name and not any(left_out(part) for part in PurePosixPath(name).parts):
                count += 1
                folder, (size, stamp) = str(PurePosixPath(name).parent), _about(found[name])
                source = StoredObject(self, name, size, stamp)
                shown = str(PurePosixPath(self.url) / name)
                yield Entry(shown, unique(slug_of(name), taken), source, top if folder == "." else folder)
        if count == 0:
            shown = str(PurePosixPath(self.url))
            empty = UnreadableError(shown, "no-images", "the store holds no images below this name")
            yield Entry(shown, unique(slug_of(top), taken), empty)


class LookedAhead(Sequence[Entry]):
    """Entries whose heads are being fetched, some at a time, before whoever goes through them looks at them.

    Args:
        entries: of stores, and of elsewhere.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        if not any(isinstance(entry.source, StoredObject) for entry in self._entries):
            yield from self._entries
            return
        with ThreadPoolExecutor(REQUESTS) as threads:
            yield from ahead(threads, _with_head, self._entries, 4 * REQUESTS)


@dataclass(frozen=True)
class StoredObject:
    """An object of a store as the source of an entry."""

    store: Store
    name: str
    size: int
    stamp: str

    def open(self) -> IO[bytes]:
        """The object for reading from its beginning.

        Raises:
            ResourceError: the store can't be reached.
        """
        return self.store.opened(self.name, self.size)

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises:
            UnreadableError: it is no longer there.
            ResourceError: the store can't be reached.
        """
        try:
            return self.store.read(self.name)
        except FileNotFoundError as error:
            raise UnreadableError(self.name, "not-found", "the object is no longer there") from error


def _with_head(entry: Entry) -> Entry:
    """The same entry, its head at hand."""
    if isinstance(entry.source, StoredObject):
        with suppress(UnreadableError, FileNotFoundError):  # looking at it says what is wrong
            entry.source.open().close()
    return entry


@lru_cache(maxsize=1024)
def _head(store: Store, name: str, size: int) -> bytes:
    """The head of an object, or all of a small one; those asked for last are kept."""
    return store.read(name) if size <= HEAD else store.read(name, HEAD)


class _Rest(io.RawIOBase):
    """The head of an object, and all of it once more is wanted."""

    def __init__(self, head: bytes, rest: Callable[[], bytes]) -> None:
        self._held, self._rest, self._at = head, rest, 0
        self._whole = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._fetch()
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._held)}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= len(self._held):
            self._fetch()
        part = self._held[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _fetch(self) -> None:
        if not self._whole:
            self._held, self._whole = self._rest(), True


def _about(found: dict[str, Any]) -> tuple[int, str]:
    """Size in bytes of an object, and what changes with its content."""
    mark = found.get("ETag") or found.get("etag") or found.get("mtime") or found.get("LastModified") or ""
    return int(found.get("size") or 0), f"{found.get('size')} {mark}"


@cache
def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system, and the path within it.

    Raises:
        PulmoscopeError: there is no such kind of store.
        ResourceError: what reaches it is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ResourceError(f"{url}: needs fsspec; pip install 'pulmoscope[scale]'") from error
    try:
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise ResourceError(f"{url}: no library for this store is installed ({error})") from error
    except ValueError as error:
        raise PulmoscopeError(f"{url}: no store that is known ({error})") from error
    return files, path.rstrip("/")
