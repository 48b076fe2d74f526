"""How a model of single slices reads a CT: every slice by itself, and the patient by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.core.ahead import ahead
from pulmoscope.core.classes import is_pneumonia, is_positive
from pulmoscope.core.types import Explanation, Units
from pulmoscope.explain import gradcam
from pulmoscope.inference import patient_rule
from pulmoscope.inference.answer import CtAnswer, named, nothing_judged
from pulmoscope.inference.dense_lung import weighed
from pulmoscope.inference.look import SeenCt
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.quality.ct_rules import lung_fractions
from pulmoscope.runtime.model import LAST_STAGE, Model, Prepared

BATCH = 16
"""Slices that are prepared at a time: what bounds the memory."""
LEAST_LUNG = 0.01
"""Share of a slice's pixels that must be lung for a model of slices to judge it."""


@dataclass(frozen=True)
class SliceReader:
    """A model of slices; the patient follows by :mod:`pulmoscope.inference.patient_rule`."""

    model: Model

    @property
    def levels_told(self) -> str:
        """One level, and a rule."""
        return "Every slice is judged by itself; the patient follows from the slices by a rule."

    def answer(self, seen: SeenCt) -> CtAnswer:
        """Judge every slice that shows enough lung; of pictures, every slice in which lungs are seen.

        Pneumonia is not seen in a slice whose lung is clear by measure (see :mod:`pulmoscope.inference.dense_lung`).
        """
        classes, count = self.model.bundle.classes, len(seen.scan.pixels)
        places = np.arange(count)
        if seen.lungs is not None:
            places = np.flatnonzero(lung_fractions(seen.lungs.labels) >= LEAST_LUNG)
        found = np.full((count, len(classes)), np.nan, dtype=np.float32)
        batches = [places[start : start + BATCH] for start in range(0, len(places), BATCH)]

        def prepare(batch: npt.NDArray[np.intp]) -> list[tuple[int, Prepared]]:
            framed = [(int(place), self._prepare(seen, int(place))) for place in batch]
            return [(place, prepared) for place, prepared in framed if prepared.framed.lungs_found]

        with ThreadPoolExecutor(1) as aside:  # the next batch is prepared while the network reads this one
            for ready in ahead(aside, prepare, batches, 2):
                if ready:
                    said = self.model.predict(np.stack([prepared.tensor for _, prepared in ready]))
                    found[[place for place, _ in ready]] = said.probabilities
        judged = np.flatnonzero(~np.isnan(found[:, 0]))
        if not len(judged):
            return nothing_judged(count, len(classes))
        positive = [place for place, name in enumerate(classes) if is_positive(name)]
        network = None
        vetoed = [place for place, name in enumerate(classes) if is_pneumonia(name)]
        if seen.dense is not None and 0 < len(vetoed) < len(classes):
            network = found.copy()
            found[judged] = weighed(found[judged], vetoed, seen.dense[judged])
        patient = patient_rule.patient_probabilities(found[judged], positive)
        return CtAnswer(
            found,
            judged,
            named(classes, patient),
            flags=(patient_rule.LIMIT,),
            checked=patient_rule.CHECKED_ON,
            network=network,
        )

    def explain(self, seen: SeenCt, places: Sequence[int], target: str) -> list[Explanation]:
        """Grad-CAM at each stage that the network gives."""
        ready = [self._prepare(seen, place) for place in places]
        answer = self.model.predict(np.stack([prepared.tensor for prepared in ready]))
        index = self.model.bundle.classes.index(target)
        rows, columns = seen.scan.pixels.shape[1:]
        stages = [*answer.stages, LAST_STAGE] if answer.stages else [LAST_STAGE]
        return [
            Explanation(
                "grad-cam",
                target,
                gradcam.explain(answer, row, prepared, index, rows, columns, stage),
                index=place,
                stage=stage if answer.stages else 0,
            )
            for row, (place, prepared) in enumerate(zip(places, ready, strict=True))
            for stage in stages
        ]

    def _prepare(self, seen: SeenCt, place: int) -> Prepared:
        """One slice as the network sees it."""
        pixels, preprocess, lungs = seen.scan.pixels[place], self.model.bundle.preprocess, seen.lungs
        if seen.scan.units is Units.HU and isinstance(preprocess, SlicePreprocess):
            pixels = preprocess.render(pixels)
        return self.model.prepare(
            pixels, None if lungs is None else (lungs.labels[place] > 0).astype(np.float32)
        )
