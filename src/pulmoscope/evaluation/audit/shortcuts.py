"""Does something outside the lungs tell the label, and does the model read it?

Both are needed for a shortcut (Geirhos et al. 2020, «Shortcut learning in deep neural networks»): that a probe, which
sees a corner of the image and nothing else, tells the label of patients that it has not learnt from; and that the
model's answer moves when an image is given the corner of an image with the other label, more than with the corner of
one with its own label, and more than with another region of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.evaluation.audit.probe import (
    Scores,
    auroc,
    auroc_by_chance,
    cross_validated,
    follows,
    mean_by_chance,
)
from pulmoscope.evaluation.audit.traits import Trait
from pulmoscope.evaluation.audit.verdict import Verdict

LEAST = 10
"""Images with a label, and without it, below which nothing is asked."""
TELLS, BY_CHANCE = 0.75, 0.001
"""From this AUROC on a trait tells the label, where shuffled labels are told as well no more often than this."""
USED, MUCH_USED, USED_BY_CHANCE = 0.05, 0.15, 0.01
"""From this fraction of what separates the labels on the model uses a trait (much), with p of at most this."""
FOLLOWS = 0.3
"""Correlation from which on a model follows what can't be exchanged."""


@dataclass(frozen=True)
class Told:
    """How well a trait alone tells a label from all others.

    Attributes:
        label: which one.
        images, positives: how many images, and how many with the label.
        auroc, p: cross-validated by patient; how often shuffled labels are told as well.
    """

    label: str
    images: int
    positives: int
    auroc: float
    p: float

    @property
    def enough(self) -> bool:
        """Whether the trait tells the label."""
        return self.auroc >= TELLS and self.p <= BY_CHANCE


@dataclass(frozen=True)
class Used:
    """What becomes of the model's answers when the trait is exchanged.

    Attributes:
        images: how many were asked about.
        moved: how far answers move to the other label with the other label's trait, beyond how far they move with the
            trait of another image of the same label; as a fraction of the distance between the labels' mean answers.
        p: how often random signs reach that.
        control: the same of another region as large as a corner, the middle of several.
    """

    images: int
    moved: float
    p: float
    control: float

    @property
    def enough(self) -> bool:
        """Whether the model reads the trait."""
        return self.moved >= max(USED, 2 * self.control) and self.p <= USED_BY_CHANCE


@dataclass(frozen=True)
class Assessed:
    """One trait: what it tells, over all images and within hospitals, and what the model makes of it.

    Attributes:
        told: over all images; None where too few are there.
        within: hospital → the same among its images alone.
        follows: rank correlation of the model's and the probe's scores among images of one label.
        used: None where it tells nothing, can't be exchanged, or the model does not tell the labels apart.
    """

    code: str
    title: str
    told: Told | None
    within: Mapping[str, Told]
    follows: float | None = None
    used: Used | None = None

    @property
    def tells(self) -> Told | None:
        """Where it tells a label best; None where it tells none."""
        telling = [told for told in (self.told, *self.within.values()) if told is not None and told.enough]
        return max(telling, key=lambda told: told.auroc, default=None)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def told_of(
    features: FloatArray, labels: Sequence[str], patients: Sequence[str], seed: int
) -> tuple[Told, Scores] | None:
    """The label that a trait tells best, and what the probe says of each image; None: too few images of any.

    Args:
        features: float32 (images, numbers), of the trait.
    """
    best: tuple[Told, Scores] | None = None
    for label in asked(labels):
        positive = np.array([name == label for name in labels])
        scores = cross_validated(features, positive, patients)
        if scores is None:
            continue
        value = auroc(scores, positive)
        if best is None or value > best[0].auroc:
            best = Told(label, len(positive), int(positive.sum()), value, 1.0), scores
    if best is None:
        return None
    told, scores = best
    positive = np.array([name == told.label for name in labels])
    return replace(told, p=auroc_by_chance(scores, positive, seed)), scores


def asked(labels: Sequence[str]) -> list[str]:
    """The labels that are asked about, each against all others: enough images with it and without; of two, one."""
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    enough = [label for label, count in counts.items() if min(count, len(labels) - count) >= LEAST]
    return enough[:1] if len(counts) == 2 else enough


def label_score(logits: npt.NDArray[np.float64], number: int) -> Scores:
    """How sure the model is of a class against all others: its logit less the others' log-sum-exp.

    Args:
        logits: (images, classes), or (images, 1) for the second of two.
        number: of the class.
    """
    if logits.shape[1] == 1:
        return np.asarray(logits[:, 0] if number else -logits[:, 0], dtype=np.float64)
    others = np.delete(logits, number, axis=1)
    return np.asarray(logits[:, number] - np.logaddexp.reduce(others, axis=1), dtype=np.float64)


def moved(before: Scores, other: Scores, same: Scores, positive: BoolArray) -> Scores | None:
    """How far each answer moves towards the other label, in distances between the labels' mean answers.

    Args:
        before, other, same: scores of the positive label: of the images as they are, with the trait of an image of
            the other label, and with that of another image of the same label.

    Returns:
        float64 (images,); None where the model does not tell the labels apart.
    """
    apart = before[positive].mean() - before[~positive].mean()
    if apart <= 1e-6:
        return None
    return np.asarray(np.where(positive, same - other, other - same) / apart, dtype=np.float64)


def used_of(shifts: Scores, controls: Sequence[Scores], seed: int) -> Used:
    """What exchanging a trait comes to, beside exchanging other regions."""
    control = float(np.median([shift.mean() for shift in controls])) if controls else 0.0
    return Used(len(shifts), float(shifts.mean()), mean_by_chance(shifts, seed), control)


def follows_of(score: Scores, probe: Scores, labels: Sequence[str], label: str) -> float | None:
    """Whether, among images of one label, the model is surer where the probe is."""
    return follows(score, probe, np.array([name == label for name in labels]))


def assess(
    trait: Trait,
    features: FloatArray,
    labels: Sequence[str],
    patients: Sequence[str],
    hospitals: Sequence[str],
    seed: int,
) -> tuple[Assessed, Scores | None]:
    """What a trait tells, over all images and within each hospital; and the probe's scores over all.

    Args:
        features: float32 (images, numbers), of the trait.
    """
    overall = told_of(features, labels, patients, seed)
    within = {}
    for hospital in sorted(set(hospitals) - {UNIDENTIFIED}) if len(set(hospitals)) > 1 else ():
        chosen = [at for at, name in enumerate(hospitals) if name == hospital]
        found = told_of(
            features[chosen], [labels[at] for at in chosen], [patients[at] for at in chosen], seed
        )
        if found is not None:
            within[hospital] = found[0]
    told, scores = overall if overall is not None else (None, None)
    return Assessed(trait.code, trait.title, told, within), scores


def verdicts(assessed: Sequence[Assessed]) -> list[Verdict]:
    """Every shortcut that is found, everything in the data that could become one, or that there is none."""
    if all(one.told is None and not one.within for one in assessed):
        return [
            Verdict(
                "shortcuts",
                "none",
                f"Whether something outside the lungs tells the label could not be asked: this needs {LEAST} images "
                "with a label and as many without.",
            )
        ]
    read = [one for one in assessed if is_read(one)]
    corners = [one.code for one in read if one.code.startswith("corner-")]
    if len(corners) == 4 and any(one.code == "border" for one in read):
        read = [one for one in read if one.code not in corners]  # a wide border fills the corners, too
    listed = [_read(one) for one in read]
    if not listed:
        listed.append(
            Verdict(
                "shortcuts",
                "good",
                "The model's answers do not hang on corners, border, letters, brightness, size or compression.",
            )
        )
    silent = [one for one in assessed if one.tells is not None and not is_read(one)]
    return [*listed, *(_data(one, one.tells) for one in silent if one.tells is not None)]


def is_read(one: Assessed) -> bool:
    """Whether a trait is a shortcut of the model's: it tells a label, and the model reads it."""
    if one.tells is None:
        return False
    if one.used is not None:
        return one.used.enough
    return one.code == "compression" and one.follows is not None and one.follows >= FOLLOWS


def _read(one: Assessed) -> Verdict:
    tells = one.tells
    assert tells is not None
    alone = f"{one.title[0].upper()}{one.title[1:]} alone tells {tells.label} (AUROC {tells.auroc:.2f}), and the model"
    if one.used is None:
        says = f"{alone}'s answers follow it (rank correlation {one.follows:.2f} among images of one label)."
        return Verdict(one.code, "doubtful", says)
    carried = 100 * min(one.used.moved, 1)
    says = (
        f"{alone} reads it: exchanged between images of different labels, it carries {carried:.0f} % of what separates "
        "the model's answers."
    )
    return Verdict(one.code, "bad" if one.used.moved >= MUCH_USED else "doubtful", says)


def _data(one: Assessed, tells: Told) -> Verdict:
    return Verdict(
        f"data-{one.code}",
        "doubtful",
        f"In these data {one.title} alone tells {tells.label} (AUROC {tells.auroc:.2f}{_where(one, tells)}); the "
        "model's answers were not seen to hang on it.",
    )


def _where(one: Assessed, tells: Told) -> str:
    """At which hospital it tells the label, where it does so best within one."""
    return next((f" within {name}" for name, told in one.within.items() if told is tells), "")
