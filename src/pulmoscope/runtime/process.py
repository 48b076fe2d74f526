"""Settings of a process of our own, as the command line is; a library leaves them to the program that uses it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""glibc's names for the settings (``malloc.h``)."""
_KEPT, _OWN_MAPPING, _ARENAS = 64 * 2**20, 8 * 2**20, 2
_COLLECTED = (20_000, 50, 100)
"""Collections of the three generations: 5 while a radiograph is diagnosed, instead of 170."""


def collect_less_often() -> None:
    """Have Python look for cycles of garbage more seldom: imports make many objects that stay, and next to no cycles.

    Of one radiograph's process it saves about 0.05 s of looking. The last look, which Python takes when it ends, finds
    nothing left to look at: another 0.1 s.
    """
    gc.set_threshold(*_COLLECTED)
    atexit.register(gc.freeze)


def one_thread_in_opencv() -> None:
    """Have OpenCV compute in the thread that calls it, where images are read in several threads at once.

    Its own threads would only wait for processors that are busy.
    """
    import cv2  # a twentieth of a second

    cv2.setNumThreads(1)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to 64 MiB in each of two arenas, for whoever allocates next.

    An image takes dozens of arrays of some 100 KiB to some MiB. By default glibc gives them back to the system and asks
    for them again, and the system clears every page each time: a third of the processor time of the quality checks.
    Arrays from 8 MiB on are given back as before. Every thread would have an arena of its own, in which what it has
    freed lies idle while the others ask for more: two lower the peak of a CT. Another C library than glibc is left as
    it is.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TRIM_THRESHOLD, _KEPT)
            mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
            mallopt(_ARENA_MAX, _ARENAS)
