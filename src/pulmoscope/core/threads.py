"""Threads: how many a process may compute in, and work that runs in some ahead of whoever takes its results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

SWITCH = "PULMOSCOPE_THREADS"
"""The environment variable that limits them, for a process that shares its machine with others of its kind."""
ONE_THREAD = dict.fromkeys(
    (SWITCH, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
"""The environment of a process that computes in one thread."""


def asked_for() -> int | None:
    """How many threads the environment asks for; None where it says nothing, or no whole number from 1 on."""
    said = os.environ.get(SWITCH, "")
    return int(said) if said.isdecimal() and int(said) > 0 else None


def cores() -> int:
    """How many threads to compute in: as many as the environment asks for, else one a processor."""
    return asked_for() or os.cpu_count() or 1


def ahead(
    threads: ThreadPoolExecutor, work: Callable[[_In], _Out], items: Iterable[_In], limit: int
) -> Iterator[_Out]:
    """Results in order, with at most ``limit`` under way or waiting to be taken: what bounds the memory."""
    waiting: deque[Future[_Out]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # an error, or no one takes any more: what has not begun need not
        for future in waiting:
            future.cancel()
