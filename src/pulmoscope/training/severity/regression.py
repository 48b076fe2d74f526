"""From slices to the patient by logistic regression on the mean of the slices' vectors: the fourth vote.

A grade is how much of the lungs is ill. The mean of the network's features and of the lung's densities over all slices
holds that, and a vote for each slice, or the slice where a feature is largest, does not. A linear layer on it has one
answer for its data: nothing is drawn, and no number of epochs is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from pulmoscope.core.types import FloatArray
from pulmoscope.models.classifier import Head
from pulmoscope.models.losses import balanced_weights
from pulmoscope.models.patient import MeanPooling, PatientClassifier
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.votes import DENSITIES
from pulmoscope.training.severity.scale import scale_of

STRENGTH = 1.0
"""scikit-learn's C: the inverse of the penalty on weights of standardised features."""
ITERATIONS = 10_000


def fit_regression(recipe: Recipe, vectors: Sequence[FloatArray], labels: Sequence[int]) -> PatientClassifier:
    """Multinomial logistic regression on standardised means, with the loss's class weights.

    All features together and all densities together count the same in the penalty, however many there are of each.

    Args:
        recipe: of its loss, ``beta`` weighs the classes.
        vectors: of each study float32 (slices, maps + densities): :func:`pulmoscope.runtime.votes.with_densities`.
        labels: of the studies; every class is there.

    Returns:
        The same as a network of vectors as they are.
    """
    means = np.stack([of_study.mean(axis=0, dtype=np.float64) for of_study in vectors])
    counts = np.bincount(labels, minlength=len(recipe.classes))
    weights = balanced_weights(counts.tolist(), recipe.loss.beta).numpy()
    middle, spread = scale_of(means)
    maps = means.shape[1] - DENSITIES
    units = np.repeat([1.0, math.sqrt(maps / DENSITIES)], [maps, DENSITIES]) / spread
    fitted = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS).fit(
        (means - middle) * units, labels, sample_weight=weights[np.asarray(labels)]
    )
    slopes, offsets = fitted.coef_, fitted.intercept_
    if len(slopes) == 1:  # of two classes only the second one's logit is fitted
        slopes, offsets = np.vstack([0 * slopes, slopes]), np.append(0, offsets)
    slopes = slopes * units
    network = PatientClassifier(
        MeanPooling(means.shape[1]), Head(means.shape[1], 0, 0.0, len(recipe.classes))
    )
    with torch.no_grad():
        network.head.output.weight.copy_(torch.from_numpy(slopes))
        network.head.output.bias.copy_(torch.from_numpy(offsets - slopes @ middle))
    return network.eval()
