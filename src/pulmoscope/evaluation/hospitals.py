"""How a model does at each hospital: within one, knowing where an image comes from does not help.

In most public collections the source equals the class, so a figure over several measures how well a model tells
hospitals apart. What counts is how it tells the patients of one hospital apart, best of one that it has not learnt
from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import BoolArray, Decision
from pulmoscope.datasets.hospitals import PART_OF, UNIDENTIFIED
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.exact import pair_count, unit_count
from pulmoscope.evaluation.metrics import PAIR, Predictions, Ranked

LEAST = 10
"""A figure of fewer images than this (an AUROC: of one class; a mean or worst fraction: of all) says too little."""

POSITIVE, NEGATIVE = PAIR


@dataclass(frozen=True)
class LabelFigures:
    """What became of the images with one label.

    Attributes:
        images: how many there are.
        called, reported_as: each of :data:`~pulmoscope.evaluation.metrics.PAIR` → the fraction that was called so, and
            that was reported as it; undefined where the model has no such class.
        right: the fraction called what it is; undefined where the label is no class of the model.
        reported: the fraction that was reported, as whatever.
    """

    images: int
    called: Mapping[str, Estimate]
    reported_as: Mapping[str, Estimate]
    right: Estimate
    reported: Estimate


@dataclass(frozen=True)
class HospitalFigures:
    """The figures of one hospital; undefined ones have no value.

    Attributes:
        hospital: its name in the hospital map.
        learnt: whether the model has learnt from it; None: nobody knows.
        images, units: how many there are, and how many patients (or images) resamples are drawn from.
        by_label: the figures of each label; the only ones that count labels that are no class of the model.
        auroc_within: AUROC of p(COVID), COVID against Normal, at least :data:`LEAST` images of each; of a model that
            knows no Normal, against its class that says that nothing was found (non-COVID).
        calibration_error: debiased, of COVID against all other labels, where ``auroc_within`` is defined.
        auroc_disease: AUROC of 1 - p(Normal), diseases other than COVID against Normal, at least LEAST of each.
        wrongly_called: fraction of the images that was called another class than its label.
        wrongly_reported: fraction of the images that was reported as another class than its label.
        reported: fraction of the images, whatever their label, that was reported.
    """

    hospital: str
    learnt: bool | None
    images: int
    units: int
    by_label: Mapping[str, LabelFigures]
    auroc_within: Estimate
    calibration_error: Estimate
    auroc_disease: Estimate
    wrongly_called: Estimate
    wrongly_reported: Estimate
    reported: Estimate

    @property
    def counts(self) -> bool:
        """Whether it counts in means and worst figures: it is identified, and the model has not learnt from it."""
        return self.hospital != UNIDENTIFIED and self.learnt is False

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "hospital": self.hospital,
            "part_of": PART_OF.get(self.hospital),
            "learnt": self.learnt,
            "counts": self.counts,
            **{name: value for name, value in asdict(self).items() if name not in ("hospital", "learnt")},
        }


def hospital_figures(
    predictions: Predictions,
    learnt: Mapping[str, bool | None],
    bootstrap: int = 1000,
    seed: int = 20,
) -> list[HospitalFigures]:
    """The figures of every hospital, by name, unidentified images last.

    Args:
        predictions: with decisions and hospitals.
        learnt: hospital → whether the model has learnt from it; None: nobody knows.
        bootstrap, seed: as for :func:`pulmoscope.evaluation.metrics.evaluate`.

    Raises:
        ValueError: the predictions carry no hospitals or no decisions.
    """
    if not predictions.hospitals or not predictions.decisions:
        raise ValueError("a hospital and a decision for every image are needed")
    names = sorted(set(predictions.hospitals), key=lambda name: (name == UNIDENTIFIED, name))
    return [
        _figures(
            predictions.select([hospital == name for hospital in predictions.hospitals]),
            learnt[name],
            bootstrap,
            seed,
        )
        for name in names
    ]


def summary(rows: Sequence[HospitalFigures]) -> dict[str, Any]:
    """Mean and worst over the hospitals that count, ready for JSON.

    Figure → ``hospitals`` (how many have it), ``mean``, ``worst`` (the hospital and its estimate). The worst AUROC is
    the lowest, the worst fraction the highest. A fraction counts where it is of at least :data:`LEAST` images.
    """
    measures: dict[str, tuple[Callable[[HospitalFigures], Estimate], Callable[..., Any]]] = {
        "auroc_within": (lambda row: row.auroc_within, min),
        "normals_called_covid": (lambda row: _of_normals(row, "called"), max),
        "normals_reported_covid": (lambda row: _of_normals(row, "reported_as"), max),
        "wrongly_called": (lambda row: _of_enough(row, row.wrongly_called), max),
        "wrongly_reported": (lambda row: _of_enough(row, row.wrongly_reported), max),
    }
    summaries: dict[str, Any] = {}
    for name, (measure, worst_of) in measures.items():
        values = {row.hospital: measure(row) for row in rows if row.counts}
        known = {hospital: estimate for hospital, estimate in values.items() if estimate.value is not None}
        worst = worst_of(known, key=lambda hospital: known[hospital].value, default=None)
        summaries[name] = {
            "hospitals": len(known),
            "mean": float(np.mean([estimate.value for estimate in known.values()])) if known else None,
            "worst": None if worst is None else {"hospital": worst, **asdict(known[worst])},
        }
    return summaries


def section(rows: Sequence[HospitalFigures]) -> dict[str, Any]:
    """Rows and summary, ready for JSON."""
    return {"rows": [row.plain() for row in rows], "summary": summary(rows)}


def _of_normals(row: HospitalFigures, what: str) -> Estimate:
    normal = row.by_label.get(NEGATIVE)
    if normal is None or normal.images < LEAST:
        return Estimate(None)
    fractions: Mapping[str, Estimate] = getattr(normal, what)
    return fractions[POSITIVE]


def _of_enough(row: HospitalFigures, fraction: Estimate) -> Estimate:
    known = sum(figures.images for figures in row.by_label.values() if figures.right.value is not None)
    return fraction if known >= LEAST else Estimate(None)


def _figures(predictions: Predictions, learnt: bool | None, bootstrap: int, seed: int) -> HospitalFigures:
    """Of the images of one hospital, at least one."""
    unit_of_image = units(predictions.patients)
    statistics = _Statistics(predictions)
    results = estimates(statistics, unit_of_image, bootstrap, seed, statistics.trials(unit_of_image))
    by_label = {
        label: LabelFigures(
            images=predictions.labels.count(label),
            called={name: results[label, "called", name] for name in PAIR},
            reported_as={name: results[label, "reported", name] for name in PAIR},
            right=results[label, "right"],
            reported=results[label, "reported"],
        )
        for label in sorted(set(predictions.labels))
    }
    names = ("auroc_within", "calibration_error", "auroc_disease")
    fractions = ("wrongly_called", "wrongly_reported", "reported")
    return HospitalFigures(
        hospital=predictions.hospitals[0],
        learnt=learnt,
        images=len(predictions),
        units=int(unit_of_image.max()) + 1,
        by_label=by_label,
        **{name: results[name] for name in (*names, *fractions)},
    )


class _Statistics:
    """Every figure of every resample, from weights (resamples, images); what does not depend on them is kept."""

    def __init__(self, predictions: Predictions) -> None:
        labels, called = np.array(predictions.labels), np.array(predictions.predicted)
        known = predictions.truth >= 0
        reported = np.array([decision == Decision.REPORT for decision in predictions.decisions])
        wrong = known & (called != labels)
        everywhere = np.ones(len(predictions), dtype=bool)
        self._shares: dict[Any, tuple[BoolArray, BoolArray]] = {
            "wrongly_called": (wrong, known),
            "wrongly_reported": (wrong & reported, known),
            "reported": (reported, everywhere),
        }
        nowhere = np.zeros(len(predictions), dtype=bool)
        for label in set(predictions.labels):
            of_label = labels == label
            for name in PAIR:
                whole = of_label if name in predictions.classes else nowhere
                self._shares[label, "called", name] = (of_label & (called == name), whole)
                self._shares[label, "reported", name] = (of_label & (called == name) & reported, whole)
            self._shares[label, "right"] = (of_label & (called == label), of_label & known)
            self._shares[label, "reported"] = (of_label & reported, of_label)
        pair = (POSITIVE, _negative(predictions.classes))
        positive, negative = (labels == name if name in predictions.classes else nowhere for name in pair)
        disease = known & ~positive & ~negative
        self._within = _ranked(predictions, POSITIVE, positive, negative)
        self._disease = _ranked(
            predictions, NEGATIVE, negative, disease
        )  # p(Normal) ranks Normal above as 1 - p does below
        self._known = np.flatnonzero(known)
        self._error = (
            DebiasedError(_column(predictions, POSITIVE)[known], positive[known]) if self._within else None
        )

    def __call__(self, weights: Weights) -> dict[Any, Values]:
        results: dict[Any, Values] = {}
        for name, (part, whole) in self._shares.items():
            total = weights @ whole
            results[name] = np.divide(
                weights @ (part & whole), total, out=np.full_like(total, np.nan), where=total > 0
            )
        undefined = np.full(len(weights), np.nan)
        for name, ranked in (("auroc_within", self._within), ("auroc_disease", self._disease)):
            results[name] = undefined if ranked is None else ranked[1](weights[:, ranked[0]])[0]
        error = self._error
        results["calibration_error"] = undefined if error is None else error(weights[:, self._known])
        return results

    def trials(self, unit_of_image: npt.NDArray[np.intp]) -> dict[Any, list[int]]:
        """How many patients the fractions and AUROCs rest on."""
        counts = {name: [unit_count(unit_of_image, whole)] for name, (_, whole) in self._shares.items()}
        for name, ranked in (("auroc_within", self._within), ("auroc_disease", self._disease)):
            if ranked is not None:
                rows, positive = ranked[0], ranked[2]
                counts[name] = [pair_count(unit_of_image[rows], positive, ~positive)]
        return counts


def _negative(classes: Sequence[str]) -> str:
    """The class that COVID is compared with."""
    return next((name for name in classes if NEGATIVE not in classes and not is_positive(name)), NEGATIVE)


def _column(predictions: Predictions, name: str) -> npt.NDArray[np.float64]:
    return predictions.probabilities[:, predictions.classes.index(name)]


def _ranked(
    predictions: Predictions,
    by: str,
    positive: BoolArray,
    negative: BoolArray,
) -> tuple[npt.NDArray[np.intp], Ranked, BoolArray] | None:
    """The images of both sides, their ranks by a class's probability, and which are positive; None: too few of one."""
    if by not in predictions.classes or positive.sum() < LEAST or negative.sum() < LEAST:
        return None
    rows = np.flatnonzero(positive | negative)
    return rows, Ranked(_column(predictions, by)[rows], positive[rows]), positive[rows]
