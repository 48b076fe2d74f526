"""Several kinds of heat maps, all from what a bundle's network gives: no torch, no automatic differentiation.

Every kind is a function of one image as the network sees it, and gives a map of a few cells, which fill the region that
the network sees evenly. Two families:

**From feature maps and gradients.** As most heads are linear on pooled maps, a logit's derivative by a map is the same
at all its positions, and some published methods come to others. HiRes-CAM (Draelos & Carin 2020) is Grad-CAM. LayerCAM
(Jiang et al. 2021) is Grad-CAM of the maps that speak for the class alone. Grad-CAM++ (Chattopadhay et al. 2018,
equation 19, with the exponential of the logit as score) has these maps alone, too, with weights g / (2 + g S), where g
is the derivative and S the map's sum: the more a map adds to the logit, the less each position of it counts.

**From the network's answers to changed images.** What is hidden is blurred: its coarse density is still there, its
texture is gone. Occlusion hides one patch at a time (Zeiler & Fergus 2014). RISE shows random parts (Petsiuk et al.
2018); here each part is followed by its complement, so that what all parts together do drops out, and of the mean over
all pairs only what is more than two standard errors above nothing is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.explain.gradcam import grad_cam, speaking_for
from pulmoscope.runtime.maps import MAPS
from pulmoscope.runtime.model import Outputs

Predict = Callable[[FloatArray], Outputs]
"""A model's ``predict``: float32 (batch, channels, size, size) → what the network says."""

PATCHES = 9
"""Positions of an occluding patch per axis; a patch is two steps wide."""
PAIRS, CELLS, STEPS, SEED = 32, 6, 4, 20
"""Random parts of RISE, each asked with its complement; their cells per axis; the steps within a cell by which they are
shifted, so much finer is the map; and the seed that they are drawn with."""
NOISE = 2.0
"""Standard errors that are taken off: what is left of RISE's map can hardly be chance."""
VEIL = 0.1
"""Standard deviation of the blur, in sides of the image."""

_Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Viewed:
    """One image as the network saw it.

    Attributes:
        tensor: float32 (channels, size, size).
        outputs, index: what the network said of the batch that it was in, and where.
        negative: the numbers of the classes that say that nothing was found. Evidence for another class speaks against
            these; evidence for one of these, or of a model without any, against all other classes.
    """

    tensor: FloatArray
    outputs: Outputs
    index: int = 0
    negative: tuple[int, ...] = ()

    @property
    def features(self) -> FloatArray:
        """(maps, rows, columns)."""
        return np.asarray(self.outputs.features[self.index])

    @property
    def gradients(self) -> FloatArray:
        """(classes, maps)."""
        return np.asarray(self.outputs.gradients[self.index])

    @property
    def probabilities(self) -> FloatArray:
        """(classes,)."""
        return np.asarray(self.outputs.probabilities[self.index])

    def against(self, target: int) -> list[int]:
        """The classes that evidence for ``target`` speaks against."""
        others = [number for number in range(len(self.probabilities)) if number != target]
        return others if target in self.negative or not self.negative else list(self.negative)


def maps(kind: str, viewed: Viewed, predict: Predict, targets: Sequence[int]) -> list[FloatArray]:
    """Heat maps of one image, one a class.

    Args:
        kind: one of :data:`~pulmoscope.runtime.maps.MAPS`.
        predict: the model's; kinds that change the image call it, once for all classes.
        targets: the numbers of the classes whose evidence is wanted.

    Returns:
        float32 (rows, columns) in [0, 1] each, 0 everywhere where nothing speaks for the class; the cells fill the
        network's region of the scan evenly.

    Raises:
        KeyError: there is no such kind.
    """
    return _KINDS[kind](viewed, predict, targets)


def veiled(tensor: FloatArray) -> FloatArray:
    """The image, (channels, size, size), so blurred that nothing but coarse density is left."""
    return np.stack([cv2.GaussianBlur(channel, (0, 0), VEIL * tensor.shape[1]) for channel in tensor])


def partly_veiled(tensor: FloatArray, hidden: FloatArray) -> FloatArray:
    """The image, blurred as far as ``hidden`` (masks, rows, columns) is 1: float32 (masks, channels, size, size)."""
    height, width = tensor.shape[1:]
    difference = veiled(tensor) - tensor
    images = np.empty((len(hidden), *tensor.shape), dtype=np.float32)
    for image, mask in zip(
        images, hidden, strict=True
    ):  # one by one, so that all of it stays in the processor's cache
        np.multiply(difference, cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), out=image)
        image += tensor
    return images


def _grad_cam(viewed: Viewed, _: Predict, targets: Sequence[int]) -> list[FloatArray]:
    return [grad_cam(viewed.features, viewed.gradients[target]) for target in targets]


def _grad_cam_plus(viewed: Viewed, _: Predict, targets: Sequence[int]) -> list[FloatArray]:
    sums = viewed.features.sum(axis=(1, 2))
    slopes = [np.maximum(viewed.gradients[target], 0) for target in targets]
    return [grad_cam(viewed.features, slope / (2 + np.maximum(slope * sums, 0))) for slope in slopes]


def _layer_cam(viewed: Viewed, _: Predict, targets: Sequence[int]) -> list[FloatArray]:
    return [grad_cam(viewed.features, np.maximum(viewed.gradients[target], 0)) for target in targets]


def _contrast_cam(viewed: Viewed, _: Predict, targets: Sequence[int]) -> list[FloatArray]:
    """Grad-CAM of the log-odds: what is added to all logits alike changes no probability, and is no evidence."""
    found = []
    for target in targets:
        against = viewed.against(target)
        weights = viewed.probabilities[against].astype(np.float64)
        weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(against), 1 / len(against))
        other = weights @ viewed.gradients[against]
        found.append(
            grad_cam(viewed.features, np.asarray(viewed.gradients[target] - other, dtype=np.float32))
        )
    return found


def _occlusion(viewed: Viewed, predict: Predict, targets: Sequence[int]) -> list[FloatArray]:
    """How far the log-odds fall when a patch is hidden; of a cell the mean over the patches on it."""
    patches = np.zeros((PATCHES * PATCHES, PATCHES + 1, PATCHES + 1), dtype=np.float32)
    for number, patch in enumerate(patches):
        row, column = divmod(number, PATCHES)
        patch[row : row + 2, column : column + 2] = 1
    after = predict(partly_veiled(viewed.tensor, patches)).probabilities
    found = []
    for target in targets:
        lost = _odds(viewed.probabilities[None], target, viewed) - _odds(after, target, viewed)
        found.append(
            speaking_for(np.tensordot(lost, patches, axes=1) / patches.sum(axis=0), np.abs(lost).max())
        )
    return found


def _rise(viewed: Viewed, predict: Predict, targets: Sequence[int]) -> list[FloatArray]:
    """How much the log-odds rise when a place is shown instead of hidden."""
    shown = _random_parts()
    answers = predict(partly_veiled(viewed.tensor, np.concatenate([1 - shown, shown]))).probabilities
    found = []
    for target in targets:
        odds = _odds(answers, target, viewed)
        effects = ((odds[:PAIRS] - odds[PAIRS:]) / 2)[:, None, None] * (shown - 0.5)
        noise = effects.std(axis=0, ddof=1) / math.sqrt(PAIRS)
        found.append(speaking_for(effects.mean(axis=0) - NOISE * noise, np.abs(effects).max()))
    return found


@cache
def _random_parts() -> FloatArray:
    """What is shown, each place with probability 1/2: float32 (pairs, rows, columns) in [0, 1]."""
    rng, side = np.random.default_rng(SEED), CELLS * STEPS
    parts = []
    for _ in range(PAIRS):
        coarse = (rng.random((CELLS + 1, CELLS + 1)) < 0.5).astype(np.float32)
        fine = cv2.resize(coarse, (side + STEPS, side + STEPS), interpolation=cv2.INTER_LINEAR)
        row, column = rng.integers(0, STEPS, 2)
        parts.append(fine[row : row + side, column : column + side])
    return np.stack(parts)


def _odds(probabilities: FloatArray, target: int, viewed: Viewed) -> _Scores:
    """The logarithm of a class's odds against those that it speaks against: (images,)."""
    known = np.maximum(probabilities.astype(np.float64), 1e-12)
    return np.asarray(np.log(known[:, target]) - np.log(known[:, viewed.against(target)].sum(axis=1)))


_KINDS: Mapping[str, Callable[[Viewed, Predict, Sequence[int]], list[FloatArray]]] = dict(
    zip(
        MAPS,
        (_grad_cam, _grad_cam_plus, _layer_cam, _contrast_cam, _occlusion, _rise),
        strict=True,
    )
)
