"""A child process that can't reach a network, and what it tried: the proof that something is silent.

Three blocks, of which the first always works and the others do wherever the machine allows them:

- an audit hook in every Python interpreter that the child starts (through ``sitecustomize``) refuses and records each
  attempt to resolve a name, connect, bind or send;
- ``unshare`` takes all network interfaces away from the child, so that nothing can leave it, Python or not;
- ``strace`` records each Internet socket that the child or a descendant opens, Python or not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOOK = """
import os, sys

REFUSED = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto",
           "socket.sendmsg"}

def refuse(event, arguments):
    if event in REFUSED:
        with open(os.environ["PULMOSCOPE_TEST_ATTEMPTS"], "a") as log:
            log.write(f"{event} {arguments[-1]!r}\\n")
        raise OSError(f"{event}: this process has no network")

sys.addaudithook(refuse)
"""


@dataclass(frozen=True)
class Silence:
    """How a child without a network ended. ``attempts`` has a line for every use of a network that it tried."""

    returncode: int
    stdout: str
    stderr: str
    attempts: tuple[str, ...]


def run_without_network(command: Sequence[str | Path], folder: Path, timeout_s: float = 60) -> Silence:
    """Run ``command`` with no network; ``folder`` is an empty one for what is recorded.

    The child has a home of its own in ``folder`` and no variable that says «CI»: telemetry that hides where it
    has been refused once, or is being tested, comes out.
    """
    (folder / "home").mkdir(parents=True)
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    python_log, trace = folder / "attempts.txt", folder / "trace.txt"
    environment = {name: value for name, value in os.environ.items() if "CI" not in name.split("_")}
    environment |= {
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(folder / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PULMOSCOPE_TEST_ATTEMPTS": str(python_log),
    }
    tracing = ["strace", "-f", "-qq", "-e", "trace=socket", "-e", "signal=none", "-o", str(trace)]
    prefix = [*(["unshare", "-r", "-n"] if has_unshare() else []), *(tracing if has_strace() else [])]
    ended = subprocess.run(
        [*prefix, *map(str, command)], env=environment, capture_output=True, text=True, timeout=timeout_s
    )
    attempts = python_log.read_text(encoding="utf-8").splitlines() if python_log.exists() else []
    if trace.exists():
        lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
        attempts += [line for line in lines if "AF_INET" in line]
    return Silence(ended.returncode, ended.stdout, ended.stderr, tuple(attempts))


@cache
def has_unshare() -> bool:
    """Whether this user may take the network from a child."""
    return sys.platform == "linux" and _works(["unshare", "-r", "-n", "true"])


@cache
def has_strace() -> bool:
    """Whether this user may trace a child."""
    return sys.platform == "linux" and _works(["strace", "-f", "-qq", "-e", "trace=socket", "true"])


def _works(command: list[str]) -> bool:
    return (
        shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0
    )
