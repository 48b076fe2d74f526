"""How a model of system A judges a CT: its repaired slices one by one, and the patient by votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Explanation, Flag, FloatArray, Scan, Units
from pulmoscope.explain import gradcam
from pulmoscope.pipeline.ct_answer import BoolArray, CtAnswer, named
from pulmoscope.preprocess.ct_standard import StandardStudy
from pulmoscope.quality.anomaly import AnomalyThreshold, study_flags
from pulmoscope.quality.repair import anomalies_of, repaired
from pulmoscope.runtime.severity import SeverityModel
from pulmoscope.runtime.severity_bundle import NO_IMPUTER
from pulmoscope.runtime.votes import VOTES

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask


@dataclass(frozen=True)
class SeverityReader:
    """A model of system A; the patient follows by the vote that the bundle names, the others stand beside it."""

    model: SeverityModel

    @property
    def repairs(self) -> bool:
        """Unless it was trained on damage as it is."""
        return self.model.bundle.imputer != NO_IMPUTER

    def answer(
        self, scan: Scan, lungs: LungMask | None, dense: FloatArray | None, missing: BoolArray | None
    ) -> CtAnswer:
        """Judge every slice that shows enough lung, repaired as in training.

        A standardised slice speaks for all slices of the scan that it is the mean of.

        Raises:
            UnsuitableError: the slices came as pictures, which have no HU.
        """
        bundle = self.model.bundle
        study = self._standardised(scan, lungs, missing)
        found = np.full((len(scan.pixels), len(bundle.classes)), np.nan, dtype=np.float32)
        if not study.judged.any():
            return CtAnswer(found, {})
        images = repaired(study, self.model)[study.judged]
        said = self.model.predict(images)
        for place, row in zip(np.flatnonzero(study.judged), said.slices, strict=True):
            found[study.first[place] : study.first[place + 1]] = row
        levels = {vote: named(bundle.classes, said.patient[vote]) for vote in VOTES}
        own = "" if bundle.imputer == NO_IMPUTER else bundle.imputer
        return CtAnswer(found, levels[bundle.vote], levels, self._unlike_normal(images), imputer=own)

    def explain(
        self,
        scan: Scan,
        lungs: LungMask | None,
        places: Sequence[int],
        target: str,
        missing: BoolArray | None,
    ) -> list[Explanation]:
        """Grad-CAM of the standardised slices that these slices have a part in."""
        study = self._standardised(scan, lungs, missing)
        owners = np.searchsorted(study.first, np.asarray(places), side="right") - 1
        said = self.model.slices(repaired(study, self.model)[owners])
        index = self.model.bundle.classes.index(target)
        rows, columns = scan.pixels.shape[1:]
        return [
            Explanation(
                "grad-cam",
                target,
                gradcam.place(
                    gradcam.grad_cam(said.features[row], said.gradients[row, index]), study.box, rows, columns
                ),
                index=place,
            )
            for row, place in enumerate(places)
        ]

    def _standardised(self, scan: Scan, lungs: LungMask | None, missing: BoolArray | None) -> StandardStudy:
        if scan.units is not Units.HU or scan.spacing_mm is None or lungs is None:
            rule = f"the model {self.model.bundle.name} reads CT in HU with known spacing"
            raise UnsuitableError(scan.name, rule, scan.units.value)
        return self.model.bundle.preprocess.apply(scan.pixels, scan.spacing_mm, lungs, missing)

    def _unlike_normal(self, images: FloatArray) -> tuple[Flag, ...]:
        """What the AnoGAN says of the study; nothing where the bundle has none."""
        anomalies, known = anomalies_of(self.model), self.model.bundle.anomaly
        if anomalies is None or known is None:
            return ()
        return study_flags(anomalies(images), AnomalyThreshold(**known))
