"""Pulmoscope reads chest X-rays for COVID-19. Research use only; not a medical device.

``pulmoscope.diagnose(path)`` is the one-line entry, for one scan; ``pulmoscope.diagnose_films(folder)`` gives the films
of one study their one answer. The command line is ``pulmoscope --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "diagnose", "diagnose_films"]

if TYPE_CHECKING:
    from pulmoscope.pipeline.diagnose import diagnose
    from pulmoscope.pipeline.diagnose_films import diagnose_films


def __getattr__(name: str) -> Any:
    """Import the main flow on first use, so that ``import pulmoscope`` is quick."""
    if name == "diagnose":
        from pulmoscope.pipeline.diagnose import diagnose

        return diagnose
    if name == "diagnose_films":
        from pulmoscope.pipeline.diagnose_films import diagnose_films

        return diagnose_films
    raise AttributeError(f"module 'pulmoscope' has no attribute {name!r}")
