"""UIDs and dates of objects: they follow from what an object is made of, so that equal input gives equal bytes.

See docs/decisions/0030-uids-and-dates-of-objects.md.
"""

from __future__ import annotations

import hashlib

_ROOT = "2.25."
"""The root for UIDs that are UUIDs, needing no registration (PS3.5 B.2)."""


def uid(kind: str, *parts: str) -> str:
    """A UID that is the same for the same parts: a UUID of version 8 (RFC 9562, 5.8) from their SHA-256.

    Args:
        kind: of what it names.
        parts: what that is made of, in order.
    """
    digest = hashlib.sha256("\n".join(("pulmoscope", kind, *parts)).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # the version
    number = number & ~(0x3 << 62) | 2 << 62  # the variant
    return f"{_ROOT}{number}"
