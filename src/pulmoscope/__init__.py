"""Pulmoscope reads chest X-rays for COVID-19. Research use only; not a medical device.

``pulmoscope.diagnose(path)`` is the one-line entry; the command line is ``pulmoscope --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "diagnose"]

if TYPE_CHECKING:
    from pulmoscope.pipeline.diagnose import diagnose


def __getattr__(name: str) -> Any:
    """Import the main flow on first use, so that ``import pulmoscope`` is quick."""
    if name == "diagnose":
        from pulmoscope.pipeline.diagnose import diagnose

        return diagnose
    raise AttributeError(f"module 'pulmoscope' has no attribute {name!r}")
