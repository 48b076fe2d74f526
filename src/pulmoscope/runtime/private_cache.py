"""What was compiled, kept in a folder that is the user's alone, and believed only where it can't be anyone else's.

What is kept runs as code when it is used again. So the folder must be the user's own, closed to everyone else; a file
must be a regular one of the user's that nobody else can write; and its content must have the checksum that it begins
with. Whatever is wrong, nothing is kept or read, and nothing is said.

``PULMOSCOPE_CACHE`` names another folder; ``off`` keeps and reads nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pulmoscope.core.errors import ResourceError
from pulmoscope.core.files import write_bytes

SWITCH = "PULMOSCOPE_CACHE"
MOST_FILES, MOST_BYTES = 64, 256 * 2**20
"""What is kept at most; what was not used for the longest time is removed first."""
_OWN = re.compile(r"[0-9a-f]{64}\.(blob|page)|\.pulmoscope-.*\.part")
_DIGEST = hashlib.sha256().digest_size


def load(name: str) -> bytes | None:
    """What was kept under a name; None where nothing was, or it can't be trusted."""
    folder = _folder()
    if folder is None:
        return None
    try:
        content = _read_own(folder / name)
    except OSError:
        return None
    if content is None or hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        return None
    with suppress(OSError):  # of a folder that can't be written
        os.utime(folder / name)
    return content[_DIGEST:]


def save(name: str, content: bytes) -> None:
    """Keep something under a name: 64 hexadecimal digits, and ``.blob`` for a network, ``.page`` for a page."""
    folder = _folder()
    if folder is None:
        return
    with suppress(OSError, ResourceError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder):
            write_bytes(folder / name, hashlib.sha256(content).digest() + content)
            _prune(folder)


class State(NamedTuple):
    """Whether compiled networks are kept.

    Attributes:
        used: whether they are.
        text: where, or why not, in words that name nobody's folders.
        networks, size: how many lie there, and their bytes.
    """

    used: bool
    text: str
    networks: int = 0
    size: int = 0


def state() -> State:
    """The cache as it is found; nothing is written."""
    folder, text = _found()
    if folder is None:
        return State(False, text)
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        return State(False, f"{text} can't be written")
    sizes = [path.stat().st_size for path in folder.glob("*.blob")]
    return State(True, text, len(sizes), sum(sizes))


def _folder() -> Path | None:
    """Where what was compiled lies; None where none are kept, or the folder is not the user's alone."""
    return _found()[0]


def _found() -> tuple[Path | None, str]:
    """Where what was compiled lies and that in words, or None and why none are kept."""
    named, below = os.environ.get(SWITCH, ""), Path("pulmoscope", "compiled")
    if named.lower() == "off":
        return None, f"{SWITCH}={named}"
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if named:
            folder, text = Path(named).expanduser(), f"the folder of {SWITCH}"
        elif base.is_absolute():
            folder, text = base / below, f"$XDG_CACHE_HOME/{below}"
        else:  # the XDG Base Directory Specification ignores a relative one
            folder, text = Path.home() / ".cache" / below, f"~/.cache/{below}"
        if folder.exists() and not _is_private(folder):
            return None, f"{text} is not a folder of yours alone (mode 0700)"
    except (OSError, RuntimeError):
        return None, "there is no home"
    return folder, text


def _is_private(folder: Path) -> bool:
    """Whether a folder is the user's own, and nobody else may write into it or read it."""
    if sys.platform == "win32":
        return folder.is_dir()
    status = folder.lstat()
    return folder.is_dir() and status.st_uid == os.getuid() and status.st_mode & 0o077 == 0


def _read_own(file: Path) -> bytes | None:
    """A file's content; None where it may be someone else's, left from when the folder was open to others."""
    with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as stream:
        status = os.fstat(stream.fileno())
        trusted = stat.S_ISREG(status.st_mode) and (
            sys.platform == "win32" or (status.st_uid == os.getuid() and status.st_mode & 0o022 == 0)
        )
        return stream.read() if trusted else None


def _prune(folder: Path) -> None:
    """Remove what goes beyond the limits, of whatever version, and what a kill has left of a file under way.

    Whatever else lies in a folder that somebody has named is left alone.
    """
    own = [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]
    files = sorted(((path.stat(), path) for path in own), key=lambda file: -file[0].st_mtime)
    total = 0
    for number, (status, path) in enumerate(files):
        total += status.st_size
        if number >= MOST_FILES or total > MOST_BYTES:
            path.unlink(missing_ok=True)
