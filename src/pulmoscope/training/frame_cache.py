"""Framed images kept on disk, so that a data set is decoded once for many runs.

A cache is a folder of packs, each a file of up to :data:`PACKED` framed images, uncompressed, with a checksum of each
part (NumPy's ``npz``). An image is found by the SHA-256 of its file and its readers' boxes, a pack by the settings of
the preprocessing and by the package's own code that reads and frames: nothing that has changed is ever found. A pack is
written whole or not at all, and damaged ones are made anew, so that a killed run loses one pack at most, and several
processes may share a cache. Where the disk is full nothing more is kept, and the run goes on.

The packs hold patients' images: the folder is for its owner alone (mode 0700).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import uuid
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import ResourceError
from pulmoscope.core.files import sha256_of, sha256_of_all, sha256_of_file, write_bytes
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.preprocess.kinds import ImagePreprocess, to_plain
from pulmoscope.recipes.recipe import Recipe

T = TypeVar("T")

NONE = "none"
"""A recipe's ``cache`` that keeps no framed images."""
PACKED = 512
"""Framed images in a pack: what a kill can cost."""
LIMIT = 20 * 2**30
"""The most bytes of a cache; beyond it, what has not been used for longest is removed."""

_AFTER_FRAMING = ("mean", "std")
_CODE = ("core", "io", "preprocess", "segment", "runtime/model.py", "training/frames.py")
_PACKAGES = ("pillow", "simplejpeg", "imagecodecs", "python-gdcm")
"""What decides how a file becomes a framed image: parts of this package, and others that decode."""


class FramedSample(NamedTuple):
    """A sample as the cache keeps it.

    Attributes:
        image: uint8 (size, size).
        lungs, opacities: uint8 (side, side), maps of the framed image; empty (0, 0) where nobody asked.
        boxed: whether a reader's boxes are in ``opacities``.
    """

    image: npt.NDArray[np.uint8]
    lungs: npt.NDArray[np.uint8]
    opacities: npt.NDArray[np.uint8]
    boxed: bool


def frame_cache_of(recipe: Recipe, own: Path | None) -> Path | None:
    """Where images of a recipe are kept framed: its own folder, else the one given; None: nowhere."""
    if recipe.cache == NONE:
        return None
    return Path(recipe.cache) if recipe.cache else own


class FrameCache:
    """The framed images of one way of preprocessing.

    Args:
        folder: of the cache; made where it is not there.
        preprocess: of the recipe.
        maps: whether maps of lungs and opacities are kept too.
        finder: the lung finder's file, where one is used.
        tell: called once, with a line, where no more can be kept.

    Raises:
        ResourceError: the folder can't be made.
    """

    def __init__(
        self,
        folder: Path,
        preprocess: ImagePreprocess,
        maps: bool,
        finder: Path | None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._packs = folder / settings_key(preprocess, maps, finder)
        self._tell, self._full = tell, False
        self._new: dict[str, FramedSample] = {}
        self._lock = threading.Lock()
        self._known: dict[str, FramedSample] = {}
        self._pack_of: dict[str, Path] = {}  # of what is not read yet: other data sets' may fill the memory
        try:
            for made in (folder, self._packs):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._packs.chmod(0o700)  # where it was there; somebody else's is refused
            for pack in sorted(self._packs.glob("*.npz")):
                self._pack_of |= dict.fromkeys(_read(pack, _keys), pack)
            os.utime(self._packs)  # used now
            prune(folder, self._packs)
        except OSError as error:
            raise ResourceError(f"{folder}: can't hold framed images ({error.strerror or error})") from error

    def through(
        self, table: SampleTable, frame: Callable[[Sample], FramedSample]
    ) -> Callable[[Sample], FramedSample]:
        """``frame``, asked only for what is not in the cache, and its answers kept; may be called in threads."""

        def kept(sample: Sample) -> FramedSample:
            key = _sample_key(table, sample)
            found = self._found(key)
            if found is None:
                found = frame(sample)
                self._add(key, found)
            return found

        return kept

    def _found(self, key: str) -> FramedSample | None:
        with self._lock:
            if key not in self._known and (pack := self._pack_of.pop(key, None)) is not None:
                self._known |= _read(pack, _framed)
            return self._known.get(key)

    def _add(self, key: str, framed: FramedSample) -> None:
        if not key:
            return
        with self._lock:
            if self._full:
                return
            self._new[key] = framed
            pack = self._new if len(self._new) >= PACKED else {}
            self._new = {} if pack else self._new
        self._keep(pack)

    def close(self) -> None:
        """Write what is not yet written."""
        with self._lock:
            rest, self._new = self._new, {}
        self._keep(rest)

    def _keep(self, pack: Mapping[str, FramedSample]) -> None:
        """Write a pack; from the first that the disk does not take nothing more is kept."""
        if not pack:
            return
        try:
            _write(pack, self._packs)
        except ResourceError as error:
            with self._lock:
                first, self._full, self._new = not self._full, True, {}
            if first:
                self._tell(f"{error}; the run goes on without keeping framed images")


def settings_key(preprocess: ImagePreprocess, maps: bool, finder: Path | None) -> str:
    """What framed images depend on besides the file: hexadecimal, the same in every process."""
    plain = {name: value for name, value in to_plain(preprocess).items() if name not in _AFTER_FRAMING}
    found = {
        "preprocess": plain,
        "maps": maps,
        "finder": None if finder is None else sha256_of_file(finder),
        "code": _code(),
        "software": versions(*_PACKAGES),
    }
    return sha256_of(json.dumps(found, sort_keys=True).encode())[:32]


def prune(folder: Path, used: Path, limit: int = LIMIT) -> None:
    """Remove what has not been used for longest until a cache is no larger than ``limit`` bytes; never ``used``."""
    packs = {own: sum(file.stat().st_size for file in own.glob("*.npz")) for own in _settings_folders(folder)}
    total = sum(packs.values())
    for own in sorted(packs, key=lambda own: own.stat().st_mtime):
        if total <= limit:
            return
        if own != used:
            total -= packs[own]
            shutil.rmtree(own, ignore_errors=True)


def _settings_folders(folder: Path) -> list[Path]:
    """The cache's own folders; whatever else lies in a folder that somebody has named is left alone."""
    hexadecimal = set("0123456789abcdef")
    return [
        own
        for own in folder.iterdir()
        if own.is_dir() and len(own.name) == 32 and set(own.name) <= hexadecimal
    ]


@cache
def _code() -> str:
    """The checksum of the package's own code that reads and frames."""
    root = Path(__file__).parents[1]
    parts = [root / name for name in _CODE]
    files = [file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py"))]
    return sha256_of_all([sha256_of_file(file) for file in sorted(files)])


def _sample_key(table: SampleTable, sample: Sample) -> str:
    """The file's checksum with the readers' boxes; empty where the file can't be read."""
    try:
        content = sha256_of_file(table.path(sample))
    except OSError:
        return ""
    return sha256_of(json.dumps([content, [list(map(float, box)) for box in sample.boxes]]).encode())


def _write(framed: Mapping[str, FramedSample], packs: Path) -> None:
    images, lungs, opacities, boxed = zip(*framed.values(), strict=True)
    stream = io.BytesIO()
    np.savez(
        stream,
        keys=np.array(list(framed)),
        image=np.stack(images),
        lungs=np.stack(lungs),
        opacities=np.stack(opacities),
        boxed=np.array(boxed),
    )
    write_bytes(packs / f"{uuid.uuid4().hex}.npz", stream.getvalue())


def _read(pack: Path, what: Callable[[Mapping[str, Any]], dict[str, T]]) -> dict[str, T]:
    """What a pack holds, by key; one that can't be read holds nothing, and a damaged one is removed.

    Raises:
        OSError: it can't be removed.
    """
    try:
        with pack.open("rb") as stream, np.load(stream) as arrays:
            return what(arrays)
    except OSError:  # another process has removed it, or it lies on a disk that is gone
        return {}
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        pack.unlink(missing_ok=True)
        return {}


def _keys(arrays: Mapping[str, Any]) -> dict[str, None]:
    """The keys alone: the rest stays on the disk."""
    return dict.fromkeys(arrays["keys"].tolist())


def _framed(arrays: Mapping[str, Any]) -> dict[str, FramedSample]:
    keys, *fields = (arrays[name] for name in ("keys", "image", "lungs", "opacities", "boxed"))
    rows = [FramedSample(*row) for row in zip(*fields, strict=True)]
    return dict(zip(keys.tolist(), rows, strict=True))
