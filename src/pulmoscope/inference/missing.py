"""Data that a CT lacks: looked for before anything else, filled for what follows, and told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import NOT_FILLED, BoolArray, Flag, FlagLevel, Imputed, Scan, Units
from pulmoscope.quality.imputation import FILLS, impute, imputer
from pulmoscope.quality.missing import Missing, find_missing

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.segment.ct_lungs import LungMask

MOST_OF_BODY = 0.1
"""Of the body where the lungs are; of more the study is referred. The limit for slices that are missing altogether is
the same (``io.ct.stack.MOST_MISSING``): a filled slice tells no more than its neighbours do. Chosen, not measured."""
MOST_SLICES = 0.25
"""Of the slices that show lung. Beyond it, damaged slices lie side by side, and what they are filled from lies far off.
Chosen, not measured."""


@dataclass(frozen=True)
class Searched:
    """A CT that was searched for missing data.

    Attributes:
        scan: what is missing filled in.
        missing: None where nothing is missing, or where it could not be searched: pictures.
        searched: whether it was.
    """

    scan: Scan
    missing: Missing | None
    searched: bool

    @property
    def mask(self) -> BoolArray | None:
        """What was not measured, bool (slices, rows, columns); None where nothing is missing."""
        return None if self.missing is None else self.missing.mask

    def slice_fraction(self, index: int) -> float | None:
        """Of a slice's body, the fraction that is missing; None where it was not searched."""
        if not self.searched:
            return None
        return 0.0 if self.missing is None else self.missing.body_fraction([index])


def searched(scan: Scan) -> Searched:
    """Look for missing data in a CT in HU, and fill them.

    Raises:
        UnsuitableError: nothing is left.
    """
    if scan.units is not Units.HU or scan.spacing_mm is None:
        return Searched(scan, None, searched=False)
    missing = find_missing(scan.pixels, scan.spacing_mm)
    if not missing.slices:
        return Searched(scan, None, searched=True)
    if missing.mask.all():
        raise UnsuitableError(scan.source, "blank", "the CT is empty: every slice has one value")
    filled = impute(scan.pixels, missing.mask, imputer(FILLS))
    return Searched(replace(scan, pixels=filled), missing, searched=True)


def imputed(own: Searched, lungs: LungMask | None, by: str = "") -> Imputed | None:
    """What was filled in; None where nothing was.

    Args:
        by: what the model itself filled with (see ``runtime.bundle.Bundle.imputer``).
    """
    if own.missing is None:
        return None
    fraction = own.missing.body_fraction(_with_lung(lungs))
    return Imputed(round(fraction, 6), len(own.missing.slices), by or FILLS, own.missing.mask)


def missing_flags(own: Searched, lungs: LungMask | None, by: str = "") -> tuple[Flag, ...]:
    """What is missing, and whether that is too much to be judged.

    Args:
        lungs: found in the filled scan.
        by: what the model itself filled with (see ``runtime.bundle.Bundle.imputer``).
    """
    if own.missing is None:
        return ()
    missing, count = own.missing, len(own.scan.pixels)
    places = _with_lung(lungs)
    fraction = missing.body_fraction(places)
    kinds = Counter(kind for index in missing.slices for kind in missing.kinds[index])
    told = ", ".join(f"{kind} in {number}" for kind, number in sorted(kinds.items()))
    besides = (
        "; besides, whole slices are not there"
        if any(flag.code == "missing-slices" for flag in own.scan.remarks)
        else ""
    )
    own_words = ""
    if by == NOT_FILLED:
        own_words = "; the network was shown the damage as it is"
    elif by and by != FILLS:
        own_words = f"; for the network: {by}"
    flags = [
        Flag(
            "missing-data",
            FlagLevel.WARN,
            f"{len(missing.slices)} of {count} slices lack data: {told}; {100 * fraction:.1f} % of the body at the "
            f"height of the lungs, filled in from the slices around, imputer {FILLS}{own_words}{besides}",
            "every voxel of the body is measured",
        )
    ]
    among = range(count) if places is None else places
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
