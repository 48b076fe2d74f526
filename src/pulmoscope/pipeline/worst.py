"""The answers that were wrong and most sure of it, each with what the network looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.explain.gradcam import grad_cam, place
from pulmoscope.explain.overlay import overlay
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.pictures import grey, jpeg
from pulmoscope.report.evaluation import Case
from pulmoscope.runtime.model import Model

CASES = 24


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
        shares = predictions.probabilities[index]
        called = int(shares.argmax())
        explained = explainer(model, pixels)
        cases.append(
            Case(
                file=file,
                source=predictions.sources[index],
                label=predictions.classes[label],
                called=predictions.classes[called],
                probability=float(shares[called]),
                label_probability=float(shares[label]),
                picture=jpeg(grey(pixels)),
                called_map=jpeg(explained(called)),
                label_map=jpeg(explained(label)),
            )
        )
    return cases


def explainer(model: Model, pixels: FloatArray) -> Callable[[int], npt.NDArray[np.uint8]]:
    """The image, float32 (rows, columns), under its Grad-CAM map for a class number: uint8 (rows, columns, 3)."""
    prepared = model.prepare(pixels)
    outputs = model.predict(prepared.tensor[None])
    rows, columns = pixels.shape

    def explained(target: int) -> npt.NDArray[np.uint8]:
        cam = grad_cam(outputs.features[0], outputs.gradients[0, target])
        return overlay(pixels, place(cam, prepared.framed.box, rows, columns))

    return explained
