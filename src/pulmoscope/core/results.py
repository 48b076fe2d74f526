"""How files say that Pulmoscope wrote them: writers mark them, and readers of images leave them out."""

from __future__ import annotations

RESULT_KEY, RESULT = "Software", "Pulmoscope: a result, not an image of a patient"
"""Keyword and text in a PNG (PNG specification, 11.3.3)."""

RESULT_FILES = ("diagnosis.json", "metrics.json")
"""Beside one of these, whose ``software`` names Pulmoscope, lie results and nothing else that is an image."""
