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
