"""Child processes measured as a whole: wall time, time of processors, peak memory, and energy where it can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from bench.energy import used_j, zones


@dataclass(frozen=True)
class Measured:
    """Of one process, or of several that ran at once.

    Attributes:
        wall_s: from the start of the first to the end of the last.
        cpu_s: of all processors, in user and system mode.
        peak_mib: the largest resident set; of several processes the sum of theirs.
        energy_j: of the processor packages, whoever used them; None where it can't be read.
        output: what was printed.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    energy_j: float | None = None
    output: str = field(default="", repr=False)


def measured(command: list[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end; one that fails ends the benchmark with what it said."""
    return measured_together([command], environment)


def measured_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> Measured:
    """Run commands at once, to the end of all; one that fails ends the benchmark with what it said."""
    with ExitStack() as opened:
        outputs = [opened.enter_context(TemporaryFile()) for _ in commands]
        _forget_peak()
        before, start = zones(), time.perf_counter()
        children = [
            subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
            for command, output in zip(commands, outputs, strict=True)
        ]
        usages = []
        for child in children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            usages.append(usage)
        wall_s = time.perf_counter() - start
        energy = used_j(before, zones())
        printed = []
        for output in outputs:
            output.seek(0)
            printed.append(output.read().decode(errors="replace"))
    for child, command, text in zip(children, commands, printed, strict=True):
        if child.returncode not in (0, 3):  # 3: some inputs were refused, the others done
            sys.exit(f"{' '.join(command)}: exit {child.returncode}\n{text}")
    return Measured(
        wall_s,
        sum(usage.ru_utime + usage.ru_stime for usage in usages),
        sum(usage.ru_maxrss for usage in usages) / 1024,
        energy,
        "".join(printed),
    )


def _forget_peak() -> None:
    """Have Linux forget how large this process ever was: a child's peak begins with that of the process it comes from.

    What this process holds now is the least that can be measured.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5)


def pulmoscope() -> str:
    """The command line that is installed beside this Python."""
    return str(Path(sys.executable).with_name("pulmoscope"))
