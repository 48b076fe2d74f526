"""Work that runs in threads ahead of whoever takes its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


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
