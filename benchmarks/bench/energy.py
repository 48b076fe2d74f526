"""Energy of the processor packages, from the counters that Linux shows as ``powercap`` (RAPL)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def zones(folder: Path = POWERCAP) -> dict[str, tuple[int, int]]:
    """Of each package its counter and where the counter starts again, µJ; empty where they can't be read.

    Most systems let only root read them, and virtual machines have none.
    """
    found = {}
    try:
        for zone in sorted(folder.glob("intel-rapl:*")):
            if zone.name.count(":") == 1:  # a second colon: a part of a package, which is counted already
                counter, end = ((zone / name).read_text() for name in ("energy_uj", "max_energy_range_uj"))
                found[zone.name] = (int(counter), int(end))
    except (OSError, ValueError):
        return {}
    return found


def used_j(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float | None:
    """What was used between two readings of :func:`zones`, J; None where there are none."""
    if not before or before.keys() != after.keys():
        return None
    return sum((after[name][0] - start) % (end + 1) for name, (start, end) in before.items()) / 1e6
