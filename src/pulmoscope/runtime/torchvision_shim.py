"""Lets torchvision be imported beside a torch whose operators its binary does not fit.

PyPI's torchvision wheel is built for PyPI's torch. Beside a CPU-only torch its library of operators can't be loaded,
and its import ends with «operator torchvision::nms does not exist», as it registers a shape rule for two operators
that are missing then. timm imports torchvision where it is installed, so it fails too.
Declaring the two operators (without a body: nothing here calls them) lets the import go through.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import torch

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: list[torch.library.Library] = []  # a declaration lasts as long as its Library object


def declare_missing_operators() -> None:
    """Declare torchvision's operators where its own library can't be loaded; call it before the first import.

    May be called any number of times; does nothing where torchvision is absent or its own library works.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return
    for library in Path(package.origin).parent.glob("_C.*"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            declaration = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            declaration.define(operator + SIGNATURE)  # type: ignore[no-untyped-call]
            _declared.append(declaration)
