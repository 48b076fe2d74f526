"""Which series of a CT study is read, and what of the study is left out.

The rules, in this order:

1. ``--series UID`` overrides the choice; what is not axial or too short can't be read all the same.
2. Only CT images that are slices count: no localizers, dose reports, secondary captures.
3. Axial: the normal lies within 37 degrees of the body's axis, so that a tilted gantry passes and a reformat does not.
4. At least ten positions.
5. Not of another part of the body, by BodyPartExamined or a description.
6. Not projected or reformatted from other slices (MIP, MinIP, MPR, average), by ImageType or FrameType.
7. Of several that pass: without contrast medium before with; at least 150 mm of the body; a lung kernel, then one
   that is not known, then a soft one; a distance of slices between 0.9 and 3 mm; the most slices; the lowest number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.io.ct.header import SliceHeader
from pulmoscope.io.ct.limits import FEWEST
from pulmoscope.io.ct.stack import SAME_MM, usual_step

AXIAL = 0.8
"""Least cosine of the angle between the slices' normal and the body's axis."""
WHOLE_MM = 150
"""Less of the body than this is hardly a whole chest."""
NEAREST_MM, FARTHEST_MM = 0.9, 3.0
_PROJECTED = "projected or reformatted: "
_KERNELS = {"lung": 2, "": 1, "soft": 0}


def choose(
    name: str, headers: Sequence[SliceHeader], others: int = 0, series: str = ""
) -> tuple[list[SliceHeader], list[Flag]]:
    """The slices of the series that is read, and flags that say what was left out.

    Args:
        name: the study, for messages.
        headers: of all CT images of the study.
        others: how many objects of the study are no CT images.
        series: the SeriesInstanceUID that the user wants; empty: by the rules.

    Raises:
        UnsuitableError: no series passes; ``projection`` where one would but for rule 6.
    """
    if len({header.patient for header in headers if header.patient}) > 1:
        raise UnsuitableError(name, "several-patients", "slices of several patients, by PatientID")
    together: dict[str, list[SliceHeader]] = {}
    for header in headers:
        together.setdefault(header.series, []).append(header)
    # Some scanners put the localizer into the series of its slices.
    by_series = {
        uid: [header for header in of_series if not header.flat] or of_series
        for uid, of_series in together.items()
    }
    if series:
        if series not in by_series:
            which = f"the study does not hold the series that --series names, but {len(by_series)} other CT series"
            raise UnsuitableError(name, "series-not-found", which)
        if reason := _unfit(by_series[series], anywhere=True):
            _refuse_projection(name, [reason])
            finding = f"the series that --series names can't be read: {reason}"
            rule = f"a series is axial and has at least {FEWEST} slices"
            raise UnsuitableError(name, "no-chest-series", finding, rule)
        return by_series[series], []
    reasons = {uid: _unfit(slices) for uid, slices in by_series.items()}
    fit = {uid: slices for uid, slices in by_series.items() if not reasons[uid]}
    if not fit:
        _refuse_projection(name, list(reasons.values()))
        counted = "; ".join(f"{count} {reason}" for reason, count in Counter(reasons.values()).items())
        finding = f"no series of the study can be read: {counted}"
        rule = f"an axial chest CT of at least {FEWEST} slices is read"
        raise UnsuitableError(name, "no-chest-series", finding, rule)
    best = max(fit, key=lambda uid: _rank(fit[uid]))
    return fit[best], _left_out(fit, reasons, others)


def _left_out(
    fit: Mapping[str, Sequence[SliceHeader]], reasons: Mapping[str, str], others: int
) -> list[Flag]:
    """What the study holds besides the series that is read."""
    parts = [f"{count} {reason}" for reason, count in Counter(filter(None, reasons.values())).items()]
    if len(fit) > 1:
        parts.append(f"{len(fit) - 1} that would do as well; --series UID chooses")
    if others:
        parts.append(
            f"{others} object{'s' if others > 1 else ''} that {'are' if others > 1 else 'is'} no CT image"
        )
    if not parts:
        return []
    return [
        Flag(
            "other-series", FlagLevel.INFO, f"left out of the study: {'; '.join(parts)}", "one series is read"
        )
    ]


def _unfit(slices: Sequence[SliceHeader], *, anywhere: bool = False) -> str:
    """Why a series can't be read; empty where it can. What single slices lack is not this rule's business.

    Args:
        anywhere: whether it may be of any part of the body.
    """
    if all(header.flat for header in slices):
        return "localizer"
    if not any(header.storage for header in slices):
        return "not stored as CT slices are"
    placed = [header for header in slices if header.normal and header.position_mm]
    if placed:
        axial = sum(abs(header.normal[2]) >= AXIAL for header in placed if header.normal)
        if axial < len(placed) / 2:
            return "not axial"
        if len(_heights(placed)) < FEWEST:
            return "of too few slices"
    elif len(slices) < FEWEST:
        return "of too few slices"
    if not anywhere and Counter(header.part for header in slices).most_common(1)[0][0] == "elsewhere":
        return "of another part of the body"
    kind = Counter(header.projection for header in slices).most_common(1)[0][0]
    return f"{_PROJECTED}{kind}" if kind else ""


def _refuse_projection(name: str, reasons: Sequence[str]) -> None:
    """Refuse a study that would do, but for its slices being projected or reformatted from others.

    Raises:
        UnsuitableError: with the code ``projection``.
    """
    kinds = [reason.removeprefix(_PROJECTED) for reason in reasons if reason.startswith(_PROJECTED)]
    if kinds:
        finding = f"the slices are no slices as they were scanned but, by ImageType, a {kinds[0]}"
        raise UnsuitableError(name, "projection", finding, "a series as it was reconstructed is read")


def _rank(slices: Sequence[SliceHeader]) -> tuple[float, ...]:
    """Rule 7; the greatest is the best."""
    heights = _heights([header for header in slices if header.normal and header.position_mm])
    step = round(usual_step(heights), 3)
    length = heights[-1] - heights[0] if heights else 0.0
    kernel = Counter(header.kernel for header in slices).most_common(1)[0][0]
    return (
        -float(any(header.contrast for header in slices)),
        float(length >= WHOLE_MM),
        float(_KERNELS[kernel]),
        float(NEAREST_MM <= step <= FARTHEST_MM),
        float(len(heights)),
        -float(slices[0].series_number),
    )


def _heights(placed: Sequence[SliceHeader]) -> list[float]:
    """The different heights along the normal, in mm, rising."""
    heights: list[float] = []
    for height in sorted(header.height_mm for header in placed):
        if not heights or height - heights[-1] > SAME_MM:
            heights.append(height)
    return heights
