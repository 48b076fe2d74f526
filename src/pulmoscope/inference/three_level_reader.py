"""How a model of three levels (system B) reads a CT: its slices, the patient by each classifier, and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import Explanation
from pulmoscope.explain import gradcam
from pulmoscope.inference.answer import CtAnswer, named
from pulmoscope.inference.look import SeenCt
from pulmoscope.runtime.three_level import STAGES, ThreeLevelModel


@dataclass(frozen=True)
class ThreeLevelReader:
    """A model of three levels (system B)."""

    model: ThreeLevelModel

    @property
    def levels_told(self) -> str:
        """What its three levels are."""
        return (
            "Level 1 judges slices: all of normal patients, and those of the others that show infection. Level 2 "
            "judges patients, with several classifiers; level 3 puts some of them together, and is what the rest of "
            "this page is about."
        )

    def answer(self, seen: SeenCt) -> CtAnswer:
        """Judge every slice, the patient by each classifier, and all together."""
        bundle = self.model.bundle
        said = self.model.predict(self.model.prepare(seen.scan, seen.lungs))
        return CtAnswer(
            said.slice_probabilities,
            np.arange(len(said.slice_probabilities)),
            named(bundle.classes, said.ensemble),
            {name: named(bundle.classes, row) for name, row in said.patient.items()},
            {name: said.vectors[name] for name in bundle.ensemble},
        )

    def explain(self, seen: SeenCt, places: Sequence[int], target: str) -> list[Explanation]:
        """Grad-CAM at the backbone's last three stages."""
        preprocess, index = self.model.bundle.preprocess, self.model.bundle.classes.index(target)
        rows, columns = seen.scan.pixels.shape[1:]
        box = preprocess.box(seen.scan.pixels.shape, seen.lungs)
        # The box is the whole study's, so that it must not be looked for anew in a few slices.
        images = self.model.prepare(seen.scan, seen.lungs, places)
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
