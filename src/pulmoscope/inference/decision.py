"""Report an answer, or refer the image to a person: one rule for diagnosis, evaluation and audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import (
    Decision,
    Flag,
    FlagLevel,
    Prediction,
    PredictionSet,
    Quality,
    Scan,
    Subject,
)
from pulmoscope.quality import rules, unproven, views
from pulmoscope.quality.ct import rules as ct_rules
from pulmoscope.quality.distribution import Reference
from pulmoscope.report.html import percent
from pulmoscope.runtime.bundle import Bundle, Conformal, Thresholds
from pulmoscope.runtime.model import Outputs

if TYPE_CHECKING:  # it brings OpenCV
    from pulmoscope.segment.ct_lungs import LungMask


def decide_images(
    bundle: Bundle, flags: Sequence[Sequence[Flag]], answers: Outputs
) -> list[tuple[Quality, Prediction]]:
    """What is known of each image of a batch, and what is done with it.

    Args:
        flags: of each image, from :func:`pulmoscope.quality.rules.check`.
        answers: the network's, of the same images.
    """
    thresholds = bundle.thresholds
    distances = _distances(bundle, "reference.npz", answers)
    from_normal = _distances(bundle, "normal.npz", answers)
    limits = unproven.limits_of(bundle)
    decisions = []
    for index, (image_flags, row) in enumerate(zip(flags, answers.probabilities, strict=True)):
        known = rules.synthetic_among_real(image_flags, bundle.training_data.get("sources", ()))
        known = views.known_children(known, bundle.training_data.get("views", {}), bundle.classes)
        probabilities = dict(
            zip(bundle.classes, (round(float(probability), 6) for probability in row), strict=True)
        )
        unlike = rules.unlike_training(distances[index], thresholds.distance)
        label = max(probabilities, key=lambda name: probabilities[name])
        if not is_positive(label):
            unlike += rules.unlike_normal(from_normal[index], thresholds.normal_distance)
        elif probabilities[label] < thresholds.of(label):
            unlike += rules.unknown_disease(from_normal[index], thresholds.normal_distance)
        quality = Quality((*known, *unlike, *limits))
        decisions.append((quality, decide(probabilities, quality, thresholds, bundle.conformal)))
    return decisions


def normal_lungs(bundle: Bundle) -> Reference | None:
    """What normal lungs look like to a bundle's network; None where it has no such part."""
    return _part(bundle, "normal.npz")


def _part(bundle: Bundle, part: str) -> Reference | None:
    return _reference(bundle.folder / part, bundle.files.get(part))


def _distances(bundle: Bundle, part: str, answers: Outputs) -> Sequence[float | None]:
    """How far each image is from a reference distribution of the bundle; None each where it has none."""
    reference = _part(bundle, part)
    if reference is None:
        return [None] * len(answers.probabilities)
    return [float(distance) for distance in reference.distance(answers.features.mean(axis=(2, 3)))]


def ct_quality(scan: Scan, lungs: LungMask | None, sources: Collection[str]) -> Quality:
    """What is known of a CT before a model answers.

    Args:
        lungs: None where they can't be looked for.
        sources: of the model's training studies.
    """
    flags = ct_rules.check(scan, None if lungs is None else lungs.labels).all_flags
    return Quality(rules.synthetic_and_real(flags, sources))


def decide(
    probabilities: Mapping[str, float],
    quality: Quality,
    thresholds: Thresholds,
    conformal: Conformal | None = None,
) -> Prediction:
    """Report the answer, or refer the scan to a person: for its quality, or because the model is not sure enough.

    Args:
        conformal: tells which classes can't be ruled out; an answer that is not among them is referred. None: that is
            not asked.
    """
    fitting = None if conformal is None else conformal.set_of(probabilities)
    decision, reason = _decided(probabilities, quality, thresholds, fitting)
    return Prediction(probabilities, decision, reason, fitting)


def _decided(
    probabilities: Mapping[str, float],
    quality: Quality,
    thresholds: Thresholds,
    fitting: PredictionSet | None,
) -> tuple[Decision, str]:
    """The decision and its reason: the first that there is."""
    label, best = max(probabilities.items(), key=lambda item: item[1])
    confidence = thresholds.of(label)
    if quality.refusals:
        return Decision.REFER, _refusal(quality.refusals)
    reached, least = _apart(best, confidence)
    reason = f"The most probable answer, {label}, reaches {reached}; this model reports it from {least} on."
    if best < confidence:
        return Decision.REFER, reason
    if fitting is not None and label not in fitting.classes:
        return Decision.REFER, (
            f"The most probable answer, {label}, reaches {reached}; {percent(fitting.coverage, 0)} of the images that "
            "the model was calibrated with reached more for their own class."
        )
    if quality.verdict == "warn":
        reason += " Mind the warnings on the image's quality."
    if any(flag.level is FlagLevel.WARN for flag in quality.limits):
        reason += " Mind the limits of this model."
    return Decision.REPORT, reason


def _refusal(refusals: Sequence[Flag]) -> str:
    """Why an answer does not count, as a sentence: the first reason, and how many more there are."""
    first = refusals[0]
    what = (
        "The image can't be judged" if first.subject is Subject.IMAGE else "The model can't be relied on here"
    )
    others = "" if len(refusals) == 1 else f"; there {_more(len(refusals) - 1)}"
    return f"{what}: {first.message}{others}."


def _more(count: int) -> str:
    return "is one more reason" if count == 1 else f"are {count} more reasons"


def _apart(value: float, limit: float) -> tuple[str, str]:
    """Two probabilities in percent, with as many digits as it takes to tell them apart; whole where they are equal."""
    pairs = [(percent(value, digits), percent(limit, digits)) for digits in range(5)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])


@cache
def _reference(file: Path, sha256: str | None) -> Reference | None:
    """What images looked like; kept by checksum, so that a changed bundle is read anew."""
    return None if sha256 is None else Reference.from_bytes(file.read_bytes(), file.name)
