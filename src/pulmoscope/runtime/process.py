"""Settings of a process of our own, as the command line is; a library leaves them to the program that uses it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names for the two settings (``malloc.h``)."""
_KEPT, _OWN_MAPPING = 64 * 2**20, 8 * 2**20


def one_thread_in_opencv() -> None:
    """Have OpenCV compute in the thread that calls it, where images are read in several threads at once.

    Its own threads would only wait for processors that are busy.
    """
    import cv2  # a twentieth of a second

    cv2.setNumThreads(1)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to 64 MiB a thread, for whoever allocates next.

    An image takes dozens of arrays of some 100 KiB to some MiB. By default glibc gives them back to the system and asks
    for them again, and the system clears every page each time: a third of the processor time of the quality checks.
    Arrays from 8 MiB on are given back as before. Another C library than glibc is left as it is.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TRIM_THRESHOLD, _KEPT)
            mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
