from __future__ import annotations

import errno

import pytest
import torch

from pulmoscope.core.errors import ResourceError
from pulmoscope.training.hardware import (
    clear_about_resources,
    find_device,
    find_precision,
    gpu_busy,
    told_precision,
)


def test_the_cpu_is_always_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["tpu", "gpu", "cuda:99", "cuda:-1", "", "mps:x"])
def test_a_device_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(ResourceError, match=f"device {name}: "):
        find_device(name)


def test_without_bf16_it_computes_in_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False)
    assert find_precision("auto", cpu) == "32-true"
    without = told_precision("32-true", cpu)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert find_precision("auto", cpu) == "bf16-mixed"
    with_it = told_precision("32-true", cpu)  # as was asked
    assert "fp32" in without
    assert "fp32" in with_it
    assert "bf16" in without
    assert "bf16" not in with_it
    assert "bf16" in told_precision("bf16-mixed", cpu)


def test_a_cpu_is_no_busy_gpu() -> None:
    assert gpu_busy(torch.device("cpu")) is None


def test_a_gpu_that_can_not_tell_how_busy_it_is_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        """As NVIDIA's library has it: of no nearer base class."""

    def unknown(_: torch.device) -> int:
        raise NVMLError

    monkeypatch.setattr(torch.cuda, "utilization", unknown)
    assert gpu_busy(torch.device("cuda")) is None
    monkeypatch.setattr(torch.cuda, "utilization", lambda _: 50)
    assert gpu_busy(torch.device("cuda")) == 0.5


def test_precision_is_as_asked() -> None:
    cpu = torch.device("cpu")
    assert find_precision("32", cpu) == "32-true"
    assert find_precision("bf16", cpu) == "bf16-mixed"
    assert find_precision("auto", cpu) in ("32-true", "bf16-mixed")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory ran out"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (RuntimeError("file write failed: No space left on device"), "disk is full"),
    ],
)
def test_running_out_is_told_in_one_line(error: Exception, says: str) -> None:
    with pytest.raises(ResourceError, match=f"here: .*{says}") as told, clear_about_resources("here"):
        raise error
    assert "\n" not in str(told.value)


def test_what_helps_is_said_as_it_applies() -> None:
    with (
        pytest.raises(ResourceError, match="go on with the same command"),
        clear_about_resources("here", "the same command"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(ResourceError, match="try fewer films"),
        clear_about_resources("here", relief="fewer films"),
    ):
        raise MemoryError


def test_memory_that_is_really_not_there_is_told() -> None:
    with pytest.raises(ResourceError, match="memory ran out"), clear_about_resources("here"):
        torch.empty(2**60, dtype=torch.uint8)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shape"), clear_about_resources("here"):
        raise RuntimeError("shape")
    with pytest.raises(PermissionError), clear_about_resources("here"):
        raise PermissionError(errno.EACCES, "denied")
