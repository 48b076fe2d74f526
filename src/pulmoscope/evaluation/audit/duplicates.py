"""Are images of the audit, or their patients, also where the model has learnt from?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pulmoscope.datasets.check.findings import Pair
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit.verdict import Verdict

LEARNT = ("train", "val")
"""Splits that training has seen."""


@dataclass(frozen=True)
class Shared:
    """What the audited images have in common with each other, and with other splits.

    Attributes:
        images: audited ones.
        within: pairs of near-duplicates among them.
        conflicting: those of them whose labels differ.
        leaked: audited images with a near-duplicate in a split that training has seen; None: not known.
        patients: audited patients; ``shared``: those with images in such a split, None: not known.
        unknown: audited images whose patient is not known.
    """

    images: int
    within: int
    conflicting: int
    leaked: int | None
    patients: int
    shared: int | None
    unknown: int

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def shared(table: SampleTable, whole: SampleTable | None, pairs: Sequence[Pair]) -> Shared:
    """Count them.

    Args:
        table: the audited images.
        whole: the data set; None: not at hand.
        pairs: near-duplicates of the data set, or of ``table``.
    """
    audited = {sample.file for sample in table}
    inside = [pair for pair in pairs if {pair.first, pair.second} <= audited]
    others = () if whole is None else [sample for sample in whole if sample.split in LEARNT]
    learnt = {sample.file for sample in others} - audited
    patients = {sample.patient for sample in table if sample.patient}
    return Shared(
        images=len(table),
        within=len(inside),
        conflicting=sum(pair.conflicts for pair in inside),
        leaked=len(_touched(pairs, audited, learnt)) if learnt else None,
        patients=len(patients),
        shared=len(patients & {sample.patient for sample in others if sample.file in learnt})
        if learnt
        else None,
        unknown=sum(not sample.patient for sample in table),
    )


def _touched(pairs: Sequence[Pair], audited: Collection[str], learnt: Collection[str]) -> set[str]:
    """Audited images that are a near-duplicate of a learnt one."""
    both = [(pair.first, pair.second) for pair in pairs]
    return {one for pair in both for one, other in (pair, pair[::-1]) if one in audited and other in learnt}


def verdicts(found: Shared) -> list[Verdict]:
    """Leaks, and duplicates within."""
    if found.leaked is None or found.shared is None:
        leak = Verdict(
            "leak",
            "none",
            "Whether training has seen audited images or patients is not known: no other split is at hand.",
        )
    else:
        says = (
            f"{found.leaked} of {found.images} audited images have a near-duplicate in the splits train and val, and "
            f"{found.shared} of {found.patients} known patients have images there."
        )
        leak = Verdict("leak", "bad" if found.leaked or found.shared else "good", says)
    says = (
        f"{found.within} pairs of audited images are near-duplicates, {found.conflicting} of them with different "
        "labels."
    )
    few = found.within <= 0.01 * found.images
    repeated = Verdict("repeated", "bad" if found.conflicting else "good" if few else "doubtful", says)
    return [leak, repeated]
