"""One series' slices in order: which belong together, which are there twice, which are missing.

Everything here works on headers alone, before a pixel is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Flag, Geometry, Severity
from pulmoscope.io.ct_header import SliceHeader

FEWEST = 10
"""Slices; of fewer no patient can be judged."""
SAME_MM = 0.05
"""Two slices nearer than this are at one position."""
UNEVEN = 0.1
"""Steps that differ by more than this share from the usual one, and from its multiples, are uneven."""
MOST_MISSING = 0.1
"""Share of missing slices; of more the study is referred."""
LARGEST_GAP_MM = 20
"""A larger gap may hide a lesion: the study is referred."""
TILTED_DEG = 1.0


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal.

    Attributes:
        headers: one per slice; all of one size, orientation and pixel spacing, each with position and rescale.
        heights_mm: along the normal, rising.
        step_mm: the usual distance of two slices.
        flags: what was noticed.
    """

    headers: tuple[SliceHeader, ...]
    heights_mm: tuple[float, ...]
    step_mm: float
    flags: tuple[Flag, ...]


def stack(name: str, headers: Sequence[SliceHeader]) -> Stack:
    """Put the slices of one series in order.

    Slices that have no place in it (other size, orientation or spacing; no position; no rescale to HU) are left out,
    and the study goes on without them, flagged.

    Raises:
        UnsuitableError: slices of several patients, or too few slices.
        UnreadableError: no slice has the tags that give it a place, or its values a meaning.
    """
    if len({header.patient for header in headers}) > 1:
        raise UnsuitableError(name, "a series is of one patient", "several PatientIDs")
    flags: list[Flag] = []
    usable, without = _with_what_is_needed(name, headers)
    if without:
        flags.append(
            _warn("incomplete-slices", "every slice has position, orientation, spacing and rescale", without)
        )
    alike, foreign = _most(usable, _shape)
    if foreign:
        flags.append(
            _warn("mixed-series", "all slices have one size, orientation, spacing and rescale", foreign)
        )
    chosen, other = _one_acquisition(alike)
    if other:
        detail = f"each position is scanned once (found: {other} slices of other acquisitions, left out)"
        flags.append(Flag("several-acquisitions", Severity.WARN, detail))
    ordered, twice = _in_order(chosen)
    if twice:
        flags.append(_warn("duplicate-positions", "each slice has a position of its own", twice))
    if len(ordered) < FEWEST:
        raise UnsuitableError(name, f"a series has at least {FEWEST} slices", len(ordered))
    heights = tuple(height for height, _ in ordered)
    step = usual_step(heights)
    flags += [*spacing_flags(heights, step), *_tag_flags([header for _, header in ordered])]
    return Stack(tuple(header for _, header in ordered), heights, step, tuple(flags))


def geometry(stacked: Stack) -> Geometry:
    """Where the voxels lie, as the slices were stored: rows and columns as in the file, slices along the normal."""
    first, last = stacked.headers[0], stacked.headers[-1]
    assert first.position_mm is not None
    assert last.position_mm is not None
    assert first.orientation is not None
    assert first.spacing_mm is not None
    along = np.subtract(last.position_mm, first.position_mm)
    steps = (stacked.heights_mm[-1] - stacked.heights_mm[0]) / stacked.step_mm
    row, column = np.array(first.orientation[3:]), np.array(first.orientation[:3])
    vectors = (along / steps, row * first.spacing_mm[0], column * first.spacing_mm[1])
    slice_step, row_step, column_step = ((float(v[0]), float(v[1]), float(v[2])) for v in vectors)
    return Geometry(first.position_mm, slice_step, row_step, column_step)


def usual_step(heights: Sequence[float]) -> float:
    """The distance of two neighbours in mm: the median of what occurs, 0 of fewer than two."""
    return float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0


def spacing_flags(heights: Sequence[float], step: float) -> list[Flag]:
    """What the distances of neighbours say: slices are missing, or they are not evenly spaced.

    A gap that is a multiple of the usual step, to 10 % of a step, is as many missing slices; others are uneven.
    """
    counts = np.diff(heights) / step
    whole = np.rint(counts)
    fits = (np.abs(counts - whole) <= UNEVEN) & (whole >= 1)
    missing = int((whole[fits] - 1).sum())
    flags = []
    if missing:
        largest = float(counts[fits].max() * step)
        share = missing / (missing + len(heights))
        too_many = share > MOST_MISSING or largest > LARGEST_GAP_MM
        gaps = int((whole[fits] > 1).sum())
        detail = (
            f"slices follow each other every {step:.3g} mm (found: {missing} missing in {gaps} "
            f"gap{'s' * (gaps > 1)}, the largest of {largest:.3g} mm)"
        )
        flags.append(Flag("missing-slices", Severity.REFUSE if too_many else Severity.WARN, detail))
    if not fits.all():
        least, most = float(counts.min() * step), float(counts.max() * step)
        detail = f"slices are evenly spaced (found: steps of {least:.3g} to {most:.3g} mm)"
        severity = Severity.REFUSE if most > LARGEST_GAP_MM else Severity.WARN
        flags.append(Flag("uneven-spacing", severity, detail))
    return flags


def _with_what_is_needed(name: str, headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """The slices that can be placed and read, and how many can't.

    Raises:
        UnreadableError: none can.
    """
    needs: dict[str, Callable[[SliceHeader], object]] = {
        "Rows, Columns and bits that a CT slice has": lambda header: header.storage,
        "ImagePositionPatient": lambda header: header.position_mm,
        "ImageOrientationPatient": lambda header: header.orientation,
        "PixelSpacing": lambda header: header.spacing_mm,
        "RescaleSlope and RescaleIntercept": lambda header: (
            None if header.slope is None or header.intercept is None else True
        ),
    }
    usable = list(headers)
    for what, of in needs.items():
        left = [header for header in usable if of(header) is not None]
        if not left:
            raise UnreadableError(name, f"a CT slice has {what}", "none that makes sense")
        usable = left
    return usable, len(headers) - len(usable)


def _shape(header: SliceHeader) -> Hashable:
    """What all slices of a series share."""
    assert header.storage is not None
    assert header.orientation is not None
    assert header.spacing_mm is not None
    return (
        header.storage.rows,
        header.storage.columns,
        tuple(round(value, 2) + 0.0 for value in header.orientation),
        tuple(round(value, 4) for value in header.spacing_mm),
        (header.slope, header.intercept),
    )


def _most(
    headers: Sequence[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> tuple[list[SliceHeader], int]:
    """The slices that share the commonest key (the first of equals), and how many don't."""
    commonest = Counter(map(key, headers)).most_common(1)[0][0]
    alike = [header for header in headers if key(header) == commonest]
    return alike, len(headers) - len(alike)


def _height(header: SliceHeader) -> float:
    assert header.normal is not None
    assert header.position_mm is not None
    return float(np.dot(header.normal, header.position_mm))


def _one_acquisition(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Where a tenth of the positions or more are there twice, and acquisitions tell them apart: only the largest."""
    positions = {round(_height(header) / SAME_MM) for header in headers}
    acquisitions = {header.acquisition for header in headers}
    if len(acquisitions) == 1 or len(headers) < 1.1 * len(positions):
        return list(headers), 0
    return _most(headers, lambda header: header.acquisition)


def _in_order(headers: Sequence[SliceHeader]) -> tuple[list[tuple[float, SliceHeader]], int]:
    """(height, slice) by rising height, of two at one position the one with the lower instance number."""
    places = sorted(
        ((_height(header), header) for header in headers),
        key=lambda pair: (pair[0], pair[1].instance, pair[1].entry.name, pair[1].frame),
    )
    ordered: list[tuple[float, SliceHeader]] = []
    for height, header in places:
        if not ordered or height - ordered[-1][0] > SAME_MM:
            ordered.append((height, header))
        elif header.instance < ordered[-1][1].instance:
            ordered[-1] = (ordered[-1][0], header)
    return ordered, len(places) - len(ordered)


def _tag_flags(headers: Sequence[SliceHeader]) -> list[Flag]:
    """What the tags of the slices in use say: tilt, contrast, synthetic, an incomplete acquisition."""
    flags = []
    if headers[0].synthetic:
        detail = "a program drew this study, there is no patient (its SeriesDescription says so)"
        flags.append(Flag("synthetic", Severity.INFO, detail))
    if any(header.contrast for header in headers):
        detail = (
            "the scan is without contrast medium (found: ContrastBolusAgent); vessels and heart look denser"
        )
        flags.append(Flag("contrast", Severity.WARN, detail))
    expected = max(header.expected for header in headers)
    if expected > len(headers):
        detail = f"the series is complete (found: {len(headers)} slices of ImagesInAcquisition {expected})"
        flags.append(Flag("partial", Severity.WARN, detail))
    if not headers[0].part:
        detail = "BodyPartExamined or a description names the chest (found: the files do not say)"
        flags.append(Flag("body-part-unknown", Severity.INFO, detail))
    return flags


def _warn(code: str, rule: str, count: int) -> Flag:
    return Flag(
        code, Severity.WARN, f"{rule} (found: {count} that {'has' if count == 1 else 'have'} not, left out)"
    )


def without(stacked: Stack, places: set[int]) -> Stack:
    """The stack less some slices; what the gaps that they leave say is not said again."""
    kept = [place for place in range(len(stacked.headers)) if place not in places]
    return replace(
        stacked,
        headers=tuple(stacked.headers[place] for place in kept),
        heights_mm=tuple(stacked.heights_mm[place] for place in kept),
    )
