"""A child process measured as a whole: wall time, time of processors, and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    wall_s: float
    cpu_s: float
    peak_mib: float


def measured(command: list[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end; one that fails ends the benchmark with what it said."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}: exit {child.returncode}\n{said.decode(errors='replace')}")
    return Measured(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def pulmoscope() -> str:
    """The command line that is installed beside this Python."""
    return str(Path(sys.executable).with_name("pulmoscope"))
