"""What the slice network says of every slice of a study, computed once through its exported file and kept on disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pulmoscope.core.files import sha256_of_file, write_bytes
from pulmoscope.models.patient import weighted
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.runtime.model import calibrated
from pulmoscope.runtime.network import Network
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.studies import Cache, PreparedStudy

BATCH = 32


@dataclass(frozen=True)
class StudyFeatures:
    """A study as the patient-level classifiers see it.

    Attributes:
        label: the number of its class.
        plain: float32 (slices, hidden): the slices' vectors.
        weighted: float32 (slices, classes x hidden): the same, times each class's probability.
    """

    label: int
    plain: Tensor
    weighted: Tensor

    def of(self, is_weighted: bool) -> Tensor:
        """One of the two."""
        return self.weighted if is_weighted else self.plain


def study_features(
    studies: Sequence[PreparedStudy],
    network: Network,
    file: Path,
    preprocess: CtPreprocess,
    cache: Cache,
    reporter: Reporter,
) -> tuple[StudyFeatures, ...]:
    """The features of every study, in half precision on disk.

    Args:
        network: the slice network, opened from ``file``, whose checksum tells these features from another network's.
    """
    sha256 = sha256_of_file(file)
    return tuple(
        _features(study, network, sha256, preprocess, cache)
        for study in reporter.track(studies, "Features of studies", len(studies))
    )


def _features(
    study: PreparedStudy, network: Network, sha256: str, preprocess: CtPreprocess, cache: Cache
) -> StudyFeatures:
    key = hashlib.sha256(f"{sha256} {study.key}".encode()).hexdigest()
    file = cache.folder / f"{key}.npz"
    if not file.is_file():
        vectors, probabilities = [], []
        for start in range(0, len(study.slices), BATCH):
            outputs = network(preprocess.tensor(np.asarray(study.slices[start : start + BATCH])))
            vectors.append(outputs["vector"])
            probabilities.append(calibrated(outputs["logits"], 1.0))
        plain, slice_probabilities = np.concatenate(vectors), np.concatenate(probabilities)
        times = weighted(torch.from_numpy(plain), torch.from_numpy(slice_probabilities)).numpy()
        stream = io.BytesIO()
        np.savez(stream, plain=plain.astype(np.float16), weighted=times.astype(np.float16))
        write_bytes(file, stream.getvalue())
    with np.load(file) as arrays:
        held = [torch.from_numpy(arrays[name].astype(np.float32)) for name in ("plain", "weighted")]
    return StudyFeatures(study.label, *held)
