"""A recipe's settings: changed by dotted path, and to and from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulmoscope.training.recipe import Recipe


def apply(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Change settings: ``["phases.0.epochs=3", "classes=COVID,Normal", "model.weights=PATH"]``."""
    raise NotImplementedError


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON-ready data."""
    raise NotImplementedError


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """The inverse of :func:`to_plain`."""
    raise NotImplementedError
