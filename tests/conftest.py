"""What several test files use."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes depends on what else the machine does; it says nothing about the code.
settings.register_profile("pulmoscope", deadline=None)
settings.load_profile("pulmoscope")

# Tests keep no compiled networks in the user's own folder, nor do the processes that they start.
os.environ["PULMOSCOPE_CACHE"] = "off"

# One thread for torch, scikit-learn and BLAS, here and in processes that tests start. Tests run beside each other, and
# threads of OpenMP that find no free processor wait for each other by spinning: up to fifteen times as long. Libraries
# read this when they are loaded, which is after this file.
os.environ["OMP_NUM_THREADS"] = "1"


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux's <signal.h>."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def pytest_runtest_setup() -> None:
    """No test inherits what native libraries left behind for signals.

    torch's data loaders leave a handler of SIGCHLD, and something leaves an alternate stack for handlers that can no
    longer be written: the next child that ends then kills the whole test process, without a word.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        disable = 2  # SS_DISABLE
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_SignalStack(None, disable, 0)), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` with real data beside the repository")
    return folder
