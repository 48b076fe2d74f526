"""A bundle of three levels made ready: slices in, what each level says of them and of the patient out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pulmoscope.core.types import Bytes, FloatArray, Scan
from pulmoscope.runtime.model import calibrated
from pulmoscope.runtime.network import Runtime, open_network, resolved
from pulmoscope.runtime.study_bundle import ENSEMBLE, SLICE, WEIGHTED, StudyBundle, load

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.segment.ct_lungs import LungMask

BATCH = 16
STAGES = (3, 4, 5)
"""How the paper counts the backbone's last three stages."""


@dataclass(frozen=True)
class SliceOutputs:
    """What the slice network says of a batch.

    Attributes:
        logits, probabilities: (batch, classes).
        vectors: (batch, hidden).
        features: stage → (batch, maps, rows, columns).
        gradients: stage → (batch, classes, maps): Grad-CAM's weights.
    """

    logits: FloatArray
    probabilities: FloatArray
    vectors: FloatArray
    features: Mapping[int, FloatArray]
    gradients: Mapping[int, FloatArray]


@dataclass(frozen=True)
class StudyOutputs:
    """What is said of one study.

    Attributes:
        slice_probabilities: (slices, classes), from the feet to the head.
        patient: classifier → probabilities (classes,).
        ensemble: probabilities (classes,), calibrated.
        logits: (classes,) of the ensemble.
        vectors: classifier → what it knows of the patient, (hidden,).
        slice_vectors: (slices, hidden).
    """

    slice_probabilities: FloatArray
    patient: Mapping[str, FloatArray]
    ensemble: FloatArray
    logits: FloatArray
    vectors: Mapping[str, FloatArray]
    slice_vectors: FloatArray


class ThreeLevelModel:
    """A loaded bundle of three levels. Thread-safe; opens nothing but the bundle's own files.

    The slices are run by the runtime that is asked for. Torch's converter knows no LSTM: with it the patient-level
    networks, which take milliseconds a study, are run by OpenVINO.

    Attributes:
        bundle: what was loaded.
        runtime: what runs the slice network.
    """

    def __init__(self, bundle: StudyBundle, runtime: Runtime = "auto", device: str = "auto") -> None:
        self.bundle = bundle
        self.runtime = resolved(runtime, device)
        small: Runtime = "onnx" if self.runtime == "onnx" else "openvino"
        with ThreadPoolExecutor() as threads:
            whole = threads.submit(open_network, bundle.folder / SLICE, runtime, device)
            opened = {
                name: threads.submit(open_network, bundle.folder / f"{name}.onnx", small, "cpu")
                for name in bundle.patient
            }
            last = threads.submit(open_network, bundle.folder / ENSEMBLE, small, "cpu")
        self._slice, self._ensemble = whole.result(), last.result()
        self._patient = {name: found.result() for name, found in opened.items()}

    @classmethod
    def load(cls, model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> ThreeLevelModel:
        """Load, verify and open a bundle by name or folder (errors: see :func:`study_bundle.load`)."""
        return cls(load(model), runtime, device)

    @property
    def identity(self) -> dict[str, str]:
        """The bundle's name, version and sha256, as results name it."""
        return {"name": self.bundle.name, "version": self.bundle.version, "sha256": self.bundle.sha256}

    def prepare(self, scan: Scan, lungs: LungMask | None, places: Sequence[int] | None = None) -> Bytes:
        """A study's slices as the bundle wants them: uint8 (slices, size, size).

        Args:
            lungs: of the whole study (see :func:`pulmoscope.segment.lungs.lungs_of`).
            places: the slices that are wanted; None: all.
        """
        pixels = scan.pixels if places is None else scan.pixels[list(places)]
        return self.bundle.preprocess.slices(pixels, scan.units, lungs)

    def slices(self, images: Bytes) -> SliceOutputs:
        """All that the slice network gives for uint8 (batch, size, size)."""
        said = self._slice(self.bundle.preprocess.tensor(images))
        return SliceOutputs(
            said["logits"],
            calibrated(said["logits"], 1.0),
            said["vector"],
            {stage: said[f"features_{stage}"] for stage in STAGES},
            {stage: said[f"gradients_{stage}"] for stage in STAGES},
        )

    def predict(self, images: Bytes | Iterable[Bytes]) -> StudyOutputs:
        """Judge one study.

        Args:
            images: uint8 (slices, size, size) from the feet to the head, or a stream of such parts in order. They are
                run a few at a time; of each only its vector is kept.

        Raises:
            ValueError: there is no slice.
        """
        vectors, shares = [], []
        for batch in _batches(images):
            said = self.slices(batch)
            vectors.append(said.vectors)
            shares.append(said.probabilities)
        if not vectors:
            raise ValueError("a study has at least one slice")
        return self._patients(np.concatenate(vectors), np.concatenate(shares))

    def _patients(self, vectors: FloatArray, shares: FloatArray) -> StudyOutputs:
        """Levels 2 and 3."""
        times = (shares[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
        patient: dict[str, FloatArray] = {}
        known: dict[str, FloatArray] = {}
        for name, network in self._patient.items():
            said = network((times if name.endswith(WEIGHTED) else vectors)[None])
            patient[name] = calibrated(said["logits"], 1.0)[0]
            known[name] = said["vector"][0]
        scores = np.concatenate([patient[name] for name in self.bundle.ensemble])[None]
        logits = self._ensemble(scores)["logits"]
        ensemble = calibrated(logits, self.bundle.calibration.temperature)[0]
        return StudyOutputs(shares, patient, ensemble, logits[0], known, vectors)


def _batches(images: Bytes | Iterable[Bytes]) -> Iterator[Bytes]:
    """Parts of at most :data:`BATCH` slices."""
    for part in [images] if isinstance(images, np.ndarray) else images:
        for start in range(0, len(part), BATCH):
            yield np.asarray(part[start : start + BATCH])
