"""A bundle of system A made ready: repaired slices in, what each of them and the patient shows out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.model import calibrated
from pulmoscope.runtime.network import Runtime, open_network, resolved
from pulmoscope.runtime.severity_bundle import (
    ANOMALY,
    IMPUTER,
    LEARNT,
    MISGAN,
    SLICE,
    SeverityBundle,
    load,
)
from pulmoscope.runtime.votes import majority, mean

BATCH = 16
DENSITIES = 11
"""How many shares of dense lung a slice's vector ends with: one for each bound between twelfths of the window."""


@dataclass(frozen=True)
class GradedSlices:
    """What the slice network says of a batch.

    Attributes:
        logits, probabilities: (batch, classes).
        vectors: (batch, maps + densities), see :func:`slice_vectors`.
        features: (batch, maps, rows, columns); ``gradients`` (batch, classes, maps): Grad-CAM's weights.
    """

    logits: FloatArray
    probabilities: FloatArray
    vectors: FloatArray
    features: FloatArray
    gradients: FloatArray


@dataclass(frozen=True)
class GradedStudy:
    """What is said of one study.

    Attributes:
        slices: probabilities (slices, classes).
        patient: each vote's answer: name → probabilities (classes,).
        vectors: (slices, maps + densities).
    """

    slices: FloatArray
    patient: Mapping[str, FloatArray]
    vectors: FloatArray


def slice_vectors(features: FloatArray, images: FloatArray) -> FloatArray:
    """What the learnt votes get of each slice: float32 (slices, maps + ``DENSITIES``).

    First the network's pooled features, then of all that is not black the shares that are denser than each twelfth of
    the window (from -900 to 100 HU of the recipe's): how much of the lung is how dense is what a grade is about, and a
    network that learns from a patient's grade in every slice, healthy or not, measures it poorly. Black is what the
    standardisation hides, and what lies at or below the window's lower end.

    Args:
        features: (slices, maps, rows, columns).
        images: of the same slices, (slices, size, size) in [0, 1].
    """
    edges = np.linspace(0, 1, DENSITIES + 2, dtype=np.float32)[1:-1]
    shown = np.count_nonzero(images > 0, axis=(1, 2))
    denser = np.stack([np.count_nonzero(images > edge, axis=(1, 2)) for edge in edges], axis=1)
    shares = denser / np.maximum(shown, 1)[:, None]
    return np.concatenate([features.mean(axis=(2, 3)), shares], axis=1).astype(np.float32)


class SeverityModel:
    """A loaded bundle of system A. Thread-safe; opens nothing but the bundle's own files.

    The slices are run by the runtime that is asked for, the small networks beside it by OpenVINO or ONNX Runtime.

    Attributes:
        bundle: what was loaded.
        runtime: what runs the slice network.
        imputer, anomaly: the networks of quality control, None where the bundle has none.
    """

    def __init__(self, bundle: SeverityBundle, runtime: Runtime = "auto", device: str = "auto") -> None:
        self.bundle = bundle
        self.runtime = resolved(runtime, device)
        small: Runtime = "onnx" if self.runtime == "onnx" else "openvino"
        self._slice = open_network(bundle.folder / SLICE, runtime, device)
        self._learnt = {
            name: open_network(bundle.folder / file, small, "cpu") for name, file in LEARNT.items()
        }
        learned = bundle.imputer == MISGAN
        self.imputer = open_network(bundle.folder / IMPUTER, small, "cpu") if learned else None
        self.anomaly = (
            open_network(bundle.folder / ANOMALY, small, "cpu") if bundle.anomaly is not None else None
        )

    @classmethod
    def load(cls, model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> SeverityModel:
        """Load, verify and open a bundle by name or folder (errors: see :func:`severity_bundle.load`)."""
        return cls(load(model), runtime, device)

    @property
    def identity(self) -> dict[str, str]:
        """The bundle's name, version and sha256, as results name it."""
        return {"name": self.bundle.name, "version": self.bundle.version, "sha256": self.bundle.sha256}

    def slices(self, images: FloatArray) -> GradedSlices:
        """All that the slice network gives for standardised slices (batch, size, size) in [0, 1]."""
        said = self._slice(self.bundle.preprocess.tensor(images))
        return GradedSlices(
            said["logits"],
            calibrated(said["logits"], self.bundle.calibration.temperature),
            slice_vectors(said["features"], images),
            said["features"],
            said["gradients"],
        )

    def predict(self, images: FloatArray) -> GradedStudy:
        """Judge one study.

        Args:
            images: its standardised slices that show enough lung, repaired: (slices, size, size) in [0, 1].

        Raises:
            ValueError: there is no slice.
        """
        if not len(images):
            raise ValueError("a study has at least one slice that is judged")
        parts = [self.slices(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        shares = np.concatenate([part.probabilities for part in parts])
        return self.patient(shares, np.concatenate([part.vectors for part in parts]))

    def patient(self, slices: FloatArray, vectors: FloatArray) -> GradedStudy:
        """What a patient's slices come to.

        Args:
            slices: their probabilities (slices, classes), at least one slice.
            vectors: theirs (slices, maps + densities).
        """
        learnt = {
            name: calibrated(network(vectors[None])["logits"], 1.0)[0]
            for name, network in self._learnt.items()
        }
        return GradedStudy(slices, {"majority": majority(slices), "mean": mean(slices), **learnt}, vectors)
