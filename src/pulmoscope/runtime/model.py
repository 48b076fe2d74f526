"""A bundle made ready to predict: preprocessing, networks, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.framing import Framed
from pulmoscope.preprocess.views import View, view_input, view_of
from pulmoscope.runtime.bundle import ANOMALY, IMPUTER, Bundle, Calibration, load
from pulmoscope.runtime.network import Network, Runtime, open_network, resolved
from pulmoscope.runtime.precision import onnx_name
from pulmoscope.runtime.votes import DENSITIES, ENSEMBLE, WEIGHTED, counted, learnt, weighted, with_densities
from pulmoscope.segment.xray_lungs import finder_input, finder_map

BATCH = 16
"""Slices that are run at a time: what bounds the memory."""
STAGES_BEFORE, LAST_STAGE = (3, 4), 5
"""The stages of a network that pools three of them, counted as a ResNet50's are (system B)."""


@dataclass(frozen=True)
class Prepared:
    """One scan as the network sees it.

    Attributes:
        tensor: float32 (channels, size, size).
        framed: which region of the scan that is.
        lungs: lung probability over the whole scan, small, as the lung finder gives it; None without a finder.
        view: what the scan shows, as the view network says; None without one.
    """

    tensor: FloatArray
    framed: Framed
    lungs: FloatArray | None
    view: View | None = None


@dataclass(frozen=True)
class Outputs:
    """What the image network says of a batch.

    Attributes:
        logits: (batch, classes), or (batch, 1).
        probabilities: (batch, classes), each row sums to 1; calibrated where they are the model's answer.
        features: (batch, channels, rows, columns).
        gradients: (batch, classes, channels): Grad-CAM weights per class; for a single logit the first class's
            are the negative of the second's.
        stages: of a network that pools several stages, those before the last: their number, counted as ResNet50's are
            (3, 4) → features and gradients.
        vector: (batch, hidden), of a network with a hidden layer; else None.
    """

    logits: FloatArray
    probabilities: FloatArray
    features: FloatArray
    gradients: FloatArray
    stages: Mapping[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    vector: FloatArray | None = None


@dataclass(frozen=True)
class PatientOutputs:
    """What a study's slices come to.

    Attributes:
        votes: each vote's answer: name → probabilities (classes,).
        probabilities: (classes,), the model's answer, calibrated; ``logits``: the same before that.
        vectors: what the model knows of the patient, name → (d,): those by which patients lie close together or apart.
    """

    votes: Mapping[str, FloatArray]
    probabilities: FloatArray
    logits: FloatArray
    vectors: Mapping[str, FloatArray]


@dataclass(frozen=True)
class StudyOutputs:
    """What is said of one study.

    Attributes:
        slices: probabilities (slices, classes); ``vectors``: what learnt votes get of them, (slices, d).
        patient: what they come to.
    """

    slices: FloatArray
    vectors: FloatArray
    patient: PatientOutputs


class Model:
    """A loaded bundle. Thread-safe; opens nothing but the bundle's own files.

    The image network is run by the runtime that is asked for. Torch's converter knows no LSTM: with it the small
    networks beside it, which take milliseconds a study, are run by OpenVINO.

    Attributes:
        bundle: what was loaded.
        runtime: what runs the image network.
        imputer, anomaly: the networks of quality control; None where the bundle has none.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime = "auto", device: str = "auto") -> None:
        self.bundle = bundle
        self.runtime = resolved(runtime, device)
        small: Runtime = "onnx" if self.runtime == "onnx" else "openvino"
        image = onnx_name(bundle.network)
        as_asked = {image, "lungs.onnx", "view.onnx"}
        networks = bundle.networks

        def opened(name: str) -> Network:
            path, precision = bundle.folder / networks[name], bundle.precision_of(name)
            if name in as_asked:
                return open_network(path, runtime, device, precision)
            return open_network(path, small, "cpu", precision)

        with (
            ThreadPoolExecutor() as threads
        ):  # compiling takes a fifth of a second, and lets others run meanwhile
            loaded = dict(zip(networks, threads.map(opened, networks), strict=True))
        self._network = loaded.pop(image)
        self._lungs, self._view = loaded.pop("lungs.onnx", None), loaded.pop("view.onnx", None)
        self.imputer, self.anomaly = loaded.pop(IMPUTER, None), loaded.pop(ANOMALY, None)
        self._patient = loaded

    @classmethod
    def load(cls, model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> Model:
        """Load, verify and open a bundle by name or folder (errors: see :func:`bundle.load`)."""
        return cls(load(model), runtime, device)

    def with_network(
        self, network: Network, *, lungs: Network | None = None, view: Network | None = None
    ) -> Model:
        """The same model, but for its image network, in whose place another of the same outputs is run.

        Args:
            lungs, view: networks in place of those that find lungs and tell views; None: as before.
        """
        other = copy(self)
        other._network, other._lungs, other._view = network, lungs or self._lungs, view or self._view
        return other

    @cached_property
    def identity(self) -> dict[str, str]:
        """The bundle's name, version and sha256, as results name it."""
        return {"name": self.bundle.name, "version": self.bundle.version, "sha256": self.bundle.sha256}

    def with_calibration(self, calibration: Calibration) -> Model:
        """The same networks with probabilities of another calibration; they are not opened again."""
        other = copy(self)
        other.bundle = replace(self.bundle, calibration=calibration)
        other.__dict__.pop("identity", None)
        return other

    @property
    def finds_lungs(self) -> bool:
        """Whether the bundle has a lung finder."""
        return self._lungs is not None

    def prepare(self, pixels: FloatArray, lungs: FloatArray | None = None) -> Prepared:
        """Turn one X-ray or CT slice into the network's input; of a model whose preprocessing frames single images.

        Args:
            pixels: float32 (rows, columns) in [0, 1].
            lungs: lung probability over the whole image; None: look for them (the
                preprocessing of a CT slice does so by itself).
        """
        lungs = self.lung_map(pixels) if lungs is None else lungs
        frame: Any = self.bundle.preprocess
        tensor, framed = frame(pixels, lungs)
        view = None if self._view is None else find_view(self._view, pixels)
        return Prepared(tensor, framed, lungs, view)

    def lung_map(self, pixels: FloatArray) -> FloatArray | None:
        """Lung probability over the whole image, or None where the bundle has no lung finder."""
        if self._lungs is None:
            return None
        return find_lungs(self._lungs, pixels)

    def predict(self, batch: FloatArray) -> Outputs:
        """Run the image network on float32 (batch, channels, size, size)."""
        outputs = self._network(batch)
        logits = outputs["logits"]
        # Of a study the temperature is the patient's.
        calibration = self.bundle.calibration if self.bundle.patient is None else Calibration()
        stages = {
            stage: (outputs[f"features_{stage}"], _both(outputs[f"gradients_{stage}"], logits))
            for stage in (*STAGES_BEFORE, LAST_STAGE)
            if f"features_{stage}" in outputs
        }
        if LAST_STAGE in stages:
            features, gradients = stages.pop(LAST_STAGE)
        else:
            features, gradients = outputs["features"], _both(outputs["gradients"], logits)
        probabilities = calibrated(logits, calibration.temperature, calibration.bias)
        return Outputs(logits, probabilities, features, gradients, stages, outputs.get("vector"))

    def vectors(self, outputs: Outputs, images: FloatArray) -> FloatArray:
        """What learnt votes get of slices, (slices, d).

        Args:
            images: of the same slices, (slices, size, size) in [0, 1].
        """
        patient = self.bundle.patient
        if patient is not None and patient.vectors == "densities":
            return with_densities(outputs.features, images)
        return outputs.features.mean(axis=(2, 3)) if outputs.vector is None else outputs.vector

    def slices(self, images: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Probabilities and vectors of a study's slices.

        Args:
            images: (slices, size, size), as the preprocessing's ``tensor`` takes them; at least one.
        """
        tensor: Any = self.bundle.preprocess.tensor
        probabilities, vectors = [], []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            outputs = self.predict(tensor(part))
            probabilities.append(outputs.probabilities)
            vectors.append(self.vectors(outputs, part))
        return np.concatenate(probabilities), np.concatenate(vectors)

    def patient(self, slices: FloatArray, vectors: FloatArray) -> PatientOutputs:
        """What a study's slices come to, by a bundle that has a patient level.

        Args:
            slices: their probabilities (slices, classes), at least one slice, from the feet to the head.
            vectors: what learnt votes get of them, (slices, d).
        """
        level = self.bundle.patient
        assert level is not None
        votes, logits, known = {}, {}, {}
        for name in level.votes:
            if learnt(name):
                inputs = weighted(vectors, slices) if name.endswith(WEIGHTED) else vectors
                outputs = self._patient[f"{name}.onnx"](inputs[None])
                logits[name], known[name] = outputs["logits"], outputs["vector"][0]
                votes[name] = calibrated(logits[name], 1.0)[0]
            else:
                votes[name] = counted(name, slices)
                logits[name] = np.log(np.maximum(votes[name], 1e-30))[None]
        if level.ensemble:
            scores = np.concatenate([votes[name] for name in level.ensemble])[None]
            logits[ENSEMBLE] = self._patient[f"{ENSEMBLE}.onnx"](scores)["logits"]
            patient_vectors = {name: known[name] for name in level.ensemble}
        else:
            patient_vectors = {"mean": _pooled(vectors, level.vectors).mean(axis=0)}
        answer, calibration = logits[level.decides], self.bundle.calibration
        exact = votes.get(level.decides) if calibration.temperature == 1 and not calibration.bias else None
        probabilities = (
            calibrated(answer, calibration.temperature, calibration.bias)[0] if exact is None else exact
        )
        return PatientOutputs(votes, probabilities, answer[0], patient_vectors)

    def study(self, images: FloatArray) -> StudyOutputs:
        """What is said of one study (see :meth:`slices`).

        Raises:
            ValueError: there is no slice.
        """
        if not len(images):
            raise ValueError("a study has at least one slice")
        probabilities, vectors = self.slices(images)
        return StudyOutputs(probabilities, vectors, self.patient(probabilities, vectors))


def _pooled(vectors: FloatArray, kind: str) -> FloatArray:
    """Vectors without what :func:`with_densities` puts behind them."""
    return vectors[:, :-DENSITIES] if kind == "densities" else vectors


def _both(gradients: FloatArray, logits: FloatArray) -> FloatArray:
    """Gradients of both classes, also where a single logit stands for the second."""
    return np.concatenate([-gradients, gradients], axis=1) if logits.shape[1] == 1 else gradients


def find_lungs(network: Network, pixels: FloatArray) -> FloatArray:
    """Run a lung finder: its probability map over the whole image, at most FINDER_SIZE a side."""
    logits = network(finder_input(pixels)[None])["logits"][0, 0]
    return finder_map(np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32), *pixels.shape)


def find_view(network: Network, pixels: FloatArray) -> View:
    """Run a view network on a whole picture, float32 (rows, columns) in [0, 1]."""
    outputs = network(view_input(pixels)[None])
    return view_of(outputs["logits"][0], float(np.linalg.norm(outputs["place"][0])))


def calibrated(logits: FloatArray, temperature: float, bias: Sequence[float] = ()) -> FloatArray:
    """Probabilities (batch, classes) from logits / temperature + bias: softmax, or a sigmoid for a single logit.

    Args:
        bias: of each class; empty: none.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if scaled.shape[1] == 1:
        scaled = np.concatenate([np.zeros_like(scaled), scaled], axis=1)
    if bias:
        scaled = scaled + np.asarray(bias)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
