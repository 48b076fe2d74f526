"""Does a model look at lungs or at shortcuts? Images with the lungs, or the surroundings, taken away.

Every perturbation is done to the raw image, before any preprocessing, so that no crop or equalisation can bring back
what was taken; with ``framed`` alone the region is the one found before. All take and give float32 (rows, columns) in
[0, 1], and none changes its argument. After Maguolo and Nanni (2021), «A critic evaluation of methods for COVID-19
automatic detection from X-ray images», who blacked the lungs out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from pulmoscope.core.types import BoolArray, Box, Decision, FloatArray
from pulmoscope.datasets.hospitals import UNIDENTIFIED
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.evaluation.hospitals import LEAST
from pulmoscope.evaluation.metrics import PAIR, Metrics, Predictions
from pulmoscope.evaluation.metrics import evaluate as measure

GOOD, BAD = 0.60, 0.75
"""AUROC without the lungs: up to GOOD the surroundings say next to nothing, above BAD the model reads them."""

DROP_GOOD, DROP_BAD = 0.02, 0.10
"""Loss of AUROC without the border: up to DROP_GOOD the model does without it, above DROP_BAD it leans on it. A gain of
more than DROP_GOOD says that the border misled it."""

NOISE_SEED = 20
ROOM = 0.03
"""How far beyond the lungs everything is erased, or kept, in shorter sides of the image: the finder's errors."""


def central_box(rows: int, columns: int, area: float) -> Box:
    """The centred box with this fraction of the area: each of its sides is the square root of it."""
    height, width = round(rows * math.sqrt(area)), round(columns * math.sqrt(area))
    return Box((rows - height) // 2, (columns - width) // 2, height, width)


def blackout(pixels: FloatArray, area: float = 0.6) -> FloatArray:
    """The central ``area`` set to black: what remains holds next to no lung."""
    return _filled(pixels, area, lambda inside, outside: np.zeros_like(inside))


def centre_grey(pixels: FloatArray, area: float = 0.6) -> FloatArray:
    """The central ``area`` set to the mean of its surroundings, so that not even its brightness remains."""
    return _filled(pixels, area, lambda inside, outside: np.full_like(inside, outside))


def centre_noise(pixels: FloatArray, area: float = 0.6) -> FloatArray:
    """The central ``area`` replaced with uniform noise, the same for every image of a size."""
    rng = np.random.default_rng(NOISE_SEED)
    return _filled(pixels, area, lambda inside, outside: rng.random(inside.shape, dtype=np.float32))


def centre_blurred(pixels: FloatArray, area: float = 0.6) -> FloatArray:
    """The central ``area`` blurred with a Gaussian of 1/16 of the shorter side: outlines remain, texture goes."""
    sigma = min(pixels.shape) / 16
    return _filled(pixels, area, lambda inside, outside: cv2.GaussianBlur(inside, (0, 0), sigma))


def border_removed(pixels: FloatArray, edge: float = 0.12) -> FloatArray:
    """The outer ``edge`` of each side set to black: letters, frames, shoulders and collimation go."""
    rows, columns = pixels.shape
    top, left = round(rows * edge), round(columns * edge)
    image = np.zeros_like(pixels)
    image[top : rows - top, left : columns - left] = pixels[top : rows - top, left : columns - left]
    return image


def lungs_grey(pixels: FloatArray, lungs: BoolArray) -> FloatArray:
    """The lungs set to the mean of everything else; bool (rows, columns) says where they are."""
    image = pixels.copy()
    image[lungs] = pixels[~lungs].mean(dtype=np.float64) if not lungs.all() else 0.0
    return image


def lungs_noise(pixels: FloatArray, lungs: BoolArray) -> FloatArray:
    """The lungs replaced with uniform noise, the same for every image of a size."""
    noise = np.random.default_rng(NOISE_SEED).random(pixels.shape, dtype=np.float32)
    return np.where(lungs, noise, pixels)


def lungs_only(pixels: FloatArray, lungs: BoolArray) -> FloatArray:
    """Everything but the lungs set to black."""
    return np.where(lungs, pixels, np.float32(0))


def _filled(pixels: FloatArray, area: float, fill: Callable[[FloatArray, float], FloatArray]) -> FloatArray:
    box = central_box(pixels.shape[0], pixels.shape[1], area)
    inside = box.slices
    # From the surroundings' own pixels: a difference of sums would carry the centre in its rounding.
    around = np.ones(pixels.shape, dtype=bool)
    around[inside] = False
    outside = float(pixels[around].mean(dtype=np.float64)) if around.any() else 0.0
    image = pixels.copy()
    image[inside] = fill(pixels[inside], outside)
    return image


@dataclass(frozen=True)
class Perturbation:
    """One way to take something away.

    Attributes:
        code, title: stable name, and name for people.
        takes: ``nothing``; ``lungs`` (what remains should not tell the classes apart); ``texture`` (for
            comparison only: outlines may rightly tell them apart); ``border`` and ``surroundings`` (what remains should
            do as well).
        what: one sentence on what is done and what it shows.
        apply: the function; None leaves the image alone.
        masked: the same of a function that is also told where the lungs are; of CT studies it gets HU (slices, rows,
            columns).
        framed: the lungs' place is the one found in the image as it was: for models with a lung finder only, which
            would otherwise find no lungs and fall back on what is the same in all images.
    """

    code: str
    title: str
    takes: Literal["nothing", "lungs", "texture", "border", "surroundings"]
    what: str
    apply: Callable[[FloatArray], FloatArray] | None = None
    framed: bool = False
    masked: Callable[[FloatArray, BoolArray], FloatArray] | None = None


CLEAN = Perturbation("clean", "As it is", "nothing", "The image as it was read.")

PERTURBATIONS = (
    CLEAN,
    Perturbation(
        "blackout",
        "Border alone, centre black",
        "lungs",
        "The central 60 % of the area is black: a border of 11 % of each side is left, and next to no lung.",
        blackout,
    ),
    Perturbation(
        "blackout_framed",
        "Border alone, place of the lungs kept",
        "lungs",
        "The same, but the model knows where the lungs were: what frame and outlines say is still there.",
        blackout,
        framed=True,
    ),
    Perturbation(
        "lungs_grey",
        "Lungs grey",
        "lungs",
        "Both lungs, and 3 % around them, have the mean grey of all else. Their outline, heart and shoulders stay.",
        framed=True,
        masked=lungs_grey,
    ),
    Perturbation(
        "lungs_noise",
        "Lungs noise",
        "lungs",
        "The same, but filled with the same noise in every image.",
        framed=True,
        masked=lungs_noise,
    ),
    Perturbation(
        "lungs_only",
        "Lungs alone",
        "surroundings",
        "Everything but the lungs and 3 % around them is black. A model that reads lungs loses little.",
        framed=True,
        masked=lungs_only,
    ),
    Perturbation(
        "centre_grey",
        "Centre grey",
        "lungs",
        "The central 60 % has the mean grey of the surroundings.",
        centre_grey,
    ),
    Perturbation(
        "centre_noise",
        "Centre noise",
        "lungs",
        "The central 60 % is the same noise in every image.",
        centre_noise,
    ),
    Perturbation(
        "centre_blurred",
        "Centre blurred",
        "texture",
        "The central 60 % is strongly blurred: outlines and coarse density remain, texture is gone.",
        centre_blurred,
    ),
    Perturbation(
        "border_removed",
        "Border black",
        "border",
        "The outer 12 % of each side is black. A model that reads lungs loses little.",
        border_removed,
    ),
)


@dataclass(frozen=True)
class Audited:
    """What is left of a model's answers under one perturbation.

    Attributes:
        auroc: of the pair COVID against Normal where there is one, else the mean over the classes.
        accuracy: over all classes.
        same_answer: fraction of files that are called the same as without the perturbation.
        referred: fraction of the images that the model refers instead of reporting; None where nothing was decided.
        verdict: ``good``, ``doubtful``, ``bad``; ``none`` where the perturbation is for comparison, or too little
            is known.
        within: hospital → the AUROC among its images alone, see :func:`within_hospitals`.
    """

    perturbation: Perturbation
    auroc: Estimate
    accuracy: Estimate
    same_answer: float | None
    referred: float | None
    verdict: Literal["good", "doubtful", "bad", "none"]
    says: str
    within: Mapping[str, Estimate] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.perturbation.code,
            "title": self.perturbation.title,
            "takes": self.perturbation.takes,
            "what": self.perturbation.what,
            "auroc": self.auroc.plain(),
            "accuracy": self.accuracy.plain(),
            "same_answer": self.same_answer,
            "referred": self.referred,
            "verdict": self.verdict,
            "says": self.says,
            "within": {hospital: auroc.plain() for hospital, auroc in self.within.items()},
        }


def headline_auroc(metrics: Metrics) -> Estimate:
    """The AUROC that an audit compares: of the pair where there is one, else the mean over the classes."""
    return (metrics.pairwise or metrics).scores["macro_auroc"]


def within_hospitals(predictions: Predictions, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """Each hospital's AUROC, among its own images, where knowing the hospital does not help.

    Of the pair COVID against Normal where there are at least :data:`~pulmoscope.evaluation.hospitals.LEAST` images of
    both; else the mean over the classes with so many, where there are two; other hospitals are left out.
    """
    figures = {}
    for hospital in sorted(set(predictions.hospitals) - {UNIDENTIFIED}):
        labels = [
            label if name == hospital else ""
            for label, name in zip(predictions.labels, predictions.hospitals, strict=True)
        ]
        enough = {label for label in predictions.classes if labels.count(label) >= LEAST}
        compared = set(PAIR) if set(PAIR) <= enough else enough
        if len(compared) > 1:
            chosen = predictions.select([label in compared for label in labels])
            figures[hospital] = headline_auroc(measure(chosen, bootstrap, seed))
    return figures


def assess(
    perturbation: Perturbation,
    metrics: Metrics,
    clean: Metrics,
    predictions: Predictions,
    clean_predictions: Predictions,
    *,
    seeks: bool = False,
    within: Mapping[str, Estimate] | None = None,
) -> Audited:
    """Compare a perturbed run with the clean one.

    Args:
        seeks: the model looks for the lungs first. Where they are taken away it may find none and see next to
            nothing, so of what takes the lungs only the framed figure earns a verdict.
        within: the perturbed run's AUROC within hospitals.
    """
    auroc, before = headline_auroc(metrics), headline_auroc(clean)
    answers = dict(zip(clean_predictions.files, clean_predictions.predicted, strict=True))
    pairs = [
        (answers[file], called)
        for file, called in zip(predictions.files, predictions.predicted, strict=True)
        if file in answers
    ]
    decisions = predictions.decisions
    verdict, says = _verdict(perturbation.takes, auroc.value, before.value)
    if seeks and perturbation.takes == "lungs" and not perturbation.framed:
        verdict, says = "none", "for comparison: the model may find no lungs"
    return Audited(
        perturbation=perturbation,
        auroc=auroc,
        accuracy=metrics.scores["accuracy"],
        same_answer=sum(one == other for one, other in pairs) / len(pairs) if pairs else None,
        referred=decisions.count(Decision.REFER.value) / len(decisions) if decisions else None,
        verdict=verdict,
        says=says,
        within=within or {},
    )


def _verdict(
    takes: str, auroc: float | None, clean: float | None
) -> tuple[Literal["good", "doubtful", "bad", "none"], str]:
    if takes in ("nothing", "texture"):
        return "none", "for comparison"
    if auroc is None or clean is None:
        return "none", "the data hold too few classes to tell"
    if _either_way(clean) <= GOOD:
        return "none", "the model hardly tells the classes apart in the first place"
    lost = clean - auroc
    if takes == "surroundings":
        if lost <= DROP_BAD:
            return "good", "does with the lungs alone"
        return "doubtful", "needs more than the lungs, or is put off by the black around them"
    if takes == "border":
        if lost < -DROP_GOOD:
            return "doubtful", "is misled by the border: better without it"
        if lost <= DROP_GOOD:
            return "good", "does without the border"
        return ("bad", "leans on the border") if lost > DROP_BAD else ("doubtful", "uses the border in part")
    if _either_way(auroc) <= GOOD:
        return "good", "the surroundings say next to nothing"
    bad = _either_way(auroc) > BAD
    return ("bad", "reads the surroundings") if bad else ("doubtful", "reads the surroundings in part")


def _either_way(auroc: float) -> float:
    """An AUROC far below one half is the same knowledge with the sign turned round."""
    return max(auroc, 1 - auroc)
