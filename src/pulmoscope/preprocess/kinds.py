"""The kinds of preprocessing, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.xray import XrayPreprocess

ImagePreprocess = XrayPreprocess | SlicePreprocess
"""Those that frame one image at a time."""
Preprocess = XrayPreprocess | SlicePreprocess | CtPreprocess | Standardisation

PREPROCESS: Mapping[str, type[Preprocess]] = {
    "xray": XrayPreprocess,
    "ct-slice": SlicePreprocess,
    "ct-body": CtPreprocess,
    "ct-standard": Standardisation,
}
"""Kind, as recipes and bundles name it → its class."""


def kind_of(preprocess: Preprocess) -> str:
    """The name of its kind."""
    return next(kind for kind, own in PREPROCESS.items() if isinstance(preprocess, own))


def preprocess_of(plain: Mapping[str, Any]) -> Preprocess:
    """The preprocessing that plain data describe: ``kind`` and all its settings.

    Raises:
        ValueError: there is no such kind, or a setting is missing: a default might not be what a network learnt from.
        TypeError: there is no such setting.
    """
    settings = dict(plain)
    kind = settings.pop("kind", None)
    if kind not in PREPROCESS:
        raise ValueError(f"preprocess.kind must be one of {', '.join(PREPROCESS)}, found: {kind}")
    if missing := [own.name for own in fields(PREPROCESS[kind]) if own.name not in settings]:
        raise ValueError(f"preprocess must name all settings, missing: {', '.join(missing)}")
    return PREPROCESS[kind](**settings)
