"""How the processes that train together are started: by this one, by torchrun, or by whoever sets its variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from pulmoscope.core.errors import DatasetError, PulmoscopeError, RecipeError, ResourceError
from pulmoscope.training.hardware import find_device, find_precision

Work = Callable[[Fabric], None]
"""What each process does; picklable: a function of a module, or a partial one."""
Launch = Callable[[Work, str, str], None]
"""Has work done by all processes, each on a GPU of its own or on the CPU.

Its arguments are the work, a device (``auto``, ``cpu`` or ``cuda``) and a precision (``auto``, ``32`` or ``bf16``).

It raises RecipeError, DatasetError or ResourceError where one of the processes did, or where one has ended."""

_PATIENCE = timedelta(days=7)
"""How long processes wait while the first one reads images or writes the model; that one has ended is known at once."""


def spawned(processes: int) -> Launch:
    """So many processes of this machine, which end with the work."""

    def launch(work: Work, device: str, precision: str) -> None:
        where = find_device(device)
        if where.type == "cuda" and torch.cuda.device_count() < processes:
            raise ResourceError(
                f"--processes {processes}: each needs a GPU of its own (found: {torch.cuda.device_count()})"
            )
        fabric = Fabric(
            accelerator=where.type,
            devices=processes,
            strategy=DDPStrategy(start_method="spawn", process_group_backend=_backend(where)),
            plugins=LightningEnvironment(),  # whatever Slurm or MPI have in the environment
            precision=find_precision(precision, where),
        )
        try:
            fabric.launch(work)
        except ProcessRaisedException as error:
            raise _error_of(str(error)) from error

    return launch


def take_part(work: Work, device: str, precision: str) -> None:
    """Do this process's part, where others have been started beside it.

    ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``LOCAL_WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` say which, as
    torchrun sets them.
    """
    where, here = find_device(device), int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(
        accelerator=where.type,
        devices=here,
        num_nodes=int(os.environ["WORLD_SIZE"]) // here,
        strategy=DDPStrategy(process_group_backend=_backend(where)),
        plugins=TorchElasticEnvironment(),
        precision=find_precision(precision, where),
    )
    fabric.launch()
    work(fabric)


@contextmanager
def leading(device: str) -> Iterator[Launch]:
    """For the first of the processes that torchrun started; the others :func:`follow` until it is left."""
    with _joined(device):
        training = False

        def launch(work: Work, device: str, precision: str) -> None:
            nonlocal training
            _shared((work, device, precision))
            training = True
            take_part(work, device, precision)
            training = False

        try:
            yield launch
        finally:
            if not training:  # else this process has failed amid its work, and the others wait for its part
                _shared(None)


def follow(device: str) -> None:
    """For torchrun's other processes: do the parts that the first one hands out."""
    with _joined(device):
        while (todo := _shared(None)) is not None:
            take_part(*todo)


@contextmanager
def _joined(device: str) -> Iterator[None]:
    """Among torchrun's processes."""
    where = find_device(device)
    if where.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group(_backend(where), timeout=_PATIENCE)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _shared(thing: Any) -> Any:
    """What the first process gives all of them."""
    things = [thing]
    torch.distributed.broadcast_object_list(things)
    return things[0]


def _backend(device: torch.device) -> str:
    return "nccl" if device.type == "cuda" else "gloo"


def _error_of(traceback: str) -> PulmoscopeError:
    """The error that a process ended with, from the last line of its traceback."""
    kind, _, message = traceback.strip().splitlines()[-1].partition(": ")
    kinds = {
        kind_of_error.__name__: kind_of_error for kind_of_error in (RecipeError, DatasetError, ResourceError)
    }
    kind_of_error = kinds.get(kind.rpartition(".")[2])
    return (
        kind_of_error(message)
        if kind_of_error
        else ResourceError(f"a process of the training has ended ({kind}: {message})")
    )
