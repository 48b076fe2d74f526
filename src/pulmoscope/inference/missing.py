"""What a diagnosis says of data that a CT lacks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pulmoscope.core.types import NOT_FILLED, Flag, FlagLevel, Imputed
from pulmoscope.quality.filled import FilledScan
from pulmoscope.quality.imputation import FILLS

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask

MOST_OF_BODY = 0.1
"""Of the body where the lungs are; of more the study is referred. The limit for slices that are missing altogether is
the same (``io.ct.stack.MOST_MISSING``): a filled slice tells no more than its neighbours do. Chosen, not measured."""
MOST_SLICES = 0.25
"""Of the slices that show lung. Beyond it, damaged slices lie side by side, and what they are filled from lies far off.
Chosen, not measured."""


def imputed(search: FilledScan, lungs: LungMask | None, by: str = "") -> Imputed | None:
    """What was filled in; None where nothing was.

    Args:
        by: what the model itself filled with (see ``runtime.bundle.Bundle.imputer``).
    """
    if search.missing is None:
        return None
    fraction = search.missing.body_fraction(_with_lung(lungs))
    return Imputed(round(fraction, 6), len(search.missing.slices), by or FILLS, search.missing.mask)


def missing_flags(search: FilledScan, lungs: LungMask | None, by: str = "") -> tuple[Flag, ...]:
    """What is missing, and whether that is too much for a prediction.

    Args:
        lungs: found in the filled scan.
        by: what the model itself filled with (see ``runtime.bundle.Bundle.imputer``).
    """
    if search.missing is None:
        return ()
    missing, count = search.missing, len(search.scan.pixels)
    indices = _with_lung(lungs)
    fraction = missing.body_fraction(indices)
    kinds = Counter(kind for index in missing.slices for kind in missing.kinds[index])
    listed = ", ".join(f"{kind} in {number}" for kind, number in sorted(kinds.items()))
    besides = (
        "; besides, whole slices are not there"
        if any(flag.code == "missing-slices" for flag in search.scan.remarks)
        else ""
    )
    by_model = ""
    if by == NOT_FILLED:
        by_model = "; the network was shown the damage as it is"
    elif by and by != FILLS:
        by_model = f"; for the network: {by}"
    flags = [
        Flag(
            "missing-data",
            FlagLevel.WARN,
            f"{len(missing.slices)} of {count} slices lack data: {listed}; {100 * fraction:.1f} % of the body at the "
            f"height of the lungs, filled in from the slices around, imputer {FILLS}{by_model}{besides}",
            "every voxel of the body is measured",
        )
    ]
    among = range(count) if indices is None else indices
    affected = len(set(missing.slices) & set(among)) / max(1, len(among))
    if fraction > MOST_OF_BODY or affected > MOST_SLICES:
        finding = (
            f"at the height of the lungs {100 * fraction:.1f} % of the body and {100 * affected:.0f} % of the slices "
            "lack data"
        )
        rule = f"at most {100 * MOST_OF_BODY:.0f} % and {100 * MOST_SLICES:.0f} %"
        flags.append(Flag("too-much-missing", FlagLevel.REFUSE, finding, rule))
    return tuple(flags)


def _with_lung(lungs: LungMask | None) -> list[int] | None:
    """The slices that show lung; None where none was found."""
    if lungs is None or not lungs.found:
        return None
    return [int(index) for index in np.flatnonzero(lungs.labels.any(axis=(1, 2)))]
