"""Keeping the decoders' complaints about a file off stderr.

They quote what stands in the file, and that may name a patient. What matters of them becomes our own one line.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import logging
import re
import threading
import warnings

_FILTERS = [
    ("ignore", None, kind, re.compile(r"(PIL|pydicom)\."), 0) for kind in (UserWarning, RuntimeWarning)
]
_LOCK = threading.Lock()


def quieten_decoders() -> None:
    """Have what Pillow and pydicom warn or log about a file's content ignored; all other warnings stay.

    ``warnings.catch_warnings`` would not do: it swaps the filters of all threads, and files are read in threads.
    """
    for library in ("PIL", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with _LOCK:
        if any(rule not in warnings.filters for rule in _FILTERS):
            for _, _, kind, module, _ in _FILTERS:
                warnings.filterwarnings("ignore", category=kind, module=module.pattern)


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
