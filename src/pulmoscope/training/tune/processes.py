"""Jobs spread over a few processes: a process that dies costs its job only, and none outlives its parent."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


RunJobs = Callable[[Callable[[Any], Any], Iterable[Any], int], Iterator[tuple[Any, Any]]]
"""As :func:`run_jobs`, wherever the processes are."""


class Died(Exception):  # noqa: N818  (an answer, not raised)
    """Given instead of an answer: the process that did the job is gone, for lack of memory most likely."""


def run_jobs(
    work: Callable[[Job], Answer], jobs: Iterable[Job], processes: int
) -> Iterator[tuple[Job, Answer | Died]]:
    """Do every job in one of ``processes`` processes, which live on from job to job.

    Args:
        jobs: the next is asked for when a process is free.
        work: a function of a module, picklable as its argument and answer are. It should answer, not raise: an
            exception ends its process.

    Yields:
        each job with its answer, in the order in which they end.
    """
    todo = iter(jobs)
    idle: list[tuple[Connection, BaseProcess]] = []
    busy: dict[Connection, tuple[BaseProcess, Job]] = {}
    try:
        while True:
            for job in itertools.islice(todo, processes - len(busy)):
                connection, process = idle.pop() if idle else _start(work)
                busy[connection] = process, job
                with suppress(BrokenPipeError):  # it has died; reading tells
                    connection.send(job)
            if not busy:
                return
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, job = busy.pop(ready)
                try:
                    answer = ready.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    answer = Died(f"the process ended with code {process.exitcode}")
                else:
                    idle.append((ready, process))
                yield job, answer
    finally:
        for process in [*(process for _, process in idle), *(process for process, _ in busy.values())]:
            process.terminate()
            process.join()


def _start(work: Callable[[Any], Any]) -> tuple[Connection, BaseProcess]:
    # A forked copy of a process that has run torch or OpenCV hangs in their thread pools: spawn.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        connection.send(work(connection.recv()))


def _end_with_parent() -> None:
    """Also where the parent was killed and could tell nobody: its end of a pipe closes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
