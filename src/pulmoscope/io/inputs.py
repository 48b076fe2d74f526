"""Which images the given paths hold: files, folders, zips. Cheap: nothing is decoded here, nothing extracted."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

from pulmoscope.core.errors import InputError, UnreadableError
from pulmoscope.core.files import sha256_of, sha256_of_all
from pulmoscope.core.results import RESULT_FILES
from pulmoscope.core.types import Flag, Modality, SourceFile
from pulmoscope.io import dicomdir
from pulmoscope.io.quiet import decoding, unreadable
from pulmoscope.io.stored import Archive, Member, Stored

LARGEST_FILE = 512 * 2**20
"""bytes; a file or zip member beyond it is refused unread."""
DIGITS = 12
"""Of a checksum, in names."""
LARGEST_RATIO = 200
"""Unpacked / packed bytes of a member above 1 MiB, and of a whole zip: more is a decompression bomb."""

# fmt: off
_IMAGES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".webp", ".bmp",
    ".dcm", ".dicom", ".ima", ".nii", ".mha", ".nrrd", ".zip",
}
_SIDE_FILES = {
    ".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".rst",
    ".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt",
    ".pdf", ".html", ".htm", ".css", ".js", ".xml", ".yaml", ".yml", ".toml",
    ".npy", ".npz", ".ini", ".cfg", ".log", ".sql", ".db", ".py", ".ipynb", ".sh", ".sha256", ".md5", ".bib",
}
# fmt: on
_SIDE_NAMES = {"DICOMDIR", "README", "LICENSE", "LICENCE", "__MACOSX"}


@dataclass(frozen=True)
class Sources:
    """What is known of a scan before anything of it is decoded.

    Attributes:
        files: in slice order.
        remarks: the flags that headers give, and the files that can't be read.
    """

    files: tuple[SourceFile, ...]
    remarks: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One input that will be read, or is already known to be refused.

    Attributes:
        name: as the user named it; a member of a zip as ``archive.zip/member``.
        slug: a file-system-safe name, unique among the entries of one call, and the same for the same inputs.
        source: where the bytes are, or these, or why the input is refused.
        folder: in which it lies, relative to the named path; the path's last part where it lies at the top.
    """

    name: str
    slug: str
    source: Path | Member | Stored | InputError | bytes
    folder: str = ""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file for reading from its beginning, checked as :meth:`read_bytes` does, but for what only its end shows.

        Raises:
            UnreadableError: missing, no regular file, too large, a bomb, protected by a password.
        """
        if isinstance(self.source, InputError):
            raise self.source
        if isinstance(self.source, Member):
            _check_member(self.name, self.source.info)
            with self.source.archive.zip.open(self.source.info) as stream:
                yield stream
        elif isinstance(self.source, bytes):
            yield io.BytesIO(self.source)
        elif isinstance(self.source, Path):
            _check_file(self.name, self.source)
            with self.source.open("rb") as stream:
                yield stream
        else:
            _check_bytes(self.name, self.source.size or 0)
            with self.source.open() as stream:
                yield stream

    def read_bytes(self) -> bytes:
        """The file's bytes.

        Raises:
            UnreadableError: missing, no regular file, too large, a bomb, protected by a password, damaged.
        """
        if isinstance(self.source, InputError):
            raise self.source
        if isinstance(self.source, Member):
            return _member_bytes(self.name, self.source)
        if isinstance(self.source, bytes):
            return self.source
        if isinstance(self.source, Path):
            return _file_bytes(self.name, self.source)
        _check_bytes(self.name, self.source.size or 0)
        content = self.source.read_bytes()
        _check_bytes(self.name, len(content))
        return content

    def stamp(self) -> str:
        """What tells, without reading it, whether the file is another one than before; empty where nothing does."""
        if isinstance(self.source, Path):
            try:
                status = self.source.stat()
            except (OSError, ValueError):
                return ""
            return f"{status.st_size} {status.st_mtime_ns}"
        if isinstance(self.source, Member):
            return f"{self.source.info.file_size} {self.source.info.CRC}"
        return "" if isinstance(self.source, InputError | bytes) else self.source.stamp

    @property
    def size(self) -> int | None:
        """bytes; None where that shows only when it is read."""
        try:
            if isinstance(self.source, Path):
                return self.source.stat().st_size
        except (OSError, ValueError):
            return None
        if isinstance(self.source, Member):
            return self.source.info.file_size
        if isinstance(self.source, bytes):
            return len(self.source)
        return None if isinstance(self.source, InputError) else self.source.size

    def held(self) -> Entry:
        """The same with its bytes, or with why they can't be read: whoever reads it again needs no disk."""
        try:
            return replace(self, source=self.read_bytes())
        except InputError as error:
            return replace(self, source=error)

    @cached_property
    def held_sha256(self) -> str:
        """The checksum of an entry that is :meth:`held`; computed once, as its bytes stay the same."""
        return sha256_of(self.read_bytes())

    def file(self, sha256: str, frame: int = 0) -> SourceFile:
        """What results say of it: a name by its content, so that no path gets out, which may name a patient."""
        packed = PurePosixPath(self.name).suffix.lower() == ".gz"
        kind = PurePosixPath(self.name[:-3] if packed else self.name).suffix.lower()
        suffix = kind + ".gz" * packed if kind in _IMAGES else ""
        return SourceFile(f"{sha256[:DIGITS]}{suffix}", sha256, self.name, frame, self.read_bytes)


def content_name(modality: Modality, sums: Sequence[str]) -> str:
    """What a scan is called by its content: ``xray-`` or ``ct-``, and the first digits of its checksum.

    Args:
        sums: the checksums of its files, in order; at least one.
    """
    return f"{modality.value.lower()}-{sha256_of_all(sums)[:DIGITS]}"


def entries(
    paths: Sequence[Path], without: Path | None = None, passed_over: Callable[[str], None] = lambda _: None
) -> Iterator[Entry]:
    """Every file that may hold an image, in a fixed order: as given, folders and zips sorted.

    Args:
        paths: files, folders and zips.
        without: a folder that is passed over where it lies within one of the paths: that of the results.
        passed_over: called with each folder that holds results of an earlier run, and is left out.

    A file that is named is always an entry. Within folders and zips, hidden files, DICOMDIR and what is plainly no
    image (``.csv``, ``.txt``, ``.html`` …) are left out; a zip within a folder is opened, one within a zip refused.
    A DICOMDIR that is named stands for the files that it lists.
    """
    taken = {"index.json"}  # the pipeline's own file beside the slugs
    for named in map(Path, paths):
        count = 0
        for name, relative, source in _expand(named, without and without.resolve(), passed_over):
            count += 1
            folder = str(PurePosixPath(relative).parent)
            yield Entry(
                name, unique(slug_of(relative), taken), source, named.name if folder == "." else folder
            )
        if count == 0:
            empty = UnreadableError(_shown(named), "no-images", "the folder or zip holds no images")
            yield Entry(_shown(named), unique(slug_of(named.name), taken), empty)


Found = tuple[str, str, Path | Member | InputError]  # name, path relative to what was given, source


def _expand(path: Path, without: Path | None, passed_over: Callable[[str], None]) -> Iterator[Found]:
    """The images of one path as given."""
    if _is_folder(path):
        yield from _folder(path, path, without, passed_over)
    elif _is_zip(path):
        yield from _zip(path, "")
    elif dicomdir.is_dicomdir(path):
        yield from _listed(path)
    else:
        yield _shown(path), path.name, path


def _listed(path: Path) -> Iterator[Found]:
    """The files that a DICOMDIR lists, and what is wrong with the list."""
    try:
        files, problem = dicomdir.listed_files(path, _shown(path))
    except InputError as error:
        files, problem = [], error
    for file in files:
        yield _shown(file), str(file.relative_to(path.parent)), file
    if problem:
        yield _shown(path), path.name, problem


def _folder(
    folder: Path, root: Path, without: Path | None, passed_over: Callable[[str], None]
) -> Iterator[Found]:
    """The images of a folder and its folders, one folder's listing in memory at a time."""
    try:
        with os.scandir(folder) as listing:
            children = sorted((item.name, item.is_dir(follow_symlinks=False)) for item in listing)
    except OSError as error:
        yield _shown(folder), str(folder.relative_to(root)), unreadable(_shown(folder), error)
        return
    if any(name in RESULT_FILES and _is_result(folder / name) for name, _ in children):
        passed_over(_shown(folder))
        return
    for name, is_folder in children:
        path = folder / name
        if left_out(name):
            continue
        relative = path.relative_to(root)
        if is_folder:
            if without is None or path.resolve() != without:
                yield from _folder(path, root, without, passed_over)
        elif _is_zip(path):
            yield from _zip(path, f"{relative.with_suffix('')}/")
        else:
            yield _shown(path), str(relative), path


def _is_result(path: Path) -> bool:
    """Whether a file is a result that Pulmoscope wrote."""
    try:
        return is_result(path.read_bytes())
    except OSError:
        return False


def is_result(content: bytes) -> bool:
    """Whether a file's content is a result that Pulmoscope wrote."""
    try:
        return "pulmoscope" in json.loads(content)["software"]
    except (ValueError, KeyError, TypeError):
        return False


def _zip(path: Path, prefix: str) -> Iterator[Found]:
    """The images of a zip, or the reason why it is refused."""
    archive = Archive(path)
    try:
        with decoding(_shown(path)):
            members = sorted(archive.zip.infolist(), key=lambda info: info.filename)
            unpacked, packed = sum(info.file_size for info in members), path.stat().st_size
            if unpacked > LARGEST_FILE and unpacked > LARGEST_RATIO * packed:
                raise _bomb(_shown(path), unpacked // packed)
    except InputError as error:
        yield _shown(path), prefix or path.name, error
        return
    for info in members:
        parts = [part for part in re.split(r"[/\\]", info.filename) if part]
        if info.is_dir():
            continue
        name = f"{_shown(path)}/{_shown(info.filename)}"
        if ".." in parts or not parts or re.match(r"[/\\]|[A-Za-z]:", info.filename):
            escaping = UnreadableError(name, "unsafe-name", "its name leads out of the zip")
            yield name, prefix + "/".join(part for part in parts if part != ".."), escaping
        elif not any(left_out(part) for part in parts):
            yield name, prefix + info.filename, Member(archive, info)


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder; False where that is unknown, and then reading it as a file says why."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_zip(path: Path) -> bool:
    """Whether a file calls itself a zip and begins like one (an empty zip included)."""
    try:
        if path.suffix.lower() != ".zip" or not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
    except (OSError, ValueError):
        return False  # then reading it as an image says why


def left_out(name: str) -> bool:
    """Whether a file or folder within what was given is passed over."""
    path = PurePosixPath(name)
    return (
        name.startswith(".")
        or name in _SIDE_NAMES
        or path.suffix.lower() in _SIDE_FILES
        or name.lower() in ("thumbs.db", "desktop.ini")
    )


def _file_bytes(name: str, path: Path) -> bytes:
    """Read a file that is regular and not too large."""
    try:
        _check_file(name, path)
        return path.read_bytes()
    except OSError as error:
        raise unreadable(name, error) from error
    except ValueError as error:  # a null character in its name
        raise UnreadableError(name, "not-found", "there can't be a file of such a name") from error


def _check_file(name: str, path: Path) -> None:
    """Refuse what is no regular file, or too large."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError(name, "not-a-file", "no file but a device, pipe or folder")
    _check_bytes(name, status.st_size)


def _check_bytes(name: str, size: int) -> None:
    if size > LARGEST_FILE:
        rule = f"a file has at most {LARGEST_FILE // 2**20} MiB"
        raise UnreadableError(name, "too-large", f"{size // 2**20} MiB", rule)


def _member_bytes(name: str, member: Member) -> bytes:
    """Read a zip member into memory, after its header has been checked."""
    _check_member(name, member.info)
    with decoding(name):
        return member.archive.zip.read(member.info)  # stops at file_size, and checks the CRC


def _check_member(name: str, info: zipfile.ZipInfo) -> None:
    """Refuse, by its directory entry, a member that can't or must not be unpacked."""
    if info.flag_bits & 1:
        raise UnreadableError(name, "encrypted", "it is protected by a password")
    _check_bytes(name, info.file_size)
    if info.file_size > max(2**20, LARGEST_RATIO * info.compress_size):
        raise _bomb(name, info.file_size // max(1, info.compress_size))


def _bomb(name: str, ratio: int) -> UnreadableError:
    finding = f"it unpacks to {ratio} times its packed size"
    return UnreadableError(name, "decompression-bomb", finding, f"at most {LARGEST_RATIO} times")


def _shown(path: Path | str) -> str:
    """A path as one printable line of valid Unicode."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def slug_of(relative: str) -> str:
    """A file-system-safe name from a relative path: ``COVID/images/x 1.png`` → ``COVID_images_x_1``."""
    path = PurePosixPath(relative)
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    stem = str(path.with_suffix("")) if path.suffix.lower() in _IMAGES else relative
    safe = re.sub(r"[^\w.-]+", "_", _shown(stem)).strip("._-")
    # Long names keep their end, which is where names differ; 120 bytes leave room for suffixes.
    return safe.encode()[-120:].decode("utf-8", "ignore").strip("._-") or "image"


def unique(slug: str, taken: set[str]) -> str:
    """The slug, or with the first free of -2, -3 …, regardless of capitals; noted as taken."""
    candidate, number = slug, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{slug}-{number}"
    taken.add(candidate.casefold())
    return candidate
