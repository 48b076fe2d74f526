"""A model's own quality control: fills the missing parts of standardised slices, and scores the others."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import NOT_FILLED, FloatArray
from pulmoscope.preprocess.ct_standard import StandardStudy
from pulmoscope.quality.anomaly import AnomalyModel
from pulmoscope.quality.imputation import Imputer, NetworkImputer, impute, imputer
from pulmoscope.runtime.bundle import ANOMALY, MISGAN
from pulmoscope.runtime.model import Model


def imputer_of(model: Model) -> Imputer | None:
    """What this bundle fills missing regions with; None where it leaves them."""
    kind = model.bundle.imputer
    if kind == MISGAN:
        assert model.imputer is not None
        return NetworkImputer(MISGAN, model.imputer)
    return None if kind in ("", NOT_FILLED) else imputer(kind)


def anomalies_of(model: Model) -> AnomalyModel | None:
    """The AnoGAN that scores slices; None where the bundle has none."""
    return None if model.anomaly is None else AnomalyModel(model.anomaly, ANOMALY)


def repaired(study: StandardStudy, model: Model) -> FloatArray:
    """A study's slices, float32 (slices, size, size) in [0, 1], what is missing filled as the bundle does it.

    A study of which nothing that is shown was observed stays as it is.
    """
    images = np.asarray(study.images, dtype=np.float32) / np.float32(255)
    filler = imputer_of(model)
    if filler is None or not (study.shown & ~study.missing).any():
        return images
    return impute(images, study.missing, filler, study.shown)
