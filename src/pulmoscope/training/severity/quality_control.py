"""The networks of system A's quality control, fitted on a fold's training patients alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from pulmoscope.core.files import write_json
from pulmoscope.quality.imputation import Imputer, NetworkImputer, imputer
from pulmoscope.runtime.network import open_network
from pulmoscope.runtime.severity_bundle import ANOMALY, IMPUTER, MISGAN, NO_IMPUTER
from pulmoscope.training.anogan import fit_anogan
from pulmoscope.training.anogan_scores import export_anomaly
from pulmoscope.training.misgan import fit_misgan
from pulmoscope.training.misgan_export import write_imputer
from pulmoscope.training.severity.recipe import SeverityRecipe
from pulmoscope.training.severity.studies import StandardSlices
from pulmoscope.training.state import read_json
from pulmoscope.training.three_level.course import Teller
from pulmoscope.training.three_level.studies import Cache

DONE = "done.json"


@dataclass(frozen=True)
class Fitted:
    """A network of quality control.

    Attributes:
        file: its ONNX file.
        verified: runtime → largest difference from the trained network.
        seconds: what training it took, since it was last taken up.
    """

    file: Path
    verified: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Training:
    """What both networks are trained with.

    Attributes:
        recipe: resolved.
        cache: where finished networks lie, by what they were trained on: runs of one fold share them.
    """

    recipe: SeverityRecipe
    cache: Cache
    device: torch.device
    teller: Teller

    def _folder(self, kind: str, settings: object, studies: Sequence[StandardSlices]) -> Path:
        told = json.dumps([settings, *sorted(study.key for study in studies)])
        return self.cache.folder / f"{kind}-{hashlib.sha256(told.encode()).hexdigest()[:32]}"

    def imputer(self, studies: Sequence[StandardSlices]) -> tuple[Imputer | None, str, Fitted | None]:
        """What fills missing regions: the imputer, a name that tells it from others, and its network if it has one."""
        kind = self.recipe.imputer
        if kind == NO_IMPUTER:
            return None, kind, None
        if kind != MISGAN:
            return imputer(kind), kind, None
        folder = self._folder(MISGAN, dataclasses.asdict(self.recipe.misgan), studies)
        fitted = _finished(folder, IMPUTER)
        if fitted is None:
            began = perf_counter()
            self.teller.line(f"MisGAN: learning from {len(studies)} studies")
            owners = np.concatenate([np.full(len(own.images), number) for number, own in enumerate(studies)])
            network = fit_misgan(
                np.concatenate([study.grey for study in studies]),
                np.concatenate([study.missing for study in studies]),
                owners,
                self.recipe.misgan,
                folder,
                self.device,
                self.teller,
            )
            fitted = _keep(
                folder / IMPUTER,
                dict(write_imputer(network.imputer, network.side, folder / IMPUTER)),
                perf_counter() - began,
            )
        network_file = open_network(fitted.file, "openvino", "cpu")
        return NetworkImputer(MISGAN, network_file), folder.name, fitted

    def anomaly(self, studies: Sequence[StandardSlices]) -> Fitted | None:
        """The scores of what is unlike the first class's slices; ``studies`` are repaired."""
        if not self.recipe.anomalies:
            return None
        normal = [study for study in studies if study.label == 0]
        told = [
            dataclasses.asdict(self.recipe.anogan),
            self.recipe.imputer,
            dataclasses.asdict(self.recipe.misgan),
        ]
        folder = self._folder("anogan", told, normal)
        fitted = _finished(folder, ANOMALY)
        if fitted is None:
            began = perf_counter()
            self.teller.line(f"AnoGAN: learning from {len(normal)} studies of {self.recipe.classes[0]}")
            images = np.concatenate([study.grey[study.judged] for study in normal])
            network = fit_anogan(images, self.recipe.anogan, folder, self.device, self.teller)
            fitted = _keep(
                folder / ANOMALY, dict(export_anomaly(network, folder / ANOMALY)), perf_counter() - began
            )
        return fitted


def _finished(folder: Path, name: str) -> Fitted | None:
    """A network that was trained before."""
    if not (folder / DONE).is_file():
        return None
    told = read_json(folder / DONE, "verified", "seconds")
    return Fitted(folder / name, told["verified"], told["seconds"])


def _keep(file: Path, verified: dict[str, float], seconds: float) -> Fitted:
    """Say that a network is done; its file is whole by now."""
    write_json(file.parent / DONE, {"verified": verified, "seconds": seconds})
    return Fitted(file, verified, seconds)
