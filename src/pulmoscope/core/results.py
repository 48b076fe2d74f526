"""How files say that Pulmoscope wrote them: writers mark them, and readers of images leave them out."""

from __future__ import annotations

RESULT_KEY, RESULT = "Software", "Pulmoscope: a result, not an image of a patient"
"""Keyword and text in a PNG (PNG specification, 11.3.3)."""

MANUFACTURER = "Pulmoscope"
"""Manufacturer (0008,0070) of the DICOM objects that it writes; nothing else that it writes says just that."""

RESULT_FILES = ("diagnosis.json", "metrics.json")
"""Beside one of these, whose ``software`` names Pulmoscope, lie results and nothing else that is an image."""
