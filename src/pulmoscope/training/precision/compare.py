"""How a model's answers change with its precision: on images, and each network by itself; and how far they may.

The limits of :data:`LIMITS` are about what a reader sees: an answer, or none; how probable it is; what it rests on. A
change within them is smaller than what another split of the training data makes of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import BoolArray, Decision, FloatArray
from pulmoscope.datasets.table import Sample
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.explain.gradcam import grad_cam
from pulmoscope.inference.image import SeenImage, infer_images
from pulmoscope.runtime.model import BATCH, Model
from pulmoscope.runtime.network import Network

Figures = Mapping[str, float | None]

LIMITS = {"labels": 0.99, "decisions": 0.99, "auroc": 0.005, "calibration_error": 0.01, "heat_maps": 0.9}
"""Figure of :func:`compared` → what it is held to: at least so much, and of a difference at most."""
DIFFERENCES = ("auroc", "calibration_error", "outputs")
"""Figures that are best at 0."""
UNDEFINED = {
    "auroc": "the images are of one class alone",
    "calibration_error": "single precision gives no probabilities",
    "heat_maps": "no heat map of single precision varies",
}
"""Why a figure of :func:`compared` can't be computed."""
AGREEMENT = 0.99
"""Least agreement of a lung finder's masks (Dice), and of a view network's views, with those of single precision."""
NOISE, SEED, OUTPUTS = 16, 20, 1e-3
"""Where no images are at hand: so much seeded noise, and how far outputs may differ, in their standard deviations."""


@dataclass(frozen=True)
class Answers:
    """What a model says of images.

    Attributes:
        probabilities: (images, classes).
        decided: of each image the class that is reported, or ``refer``.
        maps: Grad-CAM's cells of each class, float32 (images, classes, rows, columns).
    """

    probabilities: FloatArray
    decided: tuple[str, ...]
    maps: FloatArray


def answers(model: Model, seen: Sequence[SeenImage]) -> Answers:
    """What a model says of images that it was shown; at least one."""
    probabilities, decided, maps = [], [], []
    for start in range(0, len(seen), BATCH):
        outputs, answered = infer_images(seen[start : start + BATCH], model)
        probabilities.append(outputs.probabilities)
        for (_, said), features, gradients in zip(answered, outputs.features, outputs.gradients, strict=True):
            label = max(said.probabilities, key=lambda name: said.probabilities[name])
            decided.append(label if said.decision is Decision.REPORT else Decision.REFER.value)
            maps.append(np.stack([grad_cam(features, weights) for weights in gradients]))
    return Answers(np.concatenate(probabilities), tuple(decided), np.stack(maps))


def compared(samples: Sequence[Sample], classes: tuple[str, ...], exact: Answers, other: Answers) -> Figures:
    """Answers beside those of single precision, of the same images.

    Returns:
        ``labels``, ``decisions``: the fractions of images whose most probable class, and whose decision (the class
        that is reported, or none), are the same; ``auroc``, ``calibration_error``: by how much the mean AUROC over the
        classes and the calibration error are larger; ``heat_maps``: mean correlation of Grad-CAM's cells for the class
        of single precision. None: undefined in single precision already; NaN: at the other precision alone.
    """
    before, after = (_scores(samples, classes, one.probabilities) for one in (exact, other))
    label = exact.probabilities.argmax(axis=1)
    images = np.arange(len(label))
    alike = [
        _correlation(one, two)
        for one, two in zip(exact.maps[images, label], other.maps[images, label], strict=True)
        if one.std() > 0
    ]
    return {
        "labels": float(np.mean(label == other.probabilities.argmax(axis=1))),
        "decisions": float(
            np.mean([one == two for one, two in zip(exact.decided, other.decided, strict=True)])
        ),
        **{name: _less(after[name], before[name]) for name in before},
        "heat_maps": float(np.mean(alike)) if alike else None,
    }


def _scores(samples: Sequence[Sample], classes: tuple[str, ...], probabilities: FloatArray) -> Figures:
    predictions = Predictions(
        files=tuple(sample.file for sample in samples),
        labels=tuple(sample.label for sample in samples),
        patients=tuple(sample.patient for sample in samples),
        sources=tuple(sample.source for sample in samples),
        classes=classes,
        probabilities=probabilities.astype(np.float64),
    )
    scores = evaluate(predictions, bootstrap=0).scores
    return {"auroc": scores["macro_auroc"].value, "calibration_error": scores["calibration_error"].value}


def _less(one: float | None, other: float | None) -> float | None:
    if other is None:
        return None
    return np.nan if one is None else one - other


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Of two maps, the first of which varies; 0 where the other does not."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if other.std() > 0 else 0.0


def failures(figures: Figures, limits: Mapping[str, float]) -> list[str]:
    """Each figure that does not keep its limit, in words: what was found and what is allowed, or why there is none."""
    words = []
    for name, limit in limits.items():
        found = figures[name]
        if found is None:
            words.append(f"{name} can't be computed ({UNDEFINED[name]})")
        elif name in DIFFERENCES:
            if not abs(found) <= limit:
                words.append(f"{name} {found:+.4f} (at most {limit:g} either way)")
        elif not found >= limit:
            words.append(f"{name} {found:.4f} (at least {limit:g})")
    return words


def outputs(exact: Network, other: Network, inputs: FloatArray) -> Figures:
    """The largest difference of any output, in standard deviations of that output."""
    before, after = exact(inputs), other(inputs)
    apart = [
        float(np.abs(after[name] - before[name]).max()) / (float(before[name].std()) or 1.0)
        for name in before
    ]
    return {"outputs": max(apart)}


def lungs_alike(exact: Network, other: Network, inputs: FloatArray) -> float:
    """Mean Dice of the masks of two lung finders, of images in which the first finds lungs; 0 where there is none."""

    def masks(network: Network) -> BoolArray:
        return np.concatenate([network(inputs[at : at + 1])["logits"] > 0 for at in range(len(inputs))])

    one, two = masks(exact), masks(other)
    found, both = one.sum(axis=(1, 2, 3)), (one & two).sum(axis=(1, 2, 3))
    dice = 2 * both[found > 0] / (found + two.sum(axis=(1, 2, 3)))[found > 0]
    return float(dice.mean()) if len(dice) else 0.0


def views_alike(exact: Network, other: Network, inputs: FloatArray) -> float:
    """The fraction of pictures of which two view networks say the same."""
    one, two = (network(inputs)["logits"].argmax(axis=1) for network in (exact, other))
    return float(np.mean(one == two))


ALIKE: Mapping[str, Callable[[Network, Network, FloatArray], float]] = {
    "lungs.onnx": lungs_alike,
    "view.onnx": views_alike,
}
"""Networks beside the image network → how well two of them agree."""
