"""``pulmoscope doctor``: what is installed, what works, and what is missing."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from pulmoscope.apps.cli.versions import versions

if TYPE_CHECKING:
    from pulmoscope.runtime.network import Runtime

LEAST_FREE_GIB = 1.0
"""Free disk space below this is pointed out."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's: ``ok``, ``missing`` (optional), or ``broken`` (then nothing can be diagnosed)."""

    what: str
    state: str
    detail: str


def command() -> None:
    """Check this installation. Exit code 1: something essential is broken."""
    broken = False
    for check in _checks():
        typer.echo(f"{check.state:<8} {check.what:<26} {check.detail}")
        broken |= check.state == "broken"
    if broken:
        raise typer.Exit(1)


def _checks() -> Iterator[Check]:
    """Every check; a library that can't be loaded, such as for want of a shared one, ends its own part only."""
    for what, part in (
        ("machine", _machine),
        ("packages", _packages),
        ("versions", _versions),
        ("precisions", _precisions),
        ("runtimes", _runtimes),
        ("compiled networks", _compiled),
    ):
        try:
            yield from part()
        except ImportError as error:
            yield Check(what, "broken", " ".join(f"can't be looked at: {error}".split()))


def _machine() -> Iterator[Check]:
    yield Check("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    state = "ok" if free >= LEAST_FREE_GIB else "missing"
    yield Check("free disk space here", state, f"{free:.1f} GiB")


def _packages() -> Iterator[Check]:
    """Each requirement of the package: one without an extra is essential."""
    from importlib.metadata import requires

    extras: dict[str, list[str]] = {}
    for line in requires("pulmoscope") or []:
        name = line.split(";")[0].strip()
        package = re.split(r"[^\w.-]", name)[0]
        extra = line.partition("extra == ")[2].strip("\"'")
        version = _version(package)
        if extra:
            extras.setdefault(extra, []).extend([package] if version is None else [])
        else:
            yield Check(
                package, "broken" if version is None else "ok", version or f"is not installed; needed: {name}"
            )
    for extra, absent in extras.items():
        state = "missing" if absent else "ok"
        yield Check(f"extra {extra}", state, f"without {', '.join(absent)}" if absent else "all there")


def _versions() -> Iterator[Check]:
    """Package, models and schemas, as ``--version`` tells them; of each model also whether it is whole."""
    from pulmoscope.core.errors import BundleError
    from pulmoscope.runtime import xray_severity
    from pulmoscope.runtime.bundle import built_in, load

    def version(model: str) -> str:
        return (xray_severity.load(model) if model == xray_severity.BUILT_IN else load(model)).version

    if not built_in():
        yield Check("built-in models", "missing", "none")
    for what, number in versions().items():
        kind, _, name = what.partition(" ")
        try:
            checked = f"{version(name)}, all checksums right" if kind == "model" else number
            yield Check(what, "ok", checked)
        except BundleError as error:
            yield Check(what, "broken", str(error))


def _precisions() -> Iterator[Check]:
    """What this CPU computes with, and at which precision each built-in model runs here."""
    from pulmoscope.core.errors import BundleError
    from pulmoscope.runtime.bundle import built_in, load
    from pulmoscope.runtime.openvino_backend import capabilities

    able = [name for name in capabilities() if name in ("FP32", "BF16", "FP16", "INT8")]
    has = _instructions()
    instructions = f"; instructions: {', '.join(sorted(has))}" if has else ""
    yield Check("CPU", "ok", f"OpenVINO computes in {', '.join(able)}{instructions}")
    for name in built_in():
        try:
            export = load(name).export
        except BundleError:
            continue  # the versions say so
        pinned = "fp32" if export is None else export.precision
        runs, why = pinned, "as it was made"
        if pinned == "bf16" and "BF16" not in able:
            runs, why = "fp32", "this CPU has no bf16"
        elif pinned == "int8" and has and not has & {"avx_vnni", "avx512_vnni", "amx_int8"}:
            why = "this CPU has no VNNI or AMX: hardly quicker than fp32"
        yield Check(f"precision of {name}", "ok", f"{pinned} in the bundle; runs {runs} ({why})")


def _instructions() -> set[str]:
    """Which of the instructions that networks gain by this CPU has; empty where that can't be known."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return set()
    return flags & {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}


def _runtimes() -> Iterator[Check]:
    """One inference of the first built-in model in each runtime; OpenVINO is the essential one."""
    runtimes: tuple[Runtime, ...] = ("openvino", "onnx", "torch")
    for runtime in runtimes:
        yield _runtime(runtime)
    if "torch" in sys.modules:
        yield _devices()


def _runtime(runtime: Runtime) -> Check:
    import numpy as np

    from pulmoscope.core.errors import BundleError, ResourceError
    from pulmoscope.runtime.bundle import built_in, load
    from pulmoscope.runtime.model import Model

    package = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "onnx2torch"}[runtime]
    failed = "broken" if runtime == "openvino" else "missing"
    installed = _version(package)
    if installed is None:
        return Check(f"runtime {runtime}", failed, f"{package} is not installed")
    if not built_in():
        return Check(f"runtime {runtime}", "ok", f"{package} {installed}; no model to try it on")
    try:
        start = perf_counter()
        bundle = load(next(iter(built_in())))
        model = Model(bundle, runtime, "cpu")
        opened = perf_counter()
        shape = (1, bundle.preprocess.channels, bundle.preprocess.size, bundle.preprocess.size)
        model.predict(np.zeros(shape, dtype=np.float32))
        first = perf_counter()
        model.predict(np.zeros(shape, dtype=np.float32))
    except (BundleError, ResourceError) as error:
        return Check(f"runtime {runtime}", failed, str(error))
    return Check(
        f"runtime {runtime}",
        "ok",
        f"{package} {installed}: opened in {opened - start:.2f} s, "
        f"an image takes {(perf_counter() - first) * 1000:.0f} ms",
    )


def _compiled() -> Iterator[Check]:
    """Whether networks that OpenVINO has compiled are kept; the runtimes' trial has kept one, if so."""
    from pulmoscope.runtime.private_cache import state

    found = state()
    kept = f"{found.networks} kept in {found.text}, {found.size / 2**20:.1f} MiB"
    detail = kept if found.used else f"none are kept: {found.text}"
    yield Check("compiled networks", "ok" if found.used else "missing", detail)


def _devices() -> Check:
    torch = sys.modules["torch"]
    count = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    return Check("CUDA devices", "ok" if count else "missing", names or "none; the CPU is used")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
