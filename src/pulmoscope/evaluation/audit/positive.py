"""What a model is asked in the end: is there the disease or not?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.types import BoolArray
from pulmoscope.evaluation.metrics import PAIR, Predictions


def positive_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """COVID where the model knows it, else every class that says that something was found."""
    return PAIR[:1] if PAIR[0] in classes else tuple(name for name in classes if is_positive(name))


def has_disease(predictions: Predictions) -> BoolArray:
    """Of each image, whether its label is positive, bool (images,)."""
    positive = positive_classes(predictions.classes)
    return np.array([label in positive for label in predictions.labels], dtype=bool)


def called_disease(predictions: Predictions) -> BoolArray:
    """Of each image, whether the most probable class is positive, bool (images,)."""
    positive = positive_classes(predictions.classes)
    return np.array([name in positive for name in predictions.predicted], dtype=bool)


def probability(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Of each image, what the positive classes have together, float64 (images,) in [0, 1]."""
    positive = positive_classes(predictions.classes)
    columns = [predictions.classes.index(name) for name in positive]
    return np.asarray(np.minimum(predictions.probabilities[:, columns].sum(axis=1), 1.0), dtype=np.float64)
