"""Networks that OpenVINO has compiled, kept in the private cache: loading one takes a third of the time of compiling.

A stored network is used only where everything that it depends on is the same (the ONNX file, OpenVINO's version, its
settings, the processor, how many of them), where :mod:`pulmoscope.runtime.private_cache` trusts the file, and where it
answers a fixed input to the last bit as the network did that was compiled. Whatever is wrong, the network is compiled,
as without a cache; nothing is said.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from pulmoscope.core.files import sha256_of
from pulmoscope.runtime import private_cache

_DIGEST = hashlib.sha256().digest_size
_SEED = 20
_FORMAT = "2"
"""Of a file: of another version the files have other names, so that two versions don't replace each other's."""


def cached(core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str) -> Any:
    """A compiled network from the cache; None where it has to be compiled.

    Args:
        core: OpenVINO's.
        network: the ONNX file, or both files of OpenVINO's own format.
        device, settings: what it is compiled for.
        version: OpenVINO's.
    """
    content = private_cache.load(_name(core, network, device, settings, version))
    if content is None:
        return None
    answer, blob = content[:_DIGEST], content[_DIGEST:]
    with suppress(RuntimeError, ValueError):
        compiled = core.import_model(io.BytesIO(blob), device, dict(settings))
        if _answer(compiled) == answer:
            return compiled
    return None


def keep(
    compiled: Any, core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str
) -> None:
    """Put a compiled network into the cache (arguments: see :func:`cached`)."""
    with suppress(RuntimeError, ValueError):
        content = _answer(compiled) + compiled.export_model().getvalue()
        private_cache.save(_name(core, network, device, settings, version), content)


def _name(core: Any, network: bytes, device: str, settings: Mapping[str, str], version: str) -> str:
    """What a compiled network depends on, as the name of its file."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = (
        *(_FORMAT, version, platform.machine(), device, str(cores), sha256_of(network)),
        *(str(core.get_property(device, fact)) for fact in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")),
        *(f"{name}={settings[name]}" for name in sorted(settings)),
    )
    return sha256_of("\n".join(facts).encode()) + ".blob"


def _answer(compiled: Any) -> bytes:
    """The checksum of what a compiled network says of a fixed input."""
    rng, request = np.random.default_rng(_SEED), compiled.create_infer_request()
    request.infer([rng.random(tuple(port.shape), dtype=np.float32) for port in compiled.inputs])
    sums = hashlib.sha256()
    for index in range(len(compiled.outputs)):
        sums.update(np.ascontiguousarray(request.get_output_tensor(index).data).data)
    return sums.digest()
