"""What ImageType and FrameType say of how a CT's slices came to be: as scanned, derived, or projected from others.

Sources: PS3.3 C.7.6.1.1.2 (ImageType), C.8.16.2.1.4 (derived pixel contrast) and C.8.16.2.1.3 (volume based calculation
technique). Vendors write the technique as a value of its own (``MPR``, ``REFORMATTED``, ``AVERAGE``) or in one with the
software's name (``CT_SOM5 MIP``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PROJECTIONS = {
    "maximum intensity projection": r"MIP|MAX[ _-]?IP|MAXIMUM",
    "minimum intensity projection": r"MIN[ _-]?IP|MINIMUM",
    "average of slices": r"AVERAGE|AVG|AVE|MEAN|AIP",
    "multiplanar reformat": r"C?MPR|CURVED[ _-]?MPR|REFORMATTED|REFORMAT|RESAMPLED|PROJECTION IMAGE",
    "rendering": r"VRT|SSD|VOLUME[ _-]?RENDER\w*|SURFACE[ _-]?RENDER\w*",
}
_PATTERNS = {
    kind: re.compile(rf"(?<![A-Z0-9])(?:{names})(?![A-Z0-9])") for kind, names in _PROJECTIONS.items()
}


def projection(words: Iterable[str]) -> str:
    """What kind of projection or reformat slices are; empty where they are none.

    Args:
        words: the values of ImageType, FrameType and VolumeBasedCalculationTechnique, in capitals.
    """
    text = "\\".join(words)
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(text)), "")


def is_derived(words: Iterable[str]) -> bool:
    """Whether slices were computed from other images' pixels, in whatever way."""
    return "DERIVED" in words
