"""Trials of a search on the nodes of a cluster.

The search's folder, its journal in it, and the data must be seen by every node under the same path: trials tell their
figures there, and ask there whether they are worth going on with.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pulmoscope.apps.ray.cluster import connect
from pulmoscope.apps.ray.train import TRIES, place_of
from pulmoscope.core.errors import PulmoscopeError, ResourceError

if TYPE_CHECKING:
    from pulmoscope.training.tune.processes import Died, RunJobs

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@contextmanager
def trials_on(on: str, device: str, out: Path) -> Iterator[tuple[RunJobs, int]]:
    """What does trials on a cluster, while it is connected, and how many at a time.

    Args:
        on: the cluster (see :func:`pulmoscope.apps.ray.cluster.connect`).
        device: of each trial.
        out: the search's folder.

    Raises:
        PulmoscopeError, ResourceError: see :func:`pulmoscope.apps.ray.cluster.connect`.
    """
    with connect(on) as ray:
        kind, there = place_of(ray, device)
        needs = {"num_cpus": 1, "num_gpus": int(kind == "GPU")}
        task = partial(
            ray.remote(max_retries=TRIES - 1, **needs)(_done_in).remote, Path.cwd(), out.absolute()
        )
        yield partial(_run_jobs, ray, task), max(1, there - (kind == "CPU"))


def _run_jobs(
    ray: Any, task: Any, work: Callable[[Job], Answer], jobs: Iterable[Job], processes: int
) -> Iterator[tuple[Job, Answer | Died]]:
    """As :func:`pulmoscope.training.tune.processes.run_jobs`: each job a task, begun again where its node is lost."""
    from pulmoscope.training.tune.processes import Died

    todo, busy = iter(jobs), dict[Any, Job]()
    try:
        while True:
            for job in itertools.islice(todo, processes - len(busy)):
                busy[task(work, job)] = job
            if not busy:
                return
            for ready in ray.wait([*busy])[0]:
                job = busy.pop(ready)
                try:
                    answer = ray.get(ready)
                except ray.exceptions.RayError as error:
                    cause = getattr(error, "cause", None)
                    if isinstance(cause, PulmoscopeError):
                        raise cause from error
                    answer = Died(f"its worker was lost {TRIES} times ({type(error).__name__})")
                yield job, answer
    finally:
        for ready in busy:
            ray.cancel(ready, force=True)


def _done_in(folder: Path, out: Path, work: Callable[[Job], Answer], job: Job) -> Answer:
    """The job's answer, computed where the command was given, so that paths mean the same.

    Raises:
        ResourceError: this node does not see the folders.
    """
    for needed in (folder, out):
        if not needed.is_dir():
            raise ResourceError(f"{needed}: {socket.gethostname()} does not see this folder")
    os.chdir(folder)
    return work(job)
