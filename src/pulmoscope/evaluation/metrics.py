"""How good predictions are: the usual figures, each with an interval, none of them out of step with its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.evaluation.bootstrap import Estimate, Values, Weights, estimates, units
from pulmoscope.evaluation.calibration import BINS, bin_numbers
from pulmoscope.evaluation.exact import pair_count, unit_count

PAIR = ("COVID", "Normal")
"""The two classes that are also compared with each other alone: positive, negative."""

SCORES = ("accuracy", "balanced_accuracy", "mcc", "macro_f1", "macro_auroc", "calibration_error", "brier")
MEASURES = ("auroc", "average_precision", "sensitivity", "specificity")


@dataclass(frozen=True)
class Predictions:
    """Probabilities of images, each row with its file's name, so that nothing can go out of step.

    Attributes:
        files, labels, patients, sources: one entry an image; label, patient, source are empty where unknown.
        classes: the model's classes, in the order of the columns.
        probabilities: float64 (images, classes).
        logits: float64 (images, classes) or (images, 1), where they were kept.
        decisions: ``report`` or ``refer`` for each image; empty where nothing was decided.
        hospitals: of each image, as the hospital map has it; empty where nobody asked.
        features: float32 (images, channels), averaged over space, where they were kept.

    Raises:
        ValueError: the lengths differ.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    sources: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64] | None = None
    decisions: tuple[str, ...] = ()
    hospitals: tuple[str, ...] = ()
    features: FloatArray | None = None

    def __post_init__(self) -> None:
        images = len(self.files)
        lengths = {images, len(self.labels), len(self.patients), len(self.sources)}
        if len(lengths) > 1 or self.probabilities.shape != (images, len(self.classes)):
            raise ValueError(
                f"one label, patient, source and row of {len(self.classes)} probabilities a file needed, got "
                f"{images} files and probabilities {self.probabilities.shape}"
            )
        if self.logits is not None and len(self.logits) != images:
            raise ValueError(f"one row of logits a file needed, got {images} files and {self.logits.shape}")
        if self.decisions and len(self.decisions) != images:
            raise ValueError(
                f"one decision a file needed, got {images} files and {len(self.decisions)} decisions"
            )
        if self.hospitals and len(self.hospitals) != images:
            raise ValueError(f"one hospital a file needed, got {images} files and {len(self.hospitals)}")
        if self.features is not None and len(self.features) != images:
            raise ValueError(
                f"one row of features a file needed, got {images} files and {self.features.shape}"
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The most probable class of each image (the first of equals)."""
        return tuple(self.classes[number] for number in self.probabilities.argmax(axis=1))

    @property
    def truth(self) -> npt.NDArray[np.intp]:
        """The number of each label among the classes; -1 where the model does not know the label."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers.get(label, -1) for label in self.labels], dtype=np.intp)

    def select(self, chosen: Sequence[bool] | BoolArray) -> Predictions:
        """The images for which ``chosen`` (images,) is true."""
        kept = np.flatnonzero(chosen)

        def take(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[index] for index in kept)

        return replace(
            self,
            files=take(self.files),
            labels=take(self.labels),
            patients=take(self.patients),
            sources=take(self.sources),
            probabilities=self.probabilities[kept],
            logits=None if self.logits is None else self.logits[kept],
            decisions=take(self.decisions) if self.decisions else (),
            hospitals=take(self.hospitals) if self.hospitals else (),
            features=None if self.features is None else self.features[kept],
        )


@dataclass(frozen=True)
class Metrics:
    """The figures of one set of predictions.

    Attributes:
        images, units: how many images were counted, and how many patients (or images) were drawn from.
        resampled_by: ``patient``, ``image``, or ``patient where known``.
        scores: ``accuracy``, ``balanced_accuracy``, ``mcc``, ``macro_f1``, ``macro_auroc``,
            ``calibration_error`` and ``brier``. Means over classes are over those that the data have.
        by_class: class → ``auroc``, ``average_precision`` (one against rest), ``sensitivity``, ``specificity``.
        counts: class → images with this label.
        confusion: (label, predicted) counts, in the order of the classes.
        pairwise: the same for :data:`PAIR` alone, where the model and the data have both.
    """

    images: int
    units: int
    resampled_by: str
    scores: Mapping[str, Estimate]
    by_class: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, int]
    confusion: tuple[tuple[int, ...], ...]
    pairwise: Metrics | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON, without ``pairwise``."""
        return {
            "images": self.images,
            "units": self.units,
            "resampled_by": self.resampled_by,
            "scores": {name: result.plain() for name, result in self.scores.items()},
            "by_class": {
                name: {"images": self.counts[name]}
                | {measure: value.plain() for measure, value in result.items()}
                for name, result in self.by_class.items()
            },
            "confusion": [list(row) for row in self.confusion],
        }


def evaluate(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> Metrics:
    """Figures over the images whose label is one of the model's classes; the others are left out.

    Args:
        bootstrap: resamples for the intervals; 0: no intervals.
        seed: of the resampling.

    Raises:
        ValueError: no image has one of the classes.
    """
    metrics = _evaluate(predictions, bootstrap, seed)
    if set(PAIR) <= set(predictions.classes) and set(PAIR) <= set(predictions.labels):
        metrics = replace(metrics, pairwise=_evaluate(pairwise(predictions, *PAIR), bootstrap, seed))
    return metrics


def pairwise(predictions: Predictions, positive: str, negative: str) -> Predictions:
    """Two classes alone: their images, and probabilities (negative, positive) that sum to 1.

    Raises:
        ValueError: the model does not have both classes.
    """
    missing = {positive, negative} - set(predictions.classes)
    if missing:
        raise ValueError(f"not among the classes: {', '.join(sorted(missing))}")
    kept = predictions.select([label in (positive, negative) for label in predictions.labels])
    columns = [kept.classes.index(name) for name in (negative, positive)]
    probabilities = kept.probabilities[:, columns]
    total = probabilities.sum(axis=1, keepdims=True)
    # Where a third class has taken everything, the pair is undecided.
    probabilities = np.divide(probabilities, total, out=np.full_like(probabilities, 0.5), where=total > 0)
    return replace(kept, classes=(negative, positive), probabilities=probabilities, logits=None)


def outside_classes(predictions: Predictions, bootstrap: int = 1000, seed: int = 20) -> list[dict[str, Any]]:
    """What images with labels that the model does not know were called, by source and label.

    Gives, sorted, ``{"source", "label", "images", "called": {class: estimate}}`` (JSON-ready).
    """
    strange = predictions.select(predictions.truth < 0)
    pairs = list(zip(strange.sources, strange.labels, strict=True))
    return [
        {"source": source, "label": label}
        | _called(strange.select([pair == (source, label) for pair in pairs]), bootstrap, seed)
        for source, label in sorted(set(pairs))
    ]


def _called(predictions: Predictions, bootstrap: int, seed: int) -> dict[str, Any]:
    called = predictions.probabilities.argmax(axis=1)

    def fractions(weights: Weights) -> dict[Any, Values]:
        total = weights.sum(axis=1)
        return {name: weights @ (called == index) / total for index, name in enumerate(predictions.classes)}

    unit_of_image = units(predictions.patients)
    everyone = [int(unit_of_image.max()) + 1]
    trials = dict.fromkeys(predictions.classes, everyone)
    results = estimates(fractions, unit_of_image, bootstrap, seed, trials)
    return {
        "images": len(predictions),
        "called": {str(name): value.plain() for name, value in results.items()},
    }


def _evaluate(predictions: Predictions, bootstrap: int, seed: int) -> Metrics:
    known = predictions.select(predictions.truth >= 0)
    if not len(known):
        raise ValueError("no image has a label among the model's classes")
    unit_of_image = units(known.patients)
    statistics = Statistics(known)
    results = estimates(statistics, unit_of_image, bootstrap, seed, statistics.trials(unit_of_image))
    confusion = np.zeros((len(known.classes),) * 2, dtype=int)
    np.add.at(confusion, (known.truth, known.probabilities.argmax(axis=1)), 1)
    by_patient = sum(bool(name) for name in known.patients)
    return Metrics(
        images=len(known),
        units=int(unit_of_image.max()) + 1,
        resampled_by="patient where known"
        if 0 < by_patient < len(known)
        else "patient"
        if by_patient
        else "image",
        scores={name: results["", name] for name in SCORES},
        by_class={name: {measure: results[name, measure] for measure in MEASURES} for name in known.classes},
        counts={name: known.labels.count(name) for name in known.classes},
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


class Statistics:
    """Every figure of every resample; what does not depend on the resample is kept. All labels must be known."""

    def __init__(self, known: Predictions) -> None:
        probabilities, truth = known.probabilities, known.truth
        images, classes = probabilities.shape
        called = probabilities.argmax(axis=1)
        confidence = probabilities.max(axis=1)
        one_hot = np.eye(classes)[truth]
        self._classes = known.classes
        self._truth = truth
        self._present = [number for number in range(classes) if (truth == number).any()]
        self._cells = np.eye(classes * classes)[truth * classes + called]
        self._brier = ((probabilities - one_hot) ** 2).sum(axis=1)
        self._gaps = np.zeros((images, BINS))
        self._gaps[np.arange(images), bin_numbers(confidence)] = confidence - (called == truth)
        self._ranked = [Ranked(probabilities[:, number], truth == number) for number in range(classes)]

    def __call__(self, weights: Weights) -> dict[Any, Values]:
        """Class (empty: over all) and name → values (resamples,), from weights (resamples, images)."""
        classes, present = len(self._classes), self._present
        total = weights.sum(axis=1)
        table = (weights @ self._cells).reshape(-1, classes, classes)
        labelled, called, right = table.sum(axis=2), table.sum(axis=1), np.diagonal(table, axis1=1, axis2=2)
        sensitivity = _ratio(right, labelled)
        specificity = _ratio(total[:, None] - labelled - called + right, total[:, None] - labelled)
        f1 = _ratio(2 * right, labelled + called)
        curves = [ranked(weights) for ranked in self._ranked]
        several = len(present) > 1
        nowhere = np.full(len(total), np.nan)
        # A resample that lost a class of the data is undefined, not an average over fewer classes.
        whole = np.where((labelled[:, present] > 0).all(axis=1), 1.0, np.nan)
        results: dict[Any, Values] = {
            ("", "accuracy"): right.sum(axis=1) / total,
            ("", "balanced_accuracy"): sensitivity[:, present].mean(axis=1) if several else nowhere,
            ("", "mcc"): _mcc(labelled, called, right, total),
            ("", "macro_f1"): f1[:, present].mean(axis=1) * whole if several else nowhere,
            ("", "macro_auroc"): np.mean([curves[number][0] for number in present], axis=0),
            ("", "calibration_error"): np.abs(weights @ self._gaps).sum(axis=1) / total,
            ("", "brier"): weights @ self._brier / total,
        }
        for number, name in enumerate(self._classes):
            results[name, "auroc"], results[name, "average_precision"] = curves[number]
            results[name, "sensitivity"] = sensitivity[:, number]
            results[name, "specificity"] = specificity[:, number]
        return results

    def trials(self, unit_of_image: npt.NDArray[np.intp]) -> dict[Any, list[int]]:
        """How many patients the proportions and AUROCs rest on."""
        of_class = [self._truth == number for number in range(len(self._classes))]
        inside = [unit_count(unit_of_image, members) for members in of_class]
        pairs = [pair_count(unit_of_image, members, ~members) for members in of_class]
        ranked = (
            self._present[:1] if len(pairs) == 2 else self._present
        )  # of two classes the AUROCs are the same
        counts: dict[Any, list[int]] = {
            ("", "accuracy"): [int(unit_of_image.max()) + 1],
            ("", "balanced_accuracy"): [inside[number] for number in self._present],
            ("", "macro_auroc"): [pairs[number] for number in ranked],
        }
        for number, name in enumerate(self._classes):
            counts[name, "auroc"] = [pairs[number]]
            counts[name, "sensitivity"] = [inside[number]]
            counts[name, "specificity"] = [unit_count(unit_of_image, ~of_class[number])]
        return counts


class Ranked:
    """Images in descending order of one class's probability, ties together."""

    def __init__(self, scores: npt.NDArray[np.float64], positive: BoolArray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        descending = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1]]))
        self._positive = positive[self._order].astype(np.float64)

    def __call__(self, weights: Weights) -> tuple[Values, Values]:
        """AUROC (ties count half; Mann and Whitney 1947) and average precision (no interpolation)."""
        ordered = weights[:, self._order]
        hits = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        all_at = np.add.reduceat(ordered, self._starts, axis=1)
        misses = all_at - hits
        hits_above, all_above = hits.cumsum(axis=1), all_at.cumsum(axis=1)
        positives = hits_above[:, -1]
        negatives = all_above[:, -1] - positives
        won = (misses * (hits_above - hits / 2)).sum(axis=1)
        precision = np.divide(hits_above, all_above, out=np.zeros_like(hits_above), where=all_above > 0)
        return _ratio(won, positives * negatives), _ratio(
            (hits * precision).sum(axis=1), positives * (negatives > 0)
        )


def _ratio(part: Values, whole: Values) -> Values:
    """``part / whole``, NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mcc(labelled: Values, called: Values, right: Values, total: Values) -> Values:
    """Matthews' correlation for several classes (Gorodkin 2004).

    Undefined where there is one label only; 0 where one class only was called.
    """
    product = right.sum(axis=1) * total - (labelled * called).sum(axis=1)
    spread_labels = total**2 - (labelled**2).sum(axis=1)
    spread_called = total**2 - (called**2).sum(axis=1)
    correlation = np.divide(
        product,
        np.sqrt(spread_labels * spread_called),
        out=np.zeros_like(product),
        where=(spread_labels > 0) & (spread_called > 0),
    )
    return np.where(spread_labels > 0, correlation, np.nan)
