"""The figures of many compared studies: overlap, percent affected, grades; each with its interval over patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pulmoscope.core.files import shareable
from pulmoscope.core.severity import GRADES
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.agreement import limits_of_agreement, means, ratio
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.overlap import Overlap
from pulmoscope.pipeline.truth.study import ComparedStudy

MUCH_PERCENT = 5.0
"""Percent of a slice's lung: the lesion Dice of slices is of those with more. Of a few voxels it says little."""

Floats = npt.NDArray[np.float64]
Compared = Sequence[tuple[Sample, ComparedStudy]]


class Resampling(NamedTuple):
    """How intervals are made."""

    bootstrap: int
    seed: int


class Pairs(NamedTuple):
    """True and measured percentages, (n,) each, and the patient of each."""

    true: Floats
    measured: Floats
    unit: npt.NDArray[np.intp]


def figures(studies: Compared, how: Resampling) -> dict[str, Any]:
    """All figures, for JSON; None where nothing was drawn."""
    return {
        "lungs": _overlaps(studies, "lungs", how),
        "lesions": _overlaps(studies, "lesions", how),
        "percent_affected": _agreement(of_studies(studies), "studies", how),
        "slices": _agreement(of_slices(studies), "slices", how),
        "grades": _grades(studies, how),
    }


def of_studies(studies: Compared) -> Pairs:
    """Percent affected of every study in which it is known and lungs were found."""
    true = np.array([study.true_percent for _, study in studies])
    measured = np.array([study.measured.percent for _, study in studies])
    return _known(true, measured, _patients(studies))


def of_slices(studies: Compared) -> Pairs:
    """Percent affected of every slice that has lung, by the truth and as measured."""
    known = [(study.true, study.measured) for _, study in studies if study.true is not None]
    patients = _patients([(sample, study) for sample, study in studies if study.true is not None])
    return _known(
        np.concatenate([true.percents for true, _ in known] or [np.empty(0)]),
        np.concatenate([measured.percents for _, measured in known] or [np.empty(0)]),
        np.repeat(patients, [len(true.lung) for true, _ in known]),
    )


def _known(true: Floats, measured: Floats, unit: npt.NDArray[np.intp]) -> Pairs:
    known = ~(np.isnan(true) | np.isnan(measured))
    # Units are numbered without a gap, or one that is never seen would be drawn, too.
    _, numbered = np.unique(unit[known], return_inverse=True)
    return Pairs(true[known], measured[known], numbered.astype(np.intp))


def _patients(studies: Compared) -> npt.NDArray[np.intp]:
    return units([sample.patient for sample, _ in studies])


def _overlaps(studies: Compared, part: str, how: Resampling) -> dict[str, Any] | None:
    """Dice and surface distances of one kind of mask."""
    drawn = [(sample, study) for sample, study in studies if getattr(study, part) is not None]
    masks: list[Overlap] = [getattr(study, part) for _, study in drawn]
    if not any(mask.true.any() for mask in masks):
        return None
    unit = _patients(drawn)
    distances = np.array([mask.distance or (np.nan, np.nan) for mask in masks])
    columns = {
        "dice": np.array([mask.dice for mask in masks]),
        "surface_mm": distances[:, 0],
        "hd95_mm": distances[:, 1],
    }
    found: dict[str, Any] = {"studies": int(sum(mask.true.any() for mask in masks))}
    found |= {name: one.plain() for name, one in means(columns, unit, *how).items()}
    much = [_counted(study, part) for _, study in drawn]
    lengths = [int(each.sum()) for each in much]
    both, true, measured = (
        np.concatenate([getattr(mask, name)[each] for mask, each in zip(masks, much, strict=True)])
        for name in ("both", "true", "measured")
    )
    slices = _slice_dice(2.0 * both, 1.0 * (true + measured), np.repeat(unit, lengths), how)
    return found | {"slices": sum(lengths), **{name: one.plain() for name, one in slices.items()}}


def _counted(study: ComparedStudy, part: str) -> npt.NDArray[np.bool_]:
    """Which slices that were observed count: with lung, of the lesions those of whose lung much is lesion."""
    if part == "lungs":
        assert study.lungs is not None
        return study.lungs.true > 0
    if study.true is None or study.lesions is None:
        return np.zeros(len(study.measured.lung), dtype=bool)
    return np.asarray((study.true.percents > MUCH_PERCENT) & (study.lesions.true > 0))


def _slice_dice(
    shared: Floats, sizes: Floats, unit: npt.NDArray[np.intp], how: Resampling
) -> dict[str, Estimate]:
    """The mean of slices' Dice, and that of all of them together.

    Args:
        shared: twice the voxels that both masks have, (slices,).
        sizes: the voxels of the one and of the other, added.
    """
    if not len(sizes):
        return {"slice_dice": Estimate(None), "pooled_dice": Estimate(None)}
    _, numbered = np.unique(unit, return_inverse=True)
    each, ones = shared / sizes, np.ones(len(sizes))

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        return {"slice_dice": ratio(each, ones, weights), "pooled_dice": ratio(shared, sizes, weights)}

    found = estimates(statistics, numbered.astype(np.intp), *how)
    return {"slice_dice": found["slice_dice"], "pooled_dice": found["pooled_dice"]}


def _agreement(pairs: Pairs, what: str, how: Resampling) -> dict[str, Any] | None:
    """Errors of percentages, in points; None where none is known.

    Slices of one patient are alike, so that the limits of agreement of slices have no intervals.
    """
    if not len(pairs.true):
        return None
    difference = pairs.measured - pairs.true
    errors = means({"mean_absolute_error": np.abs(difference), "bias": difference}, pairs.unit, *how)
    limits = limits_of_agreement(difference)
    worst = int(np.abs(difference).argmax())
    plain = None if limits is None else limits.plain()
    if plain is not None and what == "slices":
        plain = {name: Estimate(limit["value"]).plain() for name, limit in plain.items()}
    return {
        what: len(difference),
        **{name: error.plain() for name, error in errors.items()},
        "limits_of_agreement": plain,
        "worst": {
            "true": float(pairs.true[worst]),
            "measured": float(pairs.measured[worst]),
            "difference": float(difference[worst]),
        },
    }


def _grades(studies: Compared, how: Resampling) -> dict[str, Any] | None:
    """How often the measured grade is that of the true percentage, and what is measured of each true grade.

    A study in which no lungs were found has none, and is wrong.
    """
    known = [(sample, study) for sample, study in studies if study.true_grade is not None]
    if not known:
        return None
    right = np.array([study.measured_grade == study.true_grade for _, study in known], dtype=np.float64)
    unit = _patients(known)
    trials = {"right": [int(unit.max()) + 1]}
    found = means({"right": right}, unit, *how, trials)["right"]
    by_grade = {}
    for grade in GRADES:
        own = [(sample, study) for sample, study in known if study.true_grade == grade]
        if own:
            counts = Counter(study.measured_grade or "none" for _, study in own)
            by_grade[grade] = {
                "studies": len(own),
                "measured": dict(sorted(counts.items())),
                "percent_affected": _agreement(of_studies(own), "studies", how),
            }
    return {"studies": len(known), "right": found.plain(), "by_grade": by_grade}


def study_figures(sample: Sample, study: ComparedStudy) -> dict[str, Any]:
    """One study, for JSON and tables; None where a figure is undefined."""
    found: dict[str, Any] = {
        "file": shareable(sample.file),
        "label": sample.label,
        "slices": len(study.measured.lung),
        "lungs_true_ml": None if study.lungs is None else int(study.lungs.true.sum()) * study.voxel_ml,
        "lungs_measured_ml": int(study.measured.lung.sum()) * study.voxel_ml,
        "percent_true": study.true_percent,
        "percent_measured": study.measured.percent,
        "difference": study.measured.percent - study.true_percent,
        "grade_true": study.true_grade,
        "grade_measured": study.measured_grade,
    }
    for part, mask in (("lungs", study.lungs), ("lesions", study.lesions)):
        distance = None if mask is None else mask.distance
        found[f"{part}_dice"] = None if mask is None else mask.dice
        found[f"{part}_surface_mm"] = None if distance is None else distance.mean_mm
        found[f"{part}_hd95_mm"] = None if distance is None else distance.hd95_mm
    found["lesions_outside_lungs"] = 100 * study.outside
    found["flags"] = list(study.flags)
    return {name: _defined(value) for name, value in found.items()}


def _defined(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return None if np.isnan(value) else round(value, 6)
