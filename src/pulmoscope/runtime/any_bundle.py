"""A bundle of whatever kind, told by its manifest."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.runtime import bundle, severity_bundle, study_bundle
from pulmoscope.runtime.bundle import Bundle, read_manifest
from pulmoscope.runtime.severity_bundle import SeverityBundle
from pulmoscope.runtime.study_bundle import StudyBundle

AnyBundle = Bundle | StudyBundle | SeverityBundle


def kind_of(model: str | Path) -> str:
    """``image``, ``three-level`` or ``severity`` (errors: see :func:`read_manifest`)."""
    return str(read_manifest(model)[1].get("kind", "image"))


def load_any(model: str | Path) -> AnyBundle:
    """Load and verify a bundle of any kind (errors: those of the kind's own ``load``)."""
    kind = kind_of(model)
    if kind == study_bundle.KIND:
        return study_bundle.load(model)
    return severity_bundle.load(model) if kind == severity_bundle.KIND else bundle.load(model)
