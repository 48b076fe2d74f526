"""Pulmoscope reads chest X-rays and CT for COVID-19. Research use only; not a medical device.

``pulmoscope.diagnose(path)`` is the one-line entry. What a researcher composes is beside it: ``read_scan``,
``open_model``, ``predict``, ``heat_maps``, ``find_lungs``, ``measure_severity``, ``load_data``, ``evaluate``,
``survey_places``, ``write_dicom`` (see docs/python.md). Each is imported when it is first used. The command line is
``pulmoscope --help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulmoscope.core.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from pulmoscope.core.types import Diagnosis, Explanation, Prediction, Scan
    from pulmoscope.io import read_scan
    from pulmoscope.pipeline.api import (
        diagnose_many,
        evaluate,
        find_lungs,
        heat_maps,
        load_data,
        measure_severity,
        open_model,
        predict,
        read_scans,
        survey_places,
        write_dicom,
    )
    from pulmoscope.pipeline.diagnose import diagnose
    from pulmoscope.pipeline.diagnose_films import diagnose_films

_HOME = {
    "Diagnosis": "core.types",
    "Explanation": "core.types",
    "Prediction": "core.types",
    "Scan": "core.types",
    "diagnose": "pipeline.diagnose",
    "diagnose_films": "pipeline.diagnose_films",
    "diagnose_many": "pipeline.api",
    "evaluate": "pipeline.api",
    "find_lungs": "pipeline.api",
    "heat_maps": "pipeline.api",
    "load_data": "pipeline.api",
    "measure_severity": "pipeline.api",
    "open_model": "pipeline.api",
    "predict": "pipeline.api",
    "read_scan": "io",
    "read_scans": "pipeline.api",
    "survey_places": "pipeline.api",
    "write_dicom": "pipeline.api",
}
"""Where each public name lives: imported on first use, so that ``import pulmoscope`` is quick."""

__all__ = [
    "Diagnosis",
    "Explanation",
    "Prediction",
    "Scan",
    "__version__",
    "diagnose",
    "diagnose_films",
    "diagnose_many",
    "evaluate",
    "find_lungs",
    "heat_maps",
    "load_data",
    "measure_severity",
    "open_model",
    "predict",
    "read_scan",
    "read_scans",
    "survey_places",
    "write_dicom",
]


def __getattr__(name: str) -> Any:
    """A public name, imported from where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'pulmoscope' has no attribute {name!r}")
    return getattr(import_module(f"pulmoscope.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
