"""How a model judges a CT: one of slices by a rule for the patient, one of three levels by its own classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_pneumonia, is_positive
from pulmoscope.core.types import Explanation, FloatArray, Scan, Units
from pulmoscope.explain import gradcam
from pulmoscope.pipeline import patient_rule
from pulmoscope.pipeline.ahead import ahead
from pulmoscope.pipeline.choice import AnyModel
from pulmoscope.pipeline.ct_answer import BoolArray, CtAnswer, CtReader, named
from pulmoscope.pipeline.dense_lung import weighed
from pulmoscope.pipeline.severity_reader import SeverityReader
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.quality.ct_rules import lung_fractions
from pulmoscope.runtime.model import LAST_STAGE, Model, Prepared
from pulmoscope.runtime.severity import SeverityModel
from pulmoscope.runtime.three_level import STAGES, ThreeLevelModel

if TYPE_CHECKING:  # scipy takes half a second
    from pulmoscope.preprocess.ct_lungs import LungMask

BATCH = 16
"""Slices that are prepared at a time: what bounds the memory."""
LEAST_LUNG = 0.01
"""Share of a slice's pixels that must be lung for a model of slices to judge it."""


@dataclass(frozen=True)
class SliceReader:
    """A model of slices; the patient follows by :mod:`pulmoscope.pipeline.patient_rule`."""

    model: Model

    @property
    def repairs(self) -> bool:
        """Always."""
        return True

    def answer(
        self, scan: Scan, lungs: LungMask | None, dense: FloatArray | None, missing: BoolArray | None
    ) -> CtAnswer:
        """Judge every slice that shows enough lung; of pictures, every slice in which lungs are seen.

        Pneumonia is not seen in a slice whose lung is clear by measure (see :mod:`pulmoscope.pipeline.dense_lung`).
        """
        classes = self.model.bundle.classes
        places = np.arange(len(scan.pixels))
        if lungs is not None:
            places = np.flatnonzero(lung_fractions(lungs.labels) >= LEAST_LUNG)
        found = np.full((len(scan.pixels), len(classes)), np.nan, dtype=np.float32)
        batches = [places[start : start + BATCH] for start in range(0, len(places), BATCH)]

        def prepare(batch: npt.NDArray[np.intp]) -> list[tuple[int, Prepared]]:
            seen = [(int(place), self._prepare(scan, lungs, int(place))) for place in batch]
            return [(place, prepared) for place, prepared in seen if prepared.framed.lungs_found]

        with ThreadPoolExecutor(1) as aside:  # the next batch is prepared while the network reads this one
            for seen in ahead(aside, prepare, batches, 2):
                if seen:
                    said = self.model.predict(np.stack([prepared.tensor for _, prepared in seen]))
                    found[[place for place, _ in seen]] = said.probabilities
        judged = np.flatnonzero(~np.isnan(found[:, 0]))
        if not len(judged):
            return CtAnswer(found, {})
        positive = [place for place, name in enumerate(classes) if is_positive(name)]
        network = None
        vetoed = [place for place, name in enumerate(classes) if is_pneumonia(name)]
        if dense is not None and 0 < len(vetoed) < len(classes):
            network = found.copy()
            found[judged] = weighed(found[judged], vetoed, dense[judged])
        patient = patient_rule.patient_probabilities(found[judged], positive)
        shares = named(classes, patient)
        flags, checked = (patient_rule.LIMIT,), patient_rule.CHECKED_ON
        return CtAnswer(found, shares, flags=flags, checked=checked, network=network)

    def explain(
        self,
        scan: Scan,
        lungs: LungMask | None,
        places: Sequence[int],
        target: str,
        missing: BoolArray | None,
    ) -> list[Explanation]:
        """Grad-CAM at each stage that the network gives."""
        seen = [self._prepare(scan, lungs, place) for place in places]
        answer = self.model.predict(np.stack([prepared.tensor for prepared in seen]))
        index = self.model.bundle.classes.index(target)
        rows, columns = scan.pixels.shape[1:]
        stages = [*answer.stages, LAST_STAGE] if answer.stages else [LAST_STAGE]
        return [
            Explanation(
                "grad-cam",
                target,
                gradcam.explain(answer, row, prepared, index, rows, columns, stage),
                index=place,
                stage=stage if answer.stages else 0,
            )
            for row, (place, prepared) in enumerate(zip(places, seen, strict=True))
            for stage in stages
        ]

    def _prepare(self, scan: Scan, lungs: LungMask | None, place: int) -> Prepared:
        """One slice as the network sees it."""
        pixels, preprocess = scan.pixels[place], self.model.bundle.preprocess
        if scan.units is Units.HU and isinstance(preprocess, SlicePreprocess):
            pixels = preprocess.render(pixels)
        return self.model.prepare(
            pixels, None if lungs is None else (lungs.labels[place] > 0).astype(np.float32)
        )


@dataclass(frozen=True)
class ThreeLevelReader:
    """A model of three levels (system B)."""

    model: ThreeLevelModel

    @property
    def repairs(self) -> bool:
        """Always."""
        return True

    def answer(
        self, scan: Scan, lungs: LungMask | None, dense: FloatArray | None, missing: BoolArray | None
    ) -> CtAnswer:
        """Judge every slice, the patient by each classifier, and all together."""
        bundle = self.model.bundle
        said = self.model.predict(self.model.prepare(scan, lungs))
        levels = {name: named(bundle.classes, row) for name, row in said.patient.items()}
        return CtAnswer(said.slice_probabilities, named(bundle.classes, said.ensemble), levels)

    def explain(
        self,
        scan: Scan,
        lungs: LungMask | None,
        places: Sequence[int],
        target: str,
        missing: BoolArray | None,
    ) -> list[Explanation]:
        """Grad-CAM at the backbone's last three stages."""
        preprocess, index = self.model.bundle.preprocess, self.model.bundle.classes.index(target)
        rows, columns = scan.pixels.shape[1:]
        box = preprocess.box(scan.pixels.shape, lungs)
        # The box is the whole study's, so that it must not be looked for anew in a few slices.
        images = self.model.prepare(scan, lungs, places)
        said = self.model.slices(images)
        return [
            Explanation(
                "grad-cam",
                target,
                gradcam.place(
                    gradcam.grad_cam(said.features[stage][row], said.gradients[stage][row, index]),
                    box,
                    rows,
                    columns,
                ),
                index=place,
                stage=stage,
            )
            for row, place in enumerate(places)
            for stage in STAGES
        ]


def reader_of(model: AnyModel) -> CtReader:
    """How this model judges a CT."""
    if isinstance(model, SeverityModel):
        return SeverityReader(model)
    return ThreeLevelReader(model) if isinstance(model, ThreeLevelModel) else SliceReader(model)
