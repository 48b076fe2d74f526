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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.runtime.bundle import MANIFEST, Contents, common, read_manifest

KIND = "three-level"
SLICE, ENSEMBLE = "slice.onnx", "ensemble.onnx"
WEIGHTED = "-weighted"


@dataclass(frozen=True, kw_only=True)
class StudyBundle(Contents):
    """The contents of ``bundle.json``, and the folder that it stands in.

    Attributes:
        normal: the class without infection.
        preprocess: the very object that training used.
        patient: the patient-level classifiers; ``ensemble``: those of them that the ensemble gets, in this order.

    Calibration and thresholds are of the ensemble's answer.
    """

    modality: str = "CT"
    normal: str
    preprocess: CtPreprocess
    patient: tuple[str, ...]
    ensemble: tuple[str, ...]
    kind: str = KIND

    @property
    def parts(self) -> tuple[str, ...]:
        """The files that it consists of."""
        return (SLICE, *(f"{name}.onnx" for name in self.patient), ENSEMBLE)


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
        own: dict[str, Any] = {name: tuple(plain[name]) for name in ("patient", "ensemble")}
        own["preprocess"] = CtPreprocess(**plain["preprocess"])
        found = StudyBundle(folder=folder, **plain | common(plain) | own)
        found.check(found.parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    if unknown := set(found.ensemble) - set(found.patient):
        raise BundleError(
            f"{manifest}: patient must name what ensemble gets (missing: {', '.join(sorted(unknown))})"
        )
    return found
