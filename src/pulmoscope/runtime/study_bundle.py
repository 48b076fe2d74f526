"""A bundle of three levels, which judges CT studies: a folder, with a contract and a checksum for every file.

::

    bundle.json          what is in it; ``kind`` is ``three-level``
    slice.onnx           image (batch, 3, size, size) -> logits, vector, features_3 … 5, gradients_3 … 5
    <classifier>.onnx    slices (1, slices, inputs) -> logits, vector; one for each patient-level classifier
    ensemble.onnx        scores (1, classifiers x classes) -> logits
    MODEL_CARD.md        for people; not under checksum

``features_<stage>`` are the feature maps of the backbone's last three stages, which the paper counts 3 to 5, and
``gradients_<stage>`` (batch, classes, maps) the derivative of each logit by each of them, averaged over space:
Grad-CAM's weights. A patient-level classifier whose name ends in ``-weighted`` takes the slices' vectors once for every
class, times that class's probability.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.runtime.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Calibration,
    Thresholds,
    check_files,
    read_manifest,
)

KIND = "three-level"
SLICE, ENSEMBLE = "slice.onnx", "ensemble.onnx"
WEIGHTED = "-weighted"


@dataclass(frozen=True)
class StudyBundle:
    """The contents of ``bundle.json``, and the folder that it stands in.

    Attributes:
        name, version: which model this is.
        classes: the labels in the order of the logits; ``normal`` is the one without infection.
        preprocess: the very object that training used.
        patient: the patient-level classifiers; ``ensemble``: those of them that the ensemble gets, in this order.
        calibration, thresholds: of the ensemble's answer.
        recipe, training_data, metrics, verified, software, files: as in :class:`pulmoscope.runtime.bundle.Bundle`.
    """

    folder: Path
    name: str
    version: str
    classes: tuple[str, ...]
    normal: str
    preprocess: CtPreprocess
    patient: tuple[str, ...]
    ensemble: tuple[str, ...]
    modality: str = "CT"
    kind: str = KIND
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """One checksum for the whole bundle: that of its manifest, which names all others."""
        return sha256_of_file(self.folder / MANIFEST)

    @property
    def parts(self) -> tuple[str, ...]:
        """The files that it consists of."""
        return (SLICE, *(f"{name}.onnx" for name in self.patient), ENSEMBLE)

    def save(self) -> StudyBundle:
        """Write ``bundle.json`` over the parts that lie in the folder, and give back the bundle with checksums."""
        sealed = dataclasses.replace(
            self, files={name: sha256_of_file(self.folder / name) for name in self.parts}
        )
        plain = dataclasses.asdict(sealed)
        del plain["folder"]
        write_json(self.folder / MANIFEST, {"schema_version": SCHEMA_VERSION, **plain})
        return sealed


def judges_studies(model: str | Path) -> bool:
    """Whether this is a bundle of three levels (errors: see :func:`read_manifest`)."""
    return read_manifest(model)[1].get("kind") == KIND


def load(model: str | Path) -> StudyBundle:
    """Load and verify a bundle of three levels: a built-in one by name, or a folder.

    Raises:
        BundleError: no such bundle or one of another kind, a file is missing or changed, the schema is of another
            version, or the manifest contradicts itself.
    """
    folder, plain = read_manifest(model)
    manifest = folder / MANIFEST
    if plain.get("kind") != KIND:
        raise BundleError(f"{manifest}: kind must be {KIND} here (found: {plain.get('kind', 'image')})")
    try:
        for name in ("classes", "patient", "ensemble"):
            plain[name] = tuple(plain[name])
        plain["preprocess"] = CtPreprocess(**plain["preprocess"])
        plain["calibration"] = Calibration(**plain["calibration"])
        plain["thresholds"] = Thresholds(**plain["thresholds"])
        bundle = StudyBundle(folder=folder, **plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    missing = [name for name in bundle.parts if name not in bundle.files]
    if missing or not set(bundle.ensemble) <= set(bundle.patient):
        raise BundleError(
            f"{manifest}: files must name {', '.join(bundle.parts)} (missing: {', '.join(missing)})"
        )
    temperature = bundle.calibration.temperature
    if not (temperature > 0 and math.isfinite(temperature)):
        raise BundleError(f"{manifest}: the temperature must be above 0 (found: {temperature})")
    check_files(folder, bundle.files)
    return bundle
