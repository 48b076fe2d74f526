"""One CT, measured as a diagnosis measures it, beside the masks that were drawn of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.severity import GRADES
from pulmoscope.core.types import BoolArray, Scan
from pulmoscope.datasets.infected import NONE
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.overlap import Counts, Overlap, overlap, slice_counts
from pulmoscope.inference.decision import ct_quality
from pulmoscope.inference.look import SeenCt, in_hu, look_at
from pulmoscope.inference.measure import measured
from pulmoscope.io import read_scan
from pulmoscope.io.ct.masks import read_mask
from pulmoscope.io.ct.segmentation import Shown
from pulmoscope.segment.ct_lungs import LungMask
from pulmoscope.segment.ct_severity import GRADE_STEPS

MOST_OUTSIDE = 0.5
"""Fraction of the drawn lesions that may lie outside the drawn lungs; beyond it the masks were confused."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What was drawn, bool (slices, rows, columns) each; None where nobody has drawn it.

    Attributes:
        lesions: within the lungs, where these were drawn.
        outside: fraction of the drawn lesions that lies outside the drawn lungs.
    """

    lungs: BoolArray | None
    lesions: BoolArray | None
    outside: float = 0.0


@dataclass(frozen=True)
class Affected:
    """How much of each slice is lung, and how much of that lesion: voxels, (slices,) each."""

    lung: Counts
    lesion: Counts

    @property
    def percent(self) -> float:
        """Of all slices together; NaN without lung."""
        lung = int(self.lung.sum())
        return 100 * int(self.lesion.sum()) / lung if lung else float("nan")

    @property
    def percents(self) -> _Floats:
        """Of each slice, (slices,); NaN where it has no lung."""
        none = np.full(len(self.lung), np.nan)
        return np.asarray(np.divide(100 * self.lesion, self.lung, out=none, where=self.lung > 0))


@dataclass(frozen=True)
class ComparedStudy:
    """What was measured on a CT, beside what is true of it.

    Attributes:
        voxel_ml: the volume of a voxel.
        z_mm: the height of each slice; None where the files don't say.
        true, measured: how much is affected. ``true`` is None where it can't be known: no lungs were drawn, and there
            are lesions; ``measured`` has no lung where none was found.
        lungs, lesions: the masks compared, over what was observed; None where nobody has drawn them.
        measured_grade: None where no lungs were found.
        outside: see :class:`Truth`.
        flags: the codes of what the image checks say of the scan.
    """

    voxel_ml: float
    z_mm: tuple[float, ...] | None
    true: Affected | None
    measured: Affected
    lungs: Overlap | None
    lesions: Overlap | None
    measured_grade: str | None
    outside: float
    flags: tuple[str, ...]

    @cached_property
    def true_percent(self) -> float:
        """Percent affected; NaN where it is not known."""
        if self.true is not None:
            return self.true.percent
        return 0.0 if self.lesions is not None and not self.lesions.true.any() else float("nan")

    @property
    def true_grade(self) -> str | None:
        """The grade of the true percentage, by the bounds of the measured one: nothing at all is CT-0."""
        if np.isnan(self.true_percent):
            return None
        above = sum(self.true_percent > step for step in GRADE_STEPS)
        return GRADES[0] if self.true_percent == 0 else GRADES[1 + above]


def has_truth(sample: Sample) -> bool:
    """Whether masks of a study were drawn, or it is known to have no lesion."""
    return bool(sample.mask or sample.lesions) or sample.infected == NONE


def compare(table: SampleTable, sample: Sample, *, true_lungs: bool = False) -> ComparedStudy:
    """Read a study and its masks, measure it, and compare.

    Args:
        true_lungs: measure within the drawn lungs, in place of those that are found.

    Raises:
        InputError: the study or a mask can't be read, or they don't fit each other.
    """
    scan = in_hu(read_scan(table.path(sample), "ct"), "measuring")
    return compared(scan, read_truth(table, sample, scan), true_lungs=true_lungs)


def read_truth(table: SampleTable, sample: Sample, scan: Scan) -> Truth:
    """The masks that a table names, in the voxels of the scan.

    Raises:
        InputError: one can't be read or is not in the scan's voxels; the lung mask is empty; most of the lesions lie
            outside the lungs.
    """
    lungs = _read(table.root / sample.mask, scan, Shown.LUNGS) if sample.mask else None
    if lungs is not None and not lungs.any():
        raise UnsuitableError(table.root / sample.mask, "mask-empty", "lung mask: it marks nothing")
    if not sample.lesions and sample.infected != NONE:
        return Truth(lungs, None)
    lesions = np.zeros(scan.pixels.shape, dtype=bool)
    for name in sample.lesions:
        lesions |= _read(table.root / name, scan, Shown.LESIONS)
    if lungs is None:
        return Truth(None, lesions)
    drawn, within = np.count_nonzero(lesions), lesions & lungs
    outside = 1 - np.count_nonzero(within) / drawn if drawn else 0.0
    if outside > MOST_OUTSIDE:
        finding = f"{100 * outside:.0f} % of the drawn lesions lie outside the drawn lungs"
        rule = f"at most {100 * MOST_OUTSIDE:.0f} %"
        raise UnsuitableError(table.root / sample.mask, "mask-outside", finding, rule)
    return Truth(lungs, within, outside)


def compared(scan: Scan, truth: Truth, *, true_lungs: bool = False) -> ComparedStudy:
    """Measure a CT in HU and compare it with what is true of it.

    Args:
        true_lungs: measure within the drawn lungs, in place of those that are found.
    """
    spacing_mm = scan.spacing_mm
    assert spacing_mm is not None  # as it is in HU
    seen = look_at(scan)
    if true_lungs and truth.lungs is not None:
        seen = _within(seen, truth.lungs)
    measurement = measured(seen.scan, seen.lungs, seen.missing)
    lungs = lesions = np.zeros(scan.pixels.shape, dtype=bool)
    if measurement is not None:
        lungs, lesions = measurement[1].lungs > 0, measurement[1].lesions > 0
    true = None
    if truth.lungs is not None and truth.lesions is not None:
        true = Affected(slice_counts(truth.lungs), slice_counts(truth.lesions))

    def overlapping(found: BoolArray, drawn: BoolArray | None) -> Overlap | None:
        if drawn is None:
            return None
        observed = drawn if seen.missing is None else drawn & ~seen.missing
        return overlap(found, observed, spacing_mm)

    return ComparedStudy(
        voxel_ml=float(np.prod(spacing_mm)) / 1000,
        z_mm=scan.z_mm,
        true=true,
        measured=Affected(slice_counts(lungs), slice_counts(lesions)),
        lungs=overlapping(lungs, truth.lungs),
        lesions=overlapping(lesions, truth.lesions),
        measured_grade=None if measurement is None else measurement[0].grade,
        outside=truth.outside,
        flags=tuple(flag.code for flag in ct_quality(seen.scan, seen.lungs, ()).flags),
    )


def _read(path: Path, scan: Scan, shown: Shown) -> BoolArray:
    """A mask; what is wrong with it says which one it is."""
    try:
        return read_mask(path, scan, shown)
    except InputError as error:
        what = "lung mask" if shown is Shown.LUNGS else "lesion mask"
        raise type(error)(error.file, error.code, f"{what}: {error.finding}", error.rule) from error


def _within(seen: SeenCt, lungs: BoolArray) -> SeenCt:
    """The same CT with the drawn lungs; measuring both lungs together needs no sides."""
    ml = np.count_nonzero(lungs) * float(np.prod(seen.scan.spacing_mm or ())) / 1000
    return SeenCt(seen.raw, seen.search, LungMask(lungs.astype(np.uint8), ml, 0.0))
