"""Does a model serve men and women, young and old, and every projection alike?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from pulmoscope.evaluation.audit.verdict import Level, Verdict
from pulmoscope.evaluation.hospitals import HospitalFigures, hospital_figures
from pulmoscope.evaluation.metrics import Predictions

BANDS = (0, 18, 40, 60, 80)
"""Where age bands begin, in years."""

GAP = 0.10
"""AUROC that the worst group lies below the best, from which on the gap is bad, if their intervals are apart."""

NAMES: Mapping[str, str] = {"age": "age band", "sex": "sex", "view": "view"}
"""What images are grouped by, and how that is called."""


def age_band(years: float) -> str:
    """The band of an age.

    >>> age_band(17.9), age_band(40), age_band(93)
    ('0–17 years', '40–59 years', '80 years and older')
    """
    for start, end in pairwise(BANDS):
        if years < end:
            return f"{start}–{end - 1} years"
    return f"{BANDS[-1]} years and older"


def group_figures(
    predictions: Predictions, groups: Sequence[str], bootstrap: int = 1000, seed: int = 20
) -> list[HospitalFigures]:
    """The figures of every group as those of a hospital are: a group's name stands where a hospital's would.

    Args:
        groups: of each image; empty where it is not known, which leaves the image out.
    """
    known = replace(predictions, hospitals=tuple(groups)).select([bool(group) for group in groups])
    if not len(known):
        return []
    return hospital_figures(known, dict.fromkeys(known.hospitals), bootstrap, seed)


def verdict(by: str, rows: Sequence[HospitalFigures]) -> Verdict:
    """Is the worst group worse than the best?

    Args:
        by: a key of :data:`NAMES`.
    """
    code, name = f"groups-{by}", NAMES[by]
    known = [row for row in rows if row.auroc_within.value is not None]
    if not rows:
        return Verdict(
            code, "none", f"How the model does by {name} is not known: the data don't tell the {name}."
        )
    if len(known) < 2:
        return Verdict(
            code,
            "none",
            f"How the model does by {name} is not known: fewer than two groups have enough images.",
        )
    best = max(known, key=lambda row: row.auroc_within.value or 0.0)
    worst = min(known, key=lambda row: row.auroc_within.value or 0.0)
    high, low = best.auroc_within, worst.auroc_within
    gap = (high.value or 0.0) - (low.value or 0.0)
    apart = high.low is not None and low.high is not None and low.high < high.low
    level: Level = "good" if not apart else "bad" if gap >= GAP else "doubtful"
    says = (
        f"By {name}, the AUROC of COVID against Normal is {low.value:.3f} in the worst group ({worst.hospital}) and "
        f"{high.value:.3f} in the best ({best.hospital}); the intervals {'do not overlap' if apart else 'overlap'}."
    )
    return Verdict(code, level, says)
