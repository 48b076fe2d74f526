"""One series' slices in order: which belong together, which are there twice, which are missing.

Everything here works on headers alone, before a pixel is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Flag, FlagLevel, Geometry
from pulmoscope.io.ct.header import SliceHeader
from pulmoscope.io.ct.limits import LARGEST_STEP_MM, MOST_BAD, check_size

SAME_MM = 0.05
"""Two slices nearer than this are at one position."""
UNEVEN = 0.1
"""Steps that differ by more than this fraction from the usual one, and from its multiples, are uneven."""
MOST_MISSING = 0.1
"""Fraction of missing slices; of more the study is referred."""
LARGEST_GAP_MM = 20
"""A larger gap may hide a lesion: the study is referred."""
TILTED_DEG = 1.0
"""A tilt below it is rounding."""
OFF_LINE_MM = 1.0
"""How far a slice's corner may lie beside the line of the others'."""


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal.

    Attributes:
        headers: one per slice; all of one size, orientation and pixel spacing, each with position and rescale.
        heights_mm: along the normal, rising.
        step_mm: the usual distance of two slices.
        flags: what was noticed; missing slices and uneven spacing have :func:`spacing_flags`.
    """

    headers: tuple[SliceHeader, ...]
    heights_mm: tuple[float, ...]
    step_mm: float
    flags: tuple[Flag, ...]


def stack(name: str, headers: Sequence[SliceHeader]) -> Stack:
    """Put the slices of one series in order.

    Slices that have no place in it (other size, orientation or spacing; no position, or one beside the others' line;
    no rescale to HU) are left out, and the study goes on without them, flagged.

    Raises:
        UnsuitableError: slices of several patients, too few slices, slices too far apart, or too many voxels.
        UnreadableError: no slice has the tags that give it a place, or its values a meaning; or too many have not.
    """
    if len({header.patient for header in headers if header.patient}) > 1:
        raise UnsuitableError(name, "several-patients", "slices of several patients, by PatientID")
    usable, without = _with_what_is_needed(name, headers)
    alike, foreign = _most(usable, _shape)
    chosen, other = _one_acquisition(alike)
    placed, twice = _in_order(chosen)
    ordered, shifted = _on_line(placed)
    bad = without + foreign + shifted
    if bad > MOST_BAD * len(headers):
        finding = (
            f"{bad} of {len(headers)} slices lack a tag, or differ from the others in size, orientation, spacing, "
            "rescale or line"
        )
        raise UnreadableError(
            name, "too-many-bad-slices", finding, f"at most {100 * MOST_BAD:.0f} % may be bad"
        )
    _check_size(name, ordered)
    heights = tuple(header.height_mm for header in ordered)
    step = usual_step(heights)
    if step > LARGEST_STEP_MM:
        rule = f"at most {LARGEST_STEP_MM} mm"
        raise UnsuitableError(name, "slices-far-apart", f"the slices are {step:.4g} mm apart", rule)
    flags = [
        *_counted("incomplete-slices", without, "without position, orientation, spacing or rescale"),
        *_counted("mixed-series", foreign, "of another size, orientation, spacing or rescale"),
        *_counted("several-acquisitions", other, "of another acquisition at the same positions"),
        *_counted("duplicate-positions", twice, "at the position of another"),
        *_counted("shifted-slices", shifted, f"more than {OFF_LINE_MM:.0f} mm beside the line of the others"),
        *_tag_flags(ordered),
    ]
    return Stack(tuple(ordered), heights, step, tuple(flags))


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
        fraction = missing / (missing + len(heights))
        too_many = fraction > MOST_MISSING or largest > LARGEST_GAP_MM
        gaps = int((whole[fits] > 1).sum())
        finding = (
            f"{missing} slice{' is' if missing == 1 else 's are'} missing in {gaps} gap{'s' * (gaps > 1)}, "
            f"the largest of {largest:.3g} mm"
        )
        level = FlagLevel.REFUSE if too_many else FlagLevel.WARN
        flags.append(Flag("missing-slices", level, finding, f"there is one every {step:.3g} mm"))
    if not fits.all():
        least, most = float(counts.min() * step), float(counts.max() * step)
        finding = f"the slices are unevenly spaced, by {least:.3g} to {most:.3g} mm"
        flags.append(
            Flag("uneven-spacing", FlagLevel.REFUSE if most > LARGEST_GAP_MM else FlagLevel.WARN, finding)
        )
    return flags


def _with_what_is_needed(name: str, headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """The slices that can be placed and read, and how many can't.

    Raises:
        UnreadableError: none can.
    """
    needs: dict[str, Callable[[SliceHeader], object]] = {
        "Rows, Columns and bits": lambda header: header.storage,
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
            raise UnreadableError(name, "missing-tags", f"no slice has {what} that make sense")
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
        header.storage.bits_stored,
        header.storage.signed,
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


def _one_acquisition(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Where a tenth of the positions or more are there twice, and acquisitions tell them apart: only the largest."""
    positions = {round(header.height_mm / SAME_MM) for header in headers}
    acquisitions = {header.acquisition for header in headers}
    if len(acquisitions) == 1 or len(headers) < 1.1 * len(positions):
        return list(headers), 0
    return _most(headers, lambda header: header.acquisition)


def _in_order(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Slices by rising height, of several at one position the one with the lowest instance number."""
    ordered: list[SliceHeader] = []
    for header in sorted(headers, key=lambda header: (header.height_mm, *_turn(header))):
        if not ordered or header.height_mm - ordered[-1].height_mm > SAME_MM:
            ordered.append(header)
        elif _turn(header) < _turn(ordered[-1]):
            ordered[-1] = header
    return ordered, len(headers) - len(ordered)


def _turn(header: SliceHeader) -> tuple[int, str, int]:
    """Which of two slices at one position comes first."""
    return header.instance, header.entry.name, header.frame


def _on_line(ordered: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """The slices whose corners lie on the line that most of them share (a slanting one: a tilted gantry).

    Its slope is the median of those between slices half the series apart: rounded positions do not matter then, nor
    do some that are wrong.
    """
    half = len(ordered) // 2
    if half == 0:
        return list(ordered), 0
    heights = np.array([header.height_mm for header in ordered])
    axes = np.array(ordered[0].orientation).reshape(2, 3)
    across = np.array([header.position_mm for header in ordered]) @ axes.T
    slope = np.median((across[half:] - across[:-half]) / (heights[half:] - heights[:-half])[:, None], axis=0)
    left = across - heights[:, None] * slope
    near = (np.abs(left - np.median(left, axis=0)) <= OFF_LINE_MM).all(axis=1)
    return [header for header, fits in zip(ordered, near, strict=True) if fits], int((~near).sum())


def _check_size(name: str, headers: Sequence[SliceHeader]) -> None:
    storage, spacing = headers[0].storage, headers[0].spacing_mm
    assert storage is not None
    assert spacing is not None
    check_size(name, (len(headers), storage.rows, storage.columns), spacing)


def tilt_flags(placed: Geometry) -> list[Flag]:
    """What a slice step that is not at right angles to the slices says."""
    if placed.tilt_deg <= TILTED_DEG:
        return []
    return [Flag("gantry-tilt", FlagLevel.INFO, f"the gantry was tilted by {placed.tilt_deg:.1f} degrees")]


def _tag_flags(headers: Sequence[SliceHeader]) -> list[Flag]:
    """What the tags of the slices in use say: a child, contrast, synthetic, an incomplete acquisition."""
    flags = list(next((header.child for header in headers if header.child), ()))
    if any(header.synthetic for header in headers):
        finding = "a program drew this study, by its SeriesDescription: there is no patient"
        flags.append(Flag("synthetic", FlagLevel.INFO, finding))
    if any(header.contrast for header in headers):
        finding = "contrast medium was given, by ContrastBolusAgent: vessels and heart look denser"
        flags.append(Flag("contrast", FlagLevel.WARN, finding, "a scan without it is expected"))
    if any(header.derived for header in headers):
        finding = "the slices were computed from other images, by ImageType DERIVED"
        flags.append(Flag("derived", FlagLevel.INFO, finding))
    expected = max(header.expected for header in headers)
    if expected > len(headers):
        finding = f"the series is not complete: {len(headers)} slices of {expected}, by ImagesInAcquisition"
        flags.append(Flag("partial", FlagLevel.WARN, finding))
    if not any(header.part for header in headers):
        finding = "the files do not say which part of the body they show"
        rule = "BodyPartExamined or a description names the chest"
        flags.append(Flag("body-part-unknown", FlagLevel.INFO, finding, rule))
    return [*flags, *_numbering(headers)]


def _numbering(headers: Sequence[SliceHeader]) -> list[Flag]:
    """Whether the slices are numbered in the order of their positions: the only sign of two that were swapped."""
    storage = headers[0].storage
    steps = np.diff([header.instance for header in headers])
    if not steps.all() or storage is None or storage.frames > 1:  # not numbered, or frames, in any order
        return []
    against = min(int((steps > 0).sum()), int((steps < 0).sum()))
    usual = int(np.median(np.abs(steps)))
    if against:
        finding = f"the slices' numbers run against the others at {against} step{'s' * (against > 1)}"
    elif usual > 1:
        finding = f"the slices' numbers go by steps of {usual}: slices between are not there"
    else:
        return []
    rule = "InstanceNumber rises or falls by one from slice to slice"
    return [Flag("numbering", FlagLevel.WARN, finding, rule)]


def _counted(code: str, count: int, which: str) -> list[Flag]:
    """A flag that says how many slices were left out; none where none was."""
    if count == 0:
        return []
    left_out = "slice was left out" if count == 1 else "slices were left out"
    return [Flag(code, FlagLevel.WARN, f"{count} {left_out}: {which}")]


def without(stacked: Stack, indices: set[int]) -> Stack:
    """The stack less some slices."""
    kept = [index for index in range(len(stacked.headers)) if index not in indices]
    return replace(
        stacked,
        headers=tuple(stacked.headers[index] for index in kept),
        heights_mm=tuple(stacked.heights_mm[index] for index in kept),
    )
