"""The kinds of preprocessing, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.xray import XrayPreprocess

ImagePreprocess = XrayPreprocess | SlicePreprocess
"""Those that frame one image at a time."""
Preprocess = ImagePreprocess | CtPreprocess | Standardisation

PREPROCESS: Mapping[str, type[Preprocess]] = {
    kind.TYPE: kind for kind in (XrayPreprocess, SlicePreprocess, CtPreprocess, Standardisation)
}
"""Type, as recipes and bundles name it → its class."""


def to_plain(preprocess: Preprocess) -> dict[str, Any]:
    """Its ``type`` and all its settings."""
    return {"type": preprocess.TYPE, **asdict(preprocess)}


def from_plain(plain: Mapping[str, Any]) -> Preprocess:
    """The inverse of :func:`to_plain`.

    Raises:
        ValueError: there is no such type, or a setting is missing: a default might not be what a network learnt from.
        TypeError: there is no such setting.
    """
    settings = dict(plain)
    kind = settings.pop("type", None)
    if kind not in PREPROCESS:
        raise ValueError(f"preprocess.type must be one of {', '.join(PREPROCESS)}, found: {kind}")
    if missing := [field.name for field in fields(PREPROCESS[kind]) if field.name not in settings]:
        raise ValueError(f"preprocess must name all settings, missing: {', '.join(missing)}")
    return PREPROCESS[kind](**settings)
