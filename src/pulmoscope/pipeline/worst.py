"""The answers that were wrong and most sure of it, each with what the network looked at."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.files import shareable
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.explain.gradcam import explain
from pulmoscope.explain.overlay import overlay
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.pictures.xray import grey, jpeg, shrunk
from pulmoscope.report.evaluation import Case
from pulmoscope.runtime.model import Model

CASES = 24
SIDE = 300
"""Longest side of a picture, px."""


def worst_cases(model: Model, table: SampleTable, predictions: Predictions, count: int = CASES) -> list[Case]:
    """The wrong answers with the highest probability, with Grad-CAM maps for the called class and the label's.

    Args:
        predictions: of images of ``table`` whose labels are among the model's classes.
    """
    paths = {sample.file: table.path(sample) for sample in table}
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions.probabilities.argmax(axis=1) != predictions.truth)
    ranked = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    cases = []
    for index in ranked:
        file, label = predictions.files[index], int(predictions.truth[index])
        pixels = read_pixels(paths[file])
        probabilities = predictions.probabilities[index]
        called = int(probabilities.argmax())
        prepared = model.prepare(pixels)
        outputs = model.predict(prepared.tensor[None])
        small = shrunk(pixels, SIDE)
        called_map, label_map = (
            jpeg(overlay(small, shrunk(explain(outputs, 0, prepared, target, *pixels.shape), SIDE)))
            for target in (called, label)
        )
        cases.append(
            Case(
                file=shareable(file),
                source=predictions.sources[index],
                label=predictions.classes[label],
                called=predictions.classes[called],
                probability=float(probabilities[called]),
                label_probability=float(probabilities[label]),
                picture=jpeg(grey(small)),
                called_map=called_map,
                label_map=label_map,
            )
        )
    return cases
