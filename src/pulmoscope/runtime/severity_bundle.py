"""A bundle of system A, which grades CT studies: a folder, with a contract and a checksum for every file.

::

    bundle.json       what is in it; ``kind`` is ``severity``
    model.onnx        image (batch, 1, size, size) -> logits, features, gradients: see :mod:`pulmoscope.runtime.bundle`
    attention.onnx    the slices' vectors (1, slices, maps + densities) -> logits, vector: by attention and maximum
    regression.onnx   the same by the mean over slices; see :func:`pulmoscope.runtime.severity.slice_vectors`
    imputer.onnx      fills missing regions; only where ``imputer`` is ``misgan``
    anomaly.onnx      slices (batch, 1, size, size) -> score, residual; only where an AnoGAN was trained
    MODEL_CARD.md     for people; not under checksum
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import NOT_FILLED
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.runtime.bundle import MANIFEST, Contents, common, read_manifest
from pulmoscope.runtime.votes import VOTES

KIND = "severity"
SLICE, IMPUTER, ANOMALY = "model.onnx", "imputer.onnx", "anomaly.onnx"
ATTENTION, REGRESSION = "attention.onnx", "regression.onnx"
LEARNT: Mapping[str, str] = {"attention": ATTENTION, "regression": REGRESSION}
"""The learnt votes' files."""
MISGAN = "misgan"
NO_IMPUTER = NOT_FILLED


@dataclass(frozen=True, kw_only=True)
class SeverityBundle(Contents):
    """The contents of ``bundle.json``, and the folder that it stands in.

    Attributes:
        preprocess: the very object that training used.
        imputer: what fills missing regions; ``none``: they are not looked for.
        vote: how a patient's slices become one answer.
        anomaly: from which score on a slice is unlike a normal one, and what that rests on (see
            ``quality.anomaly.AnomalyThreshold``); None where no AnoGAN was trained.
    """

    modality: str = "CT"
    preprocess: Standardisation
    imputer: str
    vote: str
    anomaly: Mapping[str, Any] | None = None
    kind: str = KIND

    @property
    def parts(self) -> tuple[str, ...]:
        """The files that it consists of."""
        learned = (IMPUTER,) * (self.imputer == MISGAN)
        return (SLICE, *LEARNT.values(), *learned, *((ANOMALY,) * (self.anomaly is not None)))


def load(model: str | Path) -> SeverityBundle:
    """Load and verify a bundle of system A: a built-in one by name, or a folder.

    Raises:
        BundleError: no such bundle or one of another kind, a file is missing or changed, the schema is of another
            version, or the manifest contradicts itself.
    """
    folder, plain = read_manifest(model)
    manifest = folder / MANIFEST
    if plain.get("kind") != KIND:
        raise BundleError(f"{manifest}: kind must be {KIND} here (found: {plain.get('kind', 'image')})")
    try:
        missing = {own.name for own in fields(Standardisation)} - set(plain["preprocess"])
        if missing:  # a default might not be what the network has learnt from
            raise KeyError(f"preprocess: {', '.join(sorted(missing))}")
        own: dict[str, Any] = {"preprocess": Standardisation(**plain["preprocess"])}
        found = SeverityBundle(folder=folder, **plain | common(plain) | own)
        found.check(found.parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{manifest}: is not a valid bundle ({error})") from error
    if found.vote not in VOTES:
        raise BundleError(f"{manifest}: vote must be one of {', '.join(VOTES)} (found: {found.vote})")
    return found
