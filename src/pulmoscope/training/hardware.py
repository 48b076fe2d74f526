"""Which device and precision a run takes, and a clear word when memory or disk runs out."""

from __future__ import annotations

import ctypes
import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from pulmoscope.core.errors import ResourceError

Precision = Literal["32-true", "bf16-mixed"]

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets, and names the precision


def find_device(name: str) -> torch.device:
    """``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ResourceError: no such device.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ResourceError(f"device {name}: must be auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda") or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ResourceError(f"device {name}: is not there (CUDA devices: {torch.cuda.device_count()})")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ResourceError(f"device {name}: this torch finds no CUDA device")
        return torch.device("cuda", device.index or 0)
    return torch.device("cpu")


def find_precision(asked: str, device: torch.device) -> Precision:
    """bf16 where asked for, or with ``auto`` where the hardware computes in it; else single precision."""
    if asked == "auto":
        asked = "bf16" if _computes_in_bf16(device) else "32"
    return "bf16-mixed" if asked == "bf16" else "32-true"


def told_precision(precision: Precision, device: torch.device) -> str:
    """In what a run computes, and why not in bf16."""
    if precision == "bf16-mixed":
        return "bf16 where that is safe, else fp32"
    kind = "GPU" if device.type == "cuda" else "CPU"
    return "fp32" if _computes_in_bf16(device) else f"fp32: this {kind} does not compute in bf16"


def gpu_busy(device: torch.device) -> float | None:
    """The fraction of the last moments in which a GPU computed.

    None on a CPU, or where NVIDIA's library for it (``nvidia-ml-py``) is not installed or can't tell, as of a part of a
    GPU (MIG).
    """
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device) / 100
    except Exception:  # the library's errors share no nearer base class; a figure is not worth a training run
        return None


def fabric_of(device: torch.device, precision: Precision = "32-true") -> Fabric:
    """What the training loop runs on: one device, in this process."""
    cuda = device.type == "cuda"
    return Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if cuda else 1,
        plugins=LightningEnvironment(),  # whatever Slurm, MPI or torchrun have in the environment
        precision=precision,
    )


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for these
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


@contextmanager
def clear_about_resources(
    doing: str,
    go_on: str = "--resume",
    relief: str = "a smaller --set batch_size=… or --set preprocess.size=…",
) -> Iterator[None]:
    """Turn the many ways in which memory and disk run out into one ResourceError.

    Args:
        doing: what was going on, for the message.
        go_on: how to go on when the disk has room again.
        relief: what needs less memory.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(_memory(doing, relief)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise ResourceError(_memory(doing, relief)) from error
        if "No space left" in str(error):
            raise ResourceError(_disk(doing, go_on)) from error
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(_disk(doing, go_on)) from error


def _memory(doing: str, relief: str) -> str:
    return f"{doing}: memory ran out; try {relief}"


def _disk(doing: str, go_on: str) -> str:
    return f"{doing}: the disk is full; make room and go on with {go_on}"


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, instead of giving it back to the kernel after every batch.

    glibc unmaps large blocks when they are freed; training on a CPU then spends most of its time on page faults
    (measured: 10 to 23 images/s instead of 82). Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**27)
        mallopt(mmap_max, 0)
