"""How images that a program drew say so: readers look for it, phantoms write it."""

from __future__ import annotations

CT_DESCRIPTION = "Synthetic chest CT"
"""How the series description (DICOM) and the description (NIfTI) of a drawn CT begin; a diagnosis has to say so."""
