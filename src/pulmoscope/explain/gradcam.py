"""Grad-CAM: which part of an image speaks for a class.

Selvaraju et al., «Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization», ICCV 2017.
A bundle's network gives the feature maps and the weights of equation 1; this is equation 2, and the way back into
the image.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import Box, FloatArray
from pulmoscope.preprocess.framing import crop
from pulmoscope.runtime.model import LAST_STAGE, Outputs, Prepared

ROUNDING = 1e-5
"""Of the sum of all terms' sizes: a sum of terms of both signs that is smaller is the rounding of single precision."""


def grad_cam(features: FloatArray, weights: FloatArray) -> FloatArray:
    """The evidence for one class: ReLU of the weighted sum of the feature maps, over its maximum.

    Args:
        features: (channels, rows, columns).
        weights: (channels,), the derivative of the class's logit by each map, averaged over space.

    Returns:
        float32 (rows, columns) in [0, 1]; 0 everywhere where nothing speaks for the class. It is never shifted: a
        normaliser that stretches the least and the greatest value to [0, 1] shows evidence where there is none. A map
        of one cell from a head of cosines is such a case: longer features are no other answer, so its terms cancel.
    """
    weights, features = weights.astype(np.float64), features.astype(np.float64)
    evidence, sizes = (
        np.asarray(np.tensordot(terms, maps, axes=1), dtype=np.float64)
        for terms, maps in ((weights, features), (np.abs(weights), np.abs(features)))
    )
    return speaking_for(evidence, sizes)


def speaking_for(evidence: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64] | float) -> FloatArray:
    """Evidence of both signs without what speaks against the class, over its maximum.

    Args:
        sizes: of the terms that were summed, for :data:`ROUNDING`.
    """
    positive = np.where(evidence > ROUNDING * sizes, evidence, 0.0)
    most = float(positive.max())
    return np.asarray(positive / most if most > 0 else positive, dtype=np.float32)


def place(cam: FloatArray, box: Box, rows: int, columns: int) -> FloatArray:
    """Lay a map over the part of the scan that it was computed from.

    Bilinear, with cells as areas: cell *i* of *n* is centred at (i + 1/2) / n of the box, as pooling has it.

    Args:
        cam: float32, of any size, over the whole box.
        box: the region in pixels of the scan; it may reach beyond the scan.
        rows, columns: of the scan.

    Returns:
        float32 (rows, columns); 0 outside the box.
    """
    inside = np.asarray(
        cv2.resize(cam, (box.width, box.height), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )
    return np.ascontiguousarray(crop(inside, Box(-box.top, -box.left, rows, columns)))


def cells(outputs: Outputs, index: int, target: int, stage: int = LAST_STAGE) -> FloatArray:
    """The Grad-CAM of one image of a batch as the network gives it (arguments: see :func:`explain`)."""
    features, gradients = outputs.stages.get(stage, (outputs.features, outputs.gradients))
    return grad_cam(features[index], gradients[index, target])


def explain(
    outputs: Outputs,
    index: int,
    prepared: Prepared,
    target: int,
    rows: int,
    columns: int,
    stage: int = LAST_STAGE,
) -> FloatArray:
    """The Grad-CAM of one image of a batch, at its scan's own size: float32 (rows, columns), see :func:`place`.

    Args:
        outputs: what the network said of the batch.
        index: the image within the batch.
        prepared: that image as the network saw it.
        target: the number of the class whose evidence is wanted. For a single logit the first class's evidence
            is that of the negative logit (its gradients have the other sign).
        rows, columns: of the scan.
        stage: which of the network's stages, where it gives several.
    """
    return place(cells(outputs, index, target, stage), prepared.framed.box, rows, columns)
