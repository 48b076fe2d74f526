"""What a run of the benchmarks tells about its machine: its kind, never its name."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pulmoscope.core.software import versions as software

PACKAGES = ("torch", "timm", "onnxruntime", "monai", "nibabel", "torchio", "torchxrayvision", "nncf")
INSTRUCTIONS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
)
"""Those that decide how quick a network is."""


def machine() -> dict[str, Any]:
    """CPU, cores, instructions, what OpenVINO makes of them, and memory."""
    from pulmoscope.runtime.openvino_backend import import_quietly

    facts = _cpuinfo()
    core = import_quietly().Core()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "openvino": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
    }


def kind(facts: dict[str, Any]) -> str:
    """Machines of one kind have comparable ratios."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {' '.join(facts['instructions']) or facts['architecture']}"
    )


def versions() -> dict[str, str]:
    """Of Python, of Pulmoscope, and of the packages that are measured."""
    return software(*PACKAGES)


def commit(root: Path) -> dict[str, Any]:
    """The state of the source: its commit, and whether it was changed since; None where git does not say."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "changed": None if changed is None else bool(changed)}


def busy() -> float:
    """How many processes waited for a processor in the last minute, for each core: near 0 on a quiet machine."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines in ``/proc/cpuinfo``."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
