"""How a model of system A judges a CT: its repaired slices one by one, and the patient by votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Explanation, FloatArray, Units
from pulmoscope.explain import gradcam
from pulmoscope.inference.answer import CtAnswer, named, nothing_judged
from pulmoscope.inference.look import SeenCt
from pulmoscope.preprocess.ct_standard import StandardStudy
from pulmoscope.quality.anomaly import AnomalyThreshold, study_flags
from pulmoscope.quality.repair import anomalies_of, repaired
from pulmoscope.runtime.severity import DENSITIES, SeverityModel
from pulmoscope.runtime.severity_bundle import NO_IMPUTER
from pulmoscope.runtime.votes import VOTES


@dataclass(frozen=True)
class SeverityReader:
    """A model of system A; the patient follows by the vote that the bundle names, the others stand beside it."""

    model: SeverityModel

    @property
    def levels_told(self) -> str:
        """What its votes are."""
        return (
            "Every slice that shows enough lung is judged by itself, and is right where it says its patient's grade, "
            "though most slices of mild disease are clean. The patient follows from the slices by four votes; ensemble "
            f"is the one that this model goes by ({self.model.bundle.vote}), and what the rest of this page is about."
        )

    def answer(self, seen: SeenCt) -> CtAnswer:
        """Judge every slice that shows enough lung, repaired as in training.

        A standardised slice speaks for all slices of the scan that it is the mean of.

        Raises:
            UnsuitableError: the slices came as pictures, which have no HU.
        """
        bundle = self.model.bundle
        study, count = self._standardised(seen), len(seen.scan.pixels)
        if not study.judged.any():
            return nothing_judged(count, len(bundle.classes))
        images = repaired(study, self.model)[study.judged]
        said = self.model.predict(images)
        levels = {vote: named(bundle.classes, said.patient[vote]) for vote in VOTES}
        scores = self._scores(images)
        return CtAnswer(
            _of_scan(study, said.slices, count),
            np.asarray(study.first[np.flatnonzero(study.judged)]),
            levels[bundle.vote],
            levels,
            {"mean": said.vectors[:, :-DENSITIES].mean(axis=0)},
            () if scores is None else study_flags(scores.each, scores.limit),
            imputer=bundle.imputer,
            anomalies=None if scores is None else _of_scan(study, scores.limit.multiples(scores.each), count),
        )

    def explain(self, seen: SeenCt, places: Sequence[int], target: str) -> list[Explanation]:
        """Grad-CAM of the standardised slices that these slices have a part in.

        Where the AnoGAN calls one of them unlike normal ones, its score map comes, too.
        """
        study = self._standardised(seen)
        owners = np.searchsorted(study.first, np.asarray(places), side="right") - 1
        images = repaired(study, self.model)[owners]
        said, scores = self.model.slices(images), self._scores(images)
        classes, (rows, columns) = self.model.bundle.classes, seen.scan.pixels.shape[1:]
        index, found = classes.index(target), []
        for row, place in enumerate(places):
            heats = {("grad-cam", target): gradcam.grad_cam(said.features[row], said.gradients[row, index])}
            if scores is not None and scores.limit.above(scores.each)[row]:
                own = scores.maps[row]
                heats["anomaly", f"unlike {classes[0]}"] = own / own.max()
            for (kind, of), heat in heats.items():
                found.append(
                    Explanation(kind, of, gradcam.place(heat, study.box, rows, columns), index=place)
                )
        return found

    def _standardised(self, seen: SeenCt) -> StandardStudy:
        """The study's slices; one trained on damage as it is gets the damage as it is."""
        filled = self.model.bundle.imputer != NO_IMPUTER
        scan, lungs = (seen.scan, seen.lungs) if filled else (seen.raw, seen.raw_lungs)
        if scan.units is not Units.HU or scan.spacing_mm is None or lungs is None:
            rule = f"the model {self.model.bundle.name} reads CT in HU with known spacing"
            raise UnsuitableError(scan.source, "without-hu", "its values are grey levels, not HU", rule)
        return self.model.bundle.preprocess.apply(
            scan.pixels, scan.spacing_mm, lungs, seen.missing if filled else None
        )

    def _scores(self, images: FloatArray) -> _Scores | None:
        """What the AnoGAN says of slices; None where the bundle has none."""
        anomalies, known = anomalies_of(self.model), self.model.bundle.anomaly
        if anomalies is None or known is None:
            return None
        return _Scores(*anomalies(images), AnomalyThreshold(**known))


class _Scores(NamedTuple):
    """Anomaly scores (n,) of slices, their maps (n, size, size), and the limit."""

    each: FloatArray
    maps: FloatArray
    limit: AnomalyThreshold


def _of_scan(study: StandardStudy, rows: FloatArray, count: int) -> FloatArray:
    """What is known of each judged standardised slice, for every slice of the scan that it is the mean of.

    Returns:
        float32 (count, …); NaN where a slice was not judged.
    """
    found = np.full((count, *rows.shape[1:]), np.nan, dtype=np.float32)
    for place, row in zip(np.flatnonzero(study.judged), rows, strict=True):
        found[study.first[place] : study.first[place + 1]] = row
    return found
