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
from pulmoscope.core.types import NOT_FILLED, BoolArray
from pulmoscope.phantoms.ct.damage import draw_defects
from pulmoscope.quality.anomaly import AnomalyModel
from pulmoscope.quality.imputation import Imputer, NetworkImputer, imputer
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import ANOMALY, IMPUTER, MISGAN
from pulmoscope.runtime.network import open_network
from pulmoscope.training.anogan.fit import fit_anogan
from pulmoscope.training.anogan.scores import export_anomaly
from pulmoscope.training.misgan.export import write_imputer
from pulmoscope.training.misgan.fit import MisGan, fit_misgan
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.studies import StandardSlices
from pulmoscope.training.state import read_json
from pulmoscope.training.three_level.studies import Cache

DONE = "done.json"
HIDDEN = 0.3
"""Of each study's slices, how many have a region hidden where MisGAN has no damage to learn from."""


@dataclass(frozen=True)
class Fitted:
    """A network of quality control.

    Attributes:
        file: its ONNX file; curves and sample sheets lie beside it.
        verified: runtime → largest difference from the trained network.
        seconds: what training it took, since it was last taken up.
        scale: of an AnoGAN, the median score of the slices that it learnt from; of MisGAN 1.
    """

    file: Path
    verified: dict[str, float]
    seconds: float
    scale: float = 1.0


@dataclass(frozen=True)
class Training:
    """What both networks are trained with.

    Attributes:
        recipe: resolved.
        cache: where finished networks lie, by what they were trained on: runs of one fold share them.
    """

    recipe: Recipe
    cache: Cache
    device: torch.device
    reporter: Reporter

    def imputer(self, studies: Sequence[StandardSlices]) -> tuple[Imputer | None, str, Fitted | None]:
        """What fills missing regions: the imputer, a name that tells it from others, and its network if it has one."""
        kind = self.recipe.controls.imputer
        if kind == NOT_FILLED:
            return None, kind, None
        if kind != MISGAN:
            return imputer(kind), kind, None
        folder = self._folder(MISGAN, dataclasses.asdict(self.recipe.controls.misgan), studies)
        fitted = _finished(folder, IMPUTER)
        if fitted is None:
            began = perf_counter()
            network = self._misgan(studies, folder)
            verified = dict(write_imputer(network.imputer, network.side, folder / IMPUTER))
            fitted = _keep(Fitted(folder / IMPUTER, verified, perf_counter() - began))
        return NetworkImputer(MISGAN, open_network(fitted.file, "openvino", "cpu")), folder.name, fitted

    def anomaly(self, studies: Sequence[StandardSlices], imputer: str) -> Fitted | None:
        """The scores of what is unlike the first class's slices.

        Args:
            studies: repaired.
            imputer: the name that tells what repaired them.
        """
        if not self.recipe.controls.anomalies:
            return None
        normal = [study for study in studies if study.label == 0]
        folder = self._folder("anogan", [dataclasses.asdict(self.recipe.controls.anogan), imputer], normal)
        fitted = _finished(folder, ANOMALY)
        if fitted is None:
            began = perf_counter()
            self.reporter.line(f"AnoGAN: learning from {len(normal)} studies of {self.recipe.classes[0]}")
            images = np.concatenate([study.grey[study.enough_lung] for study in normal])
            network = fit_anogan(images, self.recipe.controls.anogan, folder, self.device, self.reporter)
            verified = dict(export_anomaly(network, folder / ANOMALY))
            scores, _ = AnomalyModel.open(folder / ANOMALY, device="cpu")(images)
            trained = Fitted(folder / ANOMALY, verified, perf_counter() - began, float(np.median(scores)))
            fitted = _keep(trained)
        return fitted

    def _folder(self, kind: str, settings: object, studies: Sequence[StandardSlices]) -> Path:
        content = json.dumps([settings, *sorted(study.key for study in studies)])
        return self.cache.folder / f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:32]}"

    def _misgan(self, studies: Sequence[StandardSlices], folder: Path) -> MisGan:
        self.reporter.line(f"MisGAN: learning from {len(studies)} studies")
        missing = np.concatenate([study.missing for study in studies])
        if not missing.any():
            self.reporter.line("MisGAN: nothing is missing, so regions are hidden on purpose to learn from")
            missing = np.concatenate([self._hidden(study) for study in studies])
        owners = np.concatenate(
            [np.full(len(slices.images), number) for number, slices in enumerate(studies)]
        )
        images = np.concatenate([study.grey for study in studies])
        shown = np.concatenate([study.shown for study in studies])
        slices = self.recipe.controls.misgan
        return fit_misgan(images, missing, owners, slices, folder, self.device, self.reporter, shown)

    def _hidden(self, study: StandardSlices) -> BoolArray:
        """Regions of some slices as damage would take them, drawn by the study's content."""
        rng = np.random.default_rng([self.recipe.seed, int(study.key[:12], 16)])
        hidden = np.zeros(study.images.shape, dtype=bool)
        size = self.recipe.preprocess.size
        for defect in draw_defects((len(hidden), size, size), rng, HIDDEN):
            hidden[defect.place] = study.shown[defect.place]
        return hidden


def _finished(folder: Path, name: str) -> Fitted | None:
    """A network that was trained before."""
    if not (folder / DONE).is_file():
        return None
    record = read_json(folder / DONE, "verified", "seconds", "scale")
    return Fitted(folder / name, record["verified"], record["seconds"], record["scale"])


def _keep(fitted: Fitted) -> Fitted:
    """Say that a network is done; its file is whole by now."""
    record = {"verified": fitted.verified, "seconds": fitted.seconds, "scale": fitted.scale}
    write_json(fitted.file.parent / DONE, record)
    return fitted
