"""A bundle made ready to predict: preprocessing, lung finder, view network, network, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.framing import Framed
from pulmoscope.preprocess.views import View, view_input, view_of
from pulmoscope.runtime.bundle import Bundle, load
from pulmoscope.runtime.network import Network, Runtime, open_network, resolved
from pulmoscope.segment.xray_lungs import finder_input, finder_map

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
    """What the network says of a batch.

    Attributes:
        logits: (batch, classes), or (batch, 1).
        probabilities: (batch, classes), calibrated, each row sums to 1.
        features: (batch, channels, rows, columns).
        gradients: (batch, classes, channels): Grad-CAM weights per class; for a single logit the first class's
            are the negative of the second's.
        stages: of a network that pools several stages, those before the last: their number, counted as ResNet50's are
            (3, 4) → features and gradients.
    """

    logits: FloatArray
    probabilities: FloatArray
    features: FloatArray
    gradients: FloatArray
    stages: Mapping[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)


class Model:
    """A loaded bundle. Thread-safe; opens nothing but the bundle's own files.

    Attributes:
        bundle: what was loaded.
        identity: its name, version and sha256, as results name it.
        runtime: what runs its networks.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime = "auto", device: str = "auto") -> None:
        self.bundle = bundle
        self.identity = {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
        self.runtime = resolved(runtime, device)
        parts = ["model.onnx"] + ["lungs.onnx"] * bundle.preprocess.needs_finder
        parts += ["view.onnx"] * ("view.onnx" in bundle.files)
        with (
            ThreadPoolExecutor() as threads
        ):  # compiling takes a fifth of a second, and lets others run meanwhile
            opened = threads.map(lambda part: open_network(bundle.folder / part, runtime, device), parts)
            found = dict(zip(parts, opened, strict=True))
        self._network = found["model.onnx"]
        self._lungs: Network | None = found.get("lungs.onnx")
        self._view: Network | None = found.get("view.onnx")

    @classmethod
    def load(cls, model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> Model:
        """Load, verify and open a bundle by name or folder (errors: see :func:`bundle.load`)."""
        return cls(load(model), runtime, device)

    @property
    def finds_lungs(self) -> bool:
        """Whether the bundle has a lung finder."""
        return self._lungs is not None

    def prepare(self, pixels: FloatArray, lungs: FloatArray | None = None) -> Prepared:
        """Turn one X-ray or CT slice into the network's input.

        Args:
            pixels: float32 (rows, columns) in [0, 1].
            lungs: lung probability over the whole image; None: look for them (the
                preprocessing of a CT slice does so by itself).
        """
        lungs = self.lung_map(pixels) if lungs is None else lungs
        tensor, framed = self.bundle.preprocess(pixels, lungs)
        view = None if self._view is None else find_view(self._view, pixels)
        return Prepared(tensor, framed, lungs, view)

    def lung_map(self, pixels: FloatArray) -> FloatArray | None:
        """Lung probability over the whole image, or None where the bundle has no lung finder."""
        if self._lungs is None:
            return None
        return find_lungs(self._lungs, pixels)

    def predict(self, batch: FloatArray) -> Outputs:
        """Run the network on float32 (batch, channels, size, size)."""
        found = self._network(batch)
        logits = found["logits"]
        probabilities = calibrated(logits, self.bundle.calibration.temperature)
        stages = {
            stage: (found[f"features_{stage}"], _both(found[f"gradients_{stage}"], logits))
            for stage in STAGES_BEFORE
            if f"features_{stage}" in found
        }
        return Outputs(logits, probabilities, found["features"], _both(found["gradients"], logits), stages)


def _both(gradients: FloatArray, logits: FloatArray) -> FloatArray:
    """Gradients of both classes, also where a single logit stands for the second."""
    return np.concatenate([-gradients, gradients], axis=1) if logits.shape[1] == 1 else gradients


def find_lungs(network: Network, pixels: FloatArray) -> FloatArray:
    """Run a lung finder: its probability map over the whole image, at most FINDER_SIZE a side."""
    logits = network(finder_input(pixels)[None])["logits"][0, 0]
    return finder_map(np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32), *pixels.shape)


def find_view(network: Network, pixels: FloatArray) -> View:
    """Run a view network on a whole picture, float32 (rows, columns) in [0, 1]."""
    found = network(view_input(pixels)[None])
    return view_of(found["logits"][0], float(np.linalg.norm(found["place"][0])))


def calibrated(logits: FloatArray, temperature: float) -> FloatArray:
    """Probabilities (batch, classes) from logits / temperature: softmax, or a sigmoid for a single logit."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if scaled.shape[1] == 1:
        scaled = np.concatenate([np.zeros_like(scaled), scaled], axis=1)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
