"""Which slices of a CT study show infection, as the text that a manifest holds: ``12-40,45``."""

from __future__ import annotations

import re
from collections.abc import Iterable

NONE = "none"
_PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def infected_ranges(text: str) -> tuple[tuple[int, int], ...] | None:
    """The (first, last) slices of each range, in the order given; None where the text is empty: unknown.

    Raises:
        ValueError: the text is neither empty, ``none``, nor slices and ranges separated by commas.
    """
    text = text.strip()
    if not text:
        return None
    if text == NONE:
        return ()
    ranges = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(
                f"infected slices {text[:60]} can't be read (they are written like 12-40,45, or none)"
            )
        ranges.append((first, last))
    return tuple(ranges)


def infected_slices(text: str, count: int) -> tuple[bool, ...] | None:
    """For each of a study's ``count`` slices, from the feet, whether it shows infection; None where unknown.

    Raises:
        ValueError: see :func:`infected_ranges`; or a slice beyond the study's last.
    """
    ranges = infected_ranges(text)
    if ranges is None:
        return None
    beyond = max((last for _, last in ranges), default=0)
    if ranges and beyond >= count:
        raise ValueError(f"infected slice {beyond} is not there (the last is {count - 1})")
    return tuple(any(first <= index <= last for first, last in ranges) for index in range(count))


def infected_text(slices: Iterable[int]) -> str:
    """The inverse of :func:`infected_slices`: the shortest text for these slices; ``none`` for no slice.

    >>> infected_text([45, 12, 13, 14])
    '12-14,45'
    """
    runs: list[list[int]] = []
    for number in sorted(set(slices)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs) or NONE
