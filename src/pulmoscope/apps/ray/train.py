"""Processes on the nodes of a cluster that train one network together.

What they read and write lies in the run's folder, which every node must see under the same path. A worker that is lost
ends the others; all are started anew, and go on from the last epoch that was saved.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pulmoscope.apps.ray.cluster import connect
from pulmoscope.core.errors import DatasetError, PulmoscopeError, RecipeError, ResourceError

if TYPE_CHECKING:
    from pulmoscope.training.parallel.launch import Launch, Work

TRIES = 3
"""Times that the workers are started."""
POLL = 1.0
"""How often the first worker is asked for what it has to say; s."""


@contextmanager
def training_on(on: str, processes: int | None) -> Iterator[Launch]:
    """What starts the processes, while the cluster is connected.

    Args:
        on: the cluster (see :func:`pulmoscope.apps.ray.cluster.connect`).
        processes: None: one a GPU, or on a cluster without any one a logical processor but the last.

    Raises:
        PulmoscopeError, ResourceError: see :func:`pulmoscope.apps.ray.cluster.connect`.
    """
    with connect(on) as ray:

        def launch(work: Work, device: str, precision: str) -> None:
            kind, there = place_of(ray, device)
            count = processes or max(1, there - (kind == "CPU"))
            if count > there:
                raise ResourceError(f"--processes {count}: the cluster has {there} {kind}s")
            needs = {"num_cpus": 1, "num_gpus": int(kind == "GPU")}
            device = "cuda" if kind == "GPU" else "cpu"
            for left in reversed(range(TRIES)):
                try:
                    _train(ray, [needs] * count, work, device, precision)
                    return
                except ray.exceptions.RayError as error:
                    lost = type(error).__name__
                    if not left:
                        raise ResourceError(f"a process of the training has ended ({lost})") from error
                    typer.echo(f"a worker was lost ({lost}); going on from the last epoch", err=True)

        yield launch


def place_of(ray: Any, device: str) -> tuple[str, int]:
    """What a process of a training needs one of, ``GPU`` or ``CPU``, and how many of these the cluster has.

    Args:
        device: ``auto``: GPUs where there are any.
    """
    there = ray.cluster_resources()
    kind = "GPU" if device.startswith("cuda") or (device == "auto" and there.get("GPU")) else "CPU"
    return kind, int(there.get(kind, 0))


def _train(ray: Any, needs: list[dict[str, int]], work: Work, device: str, precision: str) -> None:
    """Do the work once.

    Raises:
        PulmoscopeError: a worker raised it.
        RayError: one was lost.
    """
    workers = [ray.remote(max_concurrency=2, **each)(_Worker).remote(Path.cwd()) for each in needs]
    try:
        address, port = ray.get(workers[0].meeting_point.remote())
        variables = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": str(len(workers))}
        parts = [
            worker.train.remote({**variables, "RANK": str(rank)}, work, device, precision)
            for rank, worker in enumerate(workers)
        ]
        printed = 0
        while parts:
            done, parts = ray.wait(parts, timeout=POLL)
            text = ray.get(workers[0].said.remote(printed))
            sys.stderr.write(text)
            printed += len(text)
            for error in ray.get(done):
                if error is not None:
                    raise error
    finally:
        for worker in workers:
            ray.kill(worker)


class _Worker:
    """One of the processes, on a node of the cluster.

    Args:
        folder: where the command was given, so that paths mean the same.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._said = folder, io.StringIO()

    def meeting_point(self) -> tuple[str, int]:
        """An address of this node, and a port that is free there."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def train(
        self, variables: dict[str, str], work: Work, device: str, precision: str
    ) -> PulmoscopeError | None:
        """Take part in the work; what is the user's business is given, not raised."""
        from pulmoscope.training.parallel.launch import take_part

        os.environ.update({**variables, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"})
        try:
            if not self._folder.is_dir():
                raise ResourceError(f"{self._folder}: {socket.gethostname()} does not see this folder")
            os.chdir(self._folder)
            with contextlib.redirect_stderr(self._said):
                take_part(work, device, precision)
        except (RecipeError, DatasetError, ResourceError) as error:
            return error
        return None

    def said(self, since: int) -> str:
        """What was written to standard error, from that character on."""
        return self._said.getvalue()[since:]
