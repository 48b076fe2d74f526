"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("pulmoscope", "numpy", "opencv-python-headless", "openvino", "pydicom")


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, of what reads and computes, and of the packages named; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
