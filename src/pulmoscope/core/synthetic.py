"""How images that a program drew say so: readers look for it, phantoms write it."""

from __future__ import annotations

CT_DESCRIPTION = "Synthetic chest CT"
"""How the series description (DICOM) and the description (NIfTI) of a synthetic CT begin; a diagnosis has to say so."""
XRAY_DESCRIPTION = "Synthetic chest radiograph"
"""How the «Description» in the PNG text of a synthetic radiograph begins; a diagnosis has to say so."""
SYNTHETIC_SOURCE = "phantom"
"""The source of synthetic images in a manifest, and so in the training data of a model that learnt from them."""
