"""How a model reads a CT: its slices, the patient by every vote, and what speaks for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_pneumonia, is_positive
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import Explanation, FloatArray
from pulmoscope.explain import gradcam
from pulmoscope.inference import patient_rule
from pulmoscope.inference.answer import CtAnswer, named
from pulmoscope.inference.dense_lung import weighed
from pulmoscope.inference.look import SeenCt
from pulmoscope.inference.shown import Indices, ShownCt, shown
from pulmoscope.quality.anomaly import AnomalyThreshold, study_flags
from pulmoscope.quality.repair import anomalies_of
from pulmoscope.runtime.model import BATCH, LAST_STAGE, Model
from pulmoscope.runtime.votes import PatientLevel


class _Read(NamedTuple):
    """What the image network says of the slices that were predicted: which, their probabilities and vectors."""

    slices: Indices
    probabilities: FloatArray
    vectors: FloatArray


class _Scores(NamedTuple):
    """Anomaly scores (n,) of slices, their maps (n, size, size), and the limit."""

    each: FloatArray
    maps: FloatArray
    limit: AnomalyThreshold


@dataclass(frozen=True)
class Reading:
    """A model that reads one CT.

    Attributes:
        model: one whose bundle is of modality CT.
        shown: the slices as its network is shown them.
        seen: the CT; None where only its prepared slices are at hand, which is enough to answer for a model that
            predicts patients, and not to explain.
    """

    model: Model
    shown: ShownCt
    seen: SeenCt | None = None

    @classmethod
    def of(cls, seen: SeenCt, model: Model) -> Reading:
        """Begin to read (errors: UnsuitableError, where the model can't read such a scan)."""
        return cls(model, shown(seen, model), seen)

    def answer(self) -> CtAnswer:
        """Judge every slice that shows enough lung, and the patient."""
        classes, read = self.model.bundle.classes, self._read()
        if read is None:
            unpredicted = np.full((int(self.shown.first[-1]), len(classes)), np.nan, dtype=np.float32)
            return CtAnswer(unpredicted, np.array([], dtype=np.intp), {})
        if self.model.bundle.patient is None:
            return self._by_rule(read)
        patient = self.model.patient(read.probabilities, read.vectors)
        scores = None
        if self.model.bundle.anomaly is not None:
            scores = self._scores(self.shown.batch(read.slices).images)
        return CtAnswer(
            self._of_scan(read.slices, read.probabilities),
            np.asarray(self.shown.first[read.slices], dtype=np.intp),
            named(classes, patient.probabilities),
            patient.logits,
            {vote: named(classes, row) for vote, row in patient.votes.items()},
            patient.vectors,
            () if scores is None else study_flags(scores.each, scores.limit),
            anomalies=None
            if scores is None
            else self._of_scan(read.slices, scores.limit.multiples(scores.each)),
        )

    def explain(self, slices: Sequence[int], target: str) -> list[Explanation]:
        """What in these slices of the scan speaks for a class: Grad-CAM at each stage that the network gives.

        Where the anomaly network calls one of them unlike normal ones, its score map comes, too.
        """
        assert self.seen is not None
        owners = np.searchsorted(self.shown.first, np.asarray(slices), side="right") - 1
        batch = self.shown.batch(owners)
        outputs, scores = self.model.predict(batch.tensor), self._scores(batch.images)
        classes, (rows, columns) = self.model.bundle.classes, self.seen.scan.pixels.shape[1:]
        index = classes.index(target)
        stages = [*outputs.stages, LAST_STAGE] if outputs.stages else [0]
        explanations = []
        for row, (at, box) in enumerate(zip(slices, batch.boxes, strict=True)):
            for stage in stages:
                heat = gradcam.cells(outputs, row, index, stage or LAST_STAGE)
                heat = gradcam.place(heat, box, rows, columns)
                explanations.append(Explanation("grad-cam", target, heat, index=at, stage=stage))
            if scores is not None and scores.limit.above(scores.each)[row]:
                heat = gradcam.place(scores.maps[row] / scores.maps[row].max(), box, rows, columns)
                explanations.append(Explanation("anomaly", f"unlike {classes[0]}", heat, index=at))
        return explanations

    def _read(self) -> _Read | None:
        """What the image network says; None where no slice is predicted."""
        wanted = self.shown.wanted
        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        parts = []
        with ThreadPoolExecutor(1) as aside:  # the next batch is prepared while the network reads this one
            for batch in ahead(aside, self.shown.batch, batches, 2):
                if len(batch.slices):
                    outputs = self.model.predict(batch.tensor)
                    vectors = self.model.vectors(outputs, batch.images)
                    parts.append(_Read(batch.slices, outputs.probabilities, vectors))
        return _Read(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else None

    def _by_rule(self, read: _Read) -> CtAnswer:
        """The patient by :mod:`pulmoscope.inference.patient_rule`.

        Pneumonia is not seen in a slice whose lung is clear by measure (see :mod:`pulmoscope.inference.dense_lung`).
        """
        assert self.seen is not None
        classes, dense = self.model.bundle.classes, self.seen.dense
        probabilities, network = read.probabilities, None
        vetoed = [index for index, name in enumerate(classes) if is_pneumonia(name)]
        if dense is not None and 0 < len(vetoed) < len(classes):
            network = self._of_scan(read.slices, probabilities)
            probabilities = weighed(probabilities, vetoed, dense[read.slices])
        positive = [index for index, name in enumerate(classes) if is_positive(name)]
        patient = patient_rule.patient_probabilities(probabilities, positive)
        return CtAnswer(
            self._of_scan(read.slices, probabilities),
            read.slices,
            named(classes, patient),
            flags=(patient_rule.LIMIT,),
            checked=patient_rule.CHECKED_ON,
            network=network,
        )

    def _scores(self, images: FloatArray) -> _Scores | None:
        """What the anomaly network says of slices; None where the bundle has none."""
        anomalies, known = anomalies_of(self.model), self.model.bundle.anomaly
        return (
            None
            if anomalies is None or known is None
            else _Scores(*anomalies(images), AnomalyThreshold(**known))
        )

    def _of_scan(self, slices: Indices, rows: npt.NDArray[np.float32]) -> FloatArray:
        """What is known of each predicted slice of the network's, for every slice of the scan that it shows.

        Returns:
            float32 (slices of the scan, …); NaN where one was not predicted.
        """
        of_scan = np.full((int(self.shown.first[-1]), *rows.shape[1:]), np.nan, dtype=np.float32)
        for index, row in zip(slices, rows, strict=True):
            of_scan[self.shown.first[index] : self.shown.first[index + 1]] = row
        return of_scan


def levels_in_words(patient: PatientLevel | None) -> str:
    """What a model's levels are, for the reader of an evaluation's page."""
    if patient is None:
        return "Every slice is judged by itself; the patient follows from the slices by a rule."
    if patient.ensemble:
        return (
            "Level 1 judges slices: all of normal patients, and those of the others that show infection. Level 2 "
            "judges patients, with several classifiers; level 3 puts some of them together, and is what the rest of "
            "this page is about."
        )
    return (
        "Every slice that shows enough lung is judged by itself, and is right where it says its patient's grade, "
        f"though most slices of mild disease are clean. The patient follows from the slices by {len(patient.votes)} "
        f"votes; ensemble is the one that this model goes by ({patient.decides}), and what the rest of this page is "
        "about."
    )
