from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from pulmoscope.runtime.process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()

def work():  # 20 MiB in 40 arrays, all freed at its end
    return sum(array[0] for array in [np.ones(2**16, dtype=np.float64) for _ in range(40)])

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_is_freed_is_used_again_without_asking_the_system() -> None:
    """Each round touches 5,120 pages of 4 KiB; memory that was given back costs a page fault a page."""

    def faults(how: str) -> int:
        child = subprocess.run(
            [sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True
        )
        return int(child.stdout)

    assert faults("kept") < 1000 < faults("as-it-is")


ARENAS = """
import ctypes, re, sys, threading
from pulmoscope.runtime.process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
together = threading.Barrier(8)

def work():
    together.wait()
    held = [bytes(1000) for _ in range(100)]
    together.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
stream = libc.fdopen
stream.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(stream(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_threads_share_two_arenas() -> None:
    def arenas(how: str) -> int:
        child = subprocess.run(
            [sys.executable, "-c", ARENAS, how], check=True, capture_output=True, text=True
        )
        return child.stdout.count("<heap nr=")

    assert arenas("kept") <= 2 < arenas("as-it-is")
