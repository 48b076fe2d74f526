"""Report an answer, or refer the image to a person: one rule for diagnosis, evaluation and audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import Decision, Flag, FlagLevel, Prediction, Quality, Scan
from pulmoscope.quality import ct_rules, rules, views
from pulmoscope.quality.distribution import Reference
from pulmoscope.runtime.bundle import Bundle, Thresholds
from pulmoscope.runtime.model import Outputs

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask


def judge(
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
    found = []
    for place, (own, row) in enumerate(zip(flags, answers.probabilities, strict=True)):
        known = rules.drawn_among_real(own, bundle.training_data.get("sources", ()))
        known = views.known_children(known, bundle.training_data.get("views", {}), bundle.classes)
        shares = dict(zip(bundle.classes, (round(float(share), 6) for share in row), strict=True))
        unlike = rules.unlike_training(distances[place], thresholds.distance)
        if not is_positive(max(shares, key=lambda name: shares[name])):
            unlike += rules.unlike_normal(from_normal[place], thresholds.normal_distance)
        quality = Quality((*known, *unlike))
        found.append((quality, decide(shares, quality, thresholds)))
    return found


def _distances(bundle: Bundle, part: str, answers: Outputs) -> Sequence[float | None]:
    """How far each image is from a reference distribution of the bundle; None each where it has none."""
    reference = _reference(bundle.folder / part, bundle.files.get(part))
    if reference is None:
        return [None] * len(answers.probabilities)
    return [float(own) for own in reference.distance(answers.features.mean(axis=(2, 3)))]


def ct_quality(scan: Scan, lungs: LungMask | None, sources: Collection[str]) -> Quality:
    """What is known of a CT before a model answers.

    Args:
        lungs: None where they can't be looked for.
        sources: of the model's training studies.
    """
    flags = ct_rules.check(scan, None if lungs is None else lungs.labels).flags
    return Quality(rules.drawn_and_real(flags, sources))


def decide(probabilities: Mapping[str, float], quality: Quality, thresholds: Thresholds) -> Prediction:
    """Report the answer, or refer the scan to a person: for its quality, or because the model is not sure enough."""
    label, best = max(probabilities.items(), key=lambda item: item[1])
    confidence = thresholds.of(label)
    refused = [flag for flag in quality.flags if flag.level is FlagLevel.REFUSE]
    if refused:
        others = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        decision, reason = Decision.REFER, f"the image can't be judged: {refused[0].message}{others}"
    elif best < confidence:
        decision = Decision.REFER
        reason = f"the most probable class has {best:.3f}, below the model's threshold of {confidence:.2f}"
    else:
        decision = Decision.REPORT
        reason = (
            f"the most probable class has {best:.3f}, at or above the model's threshold of {confidence:.2f}"
        )
        if quality.verdict == "warn":
            reason += "; mind the quality warnings"
    return Prediction(probabilities, decision, f"{reason[0].upper()}{reason[1:]}.")


@cache
def _reference(file: Path, sha256: str | None) -> Reference | None:
    """What images looked like; kept by checksum, so that a changed bundle is read anew."""
    return None if sha256 is None else Reference.from_bytes(file.read_bytes(), file.name)
