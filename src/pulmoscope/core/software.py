"""What a result was made with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from pulmoscope.core.version import VERSION

PACKAGES = ("numpy", "opencv-python-headless", "openvino", "pydicom")


_OF_RUNTIME = {"onnx": "onnxruntime", "torch": "torch"}
"""The package that a runtime is; OpenVINO is among those that are always listed."""


@cache
def versions_with(runtime: str) -> dict[str, str]:
    """:func:`versions` of a diagnosis by this runtime."""
    return versions(*([_OF_RUNTIME[runtime]] if runtime in _OF_RUNTIME else []))


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, of what reads and computes, and of the packages named; absent ones are left out."""
    installed = {"python": platform.python_version(), "pulmoscope": VERSION}
    for package in (*PACKAGES, *more):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
