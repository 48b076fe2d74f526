"""Which preprocessing an image's modality has."""

from __future__ import annotations

from collections.abc import Mapping

from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.xray import XrayPreprocess

Preprocess = XrayPreprocess | SlicePreprocess

PREPROCESS: Mapping[str, type[Preprocess]] = {"XRAY": XrayPreprocess, "CT": SlicePreprocess}
"""Modality, as recipes and bundles name it → the class of its preprocessing."""
