"""Networks that OpenVINO has compiled, kept in a private folder: loading one takes a third of the time of compiling it.

A stored network is used only where everything that it depends on is the same (the ONNX file, OpenVINO's version, its
settings, the processor, how many of them), where the file is whole, and where it answers a fixed input to the last bit
as the network did that was compiled. Whatever is wrong, the network is compiled, as without a cache; nothing is said.

``PULMOSCOPE_CACHE`` names another folder; ``off`` keeps and reads nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pulmoscope.core.errors import ResourceError
from pulmoscope.core.files import sha256_of, write_bytes

SWITCH = "PULMOSCOPE_CACHE"
MOST_FILES, MOST_BYTES = 24, 256 * 2**20
"""What is kept at most; what was not used for the longest time is removed first."""
_OWN = re.compile(r"[0-9a-f]{64}\.blob|\.pulmoscope-.*\.part")
_DIGEST = hashlib.sha256().digest_size
_SEED = 20


def cached(core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str) -> Any:
    """A compiled network from the cache; None where it has to be compiled.

    Args:
        core: OpenVINO's.
        network: the ONNX file, or both files of OpenVINO's own format.
        device, settings: what it is compiled for.
        version: OpenVINO's.
    """
    folder = _folder()
    if folder is None:
        return None
    file = folder / _name(core, network, device, settings, version)
    try:
        content = file.read_bytes()
        answer, checksum, blob = content[:_DIGEST], content[_DIGEST : 2 * _DIGEST], content[2 * _DIGEST :]
        if hashlib.sha256(blob).digest() != checksum:
            return None
        compiled = core.import_model(io.BytesIO(blob), device, dict(settings))
        if _answer(compiled) != answer:
            return None
    except (OSError, RuntimeError, ValueError):
        return None
    with suppress(OSError):  # of a folder that can't be written
        os.utime(file)
    return compiled


def keep(
    compiled: Any, core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str
) -> None:
    """Put a compiled network into the cache (arguments: see :func:`cached`)."""
    folder = _folder()
    if folder is None:
        return
    with suppress(OSError, RuntimeError, ValueError, ResourceError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder):
            blob = compiled.export_model().getvalue()
            file = folder / _name(core, network, device, settings, version)
            write_bytes(file, _answer(compiled) + hashlib.sha256(blob).digest() + blob)
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
    """Where compiled networks lie; None where none are kept, or the folder is not the user's alone."""
    return _found()[0]


def _found() -> tuple[Path | None, str]:
    """Where compiled networks lie and that in words, or None and why none are kept."""
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


def _name(core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str) -> str:
    """What a compiled network depends on, as the name of its file."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = (
        *(version, platform.machine(), device, str(cores), sha256_of(network)),
        *(str(core.get_property(device, fact)) for fact in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")),
        *(f"{name}={settings[name]}" for name in sorted(settings)),
    )
    return sha256_of("\n".join(facts).encode()) + ".blob"


def _answer(compiled: Any) -> bytes:
    """The checksum of what a compiled network says of a fixed input."""
    rng, request = np.random.default_rng(_SEED), compiled.create_infer_request()
    request.infer([rng.random(tuple(port.shape), dtype=np.float32) for port in compiled.inputs])
    sums = hashlib.sha256()
    for index in range(len(compiled.outputs)):
        sums.update(np.ascontiguousarray(request.get_output_tensor(index).data).data)
    return sums.digest()


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
