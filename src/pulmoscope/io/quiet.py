"""What decoders find wrong with a file becomes our own one line, and nothing of it reaches stderr.

They quote what stands in the file, and that may name a patient.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib.util
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pulmoscope.core.errors import InputError, UnreadableError

_FILTERS = [
    ("ignore", None, kind, re.compile(r"(PIL|pydicom|highdicom)\."), 0)
    for kind in (UserWarning, RuntimeWarning)
]
_LOCK = threading.Lock()
_Result = TypeVar("_Result")
_LIBJPEG = re.compile(r"Corrupt JPEG|Invalid JPEG|Bogus|Huffman|marker")


def quieten_decoders() -> None:
    """Have what Pillow, pydicom and highdicom warn or log about a file's content ignored; all other warnings stay.

    ``warnings.catch_warnings`` would not do: it swaps the filters of all threads, and files are read in threads.
    """
    for library in ("PIL", "pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with _LOCK:
        if any(rule not in warnings.filters for rule in _FILTERS):
            for _, _, kind, module, _ in _FILTERS:
                warnings.filterwarnings("ignore", category=kind, module=module.pattern)


def refuse_truncated() -> None:
    """Have Pillow raise an error where an image's data end or can't be decoded, instead of filling it up with black.

    That is its default, but WeasyPrint, which sets reports on paper, switches it over when it is imported, for the
    whole process. It stays as set here: giving it back would open a gap for images that other threads read.
    """
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn what decoders raise at damaged bytes, errors of any class, into our own one line, without a chain.

    Args:
        name: the file, for the message.

    Raises:
        InputError: as it came from within.
        UnreadableError: anything else.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise UnreadableError(name, "out-of-memory", "it does not fit into this machine's memory") from None
    except EOFError:
        raise UnreadableError(name, "truncated", "the file ends before its image does") from None
    except Exception as error:
        # An invalid argument is a place in the file that a damaged directory names.
        if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
            raise unreadable(name, error) from None
        raise UnreadableError(name, "damaged", "damaged: its data can't be decoded") from None


def unreadable(name: str, error: OSError) -> UnreadableError:
    """What the system says of a file or folder that it can't give, as our own one line."""
    if isinstance(error, FileNotFoundError):
        return UnreadableError(name, "not-found", "there is no such file")
    return UnreadableError(name, "not-readable", f"it can't be read: {error.strerror}")


@functools.cache
def silence_libtiff() -> None:
    """Have Pillow's libtiff print nothing; Pillow itself raises an error all the same.

    Pillow has no setting for this, so libtiff's own is called in the very copy that Pillow is linked to. Where it is
    linked in statically, it can't be found, and libtiff goes on printing.
    """
    with contextlib.suppress(AttributeError):
        extension = importlib.util.find_spec("PIL._imaging")
        set_handler = ctypes.CDLL(extension.origin if extension else None).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


def with_complaints(decode: Callable[[], _Result]) -> tuple[_Result, str]:
    """Call GDCM or ITK, and give with its result what its libjpeg printed: the only sign of a damaged lossless JPEG.

    There is no setting for it, so the process's stderr leads to a file for these milliseconds. Both hold Python's
    lock meanwhile, so that other threads hardly write then.
    """
    with _LOCK, tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        try:
            os.dup2(caught.fileno(), 2)
            result = decode()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        caught.seek(0)
        lines = caught.read().decode("ascii", "replace").splitlines()
    return result, next((line for line in lines if _LIBJPEG.search(line)), "")
