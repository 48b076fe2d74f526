"""What the numbers of a heat map are (PS3.16, CID 7180)."""

from __future__ import annotations

from pydicom.sr.coding import Code

GRADIENT_WEIGHTED = Code("130403", "DCM", "Gradient-weighted class activation")
SALIENCY = Code("130404", "DCM", "Saliency")

_GRADIENTS = ("grad-cam", "grad-cam++", "layer-cam", "contrast-cam")


def quantity(kind: str) -> Code:
    """The code of a heat map of this kind (``Explanation.kind``).

    Maps of occlusion or of random parts, and of what looks unlike normal, are none of gradients: they are saliency, how
    much a place mattered for the answer.
    """
    return GRADIENT_WEIGHTED if kind in _GRADIENTS else SALIENCY
