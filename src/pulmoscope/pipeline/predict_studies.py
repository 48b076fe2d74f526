"""What a model of whole studies says of every study of a table: one in memory at a time, the next being read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import FloatArray, Quality
from pulmoscope.datasets.ct_studies import infected_of, lungs_of, read_labelled
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.embedding import side_by_side
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.ahead import ahead
from pulmoscope.pipeline.ct_answer import named
from pulmoscope.pipeline.ct_missing import missing_flags, searched
from pulmoscope.pipeline.decision import ct_quality, decide
from pulmoscope.pipeline.predict import Failure, Progress
from pulmoscope.pipeline.severity import held_to_measure, measured_for
from pulmoscope.runtime.severity import SeverityModel
from pulmoscope.runtime.three_level import StudyOutputs, ThreeLevelModel

_AHEAD = 2
"""Studies read and not yet judged: the next one is read while one is judged."""


class StudyJudge(Protocol):
    """A model that judges whole studies.

    Attributes:
        patient: the classifiers of the whole patient.
        together: those of them whose vectors are put side by side for a map of the patients.
        levels_told: what its levels are, for the page's reader.
    """

    @property
    def model(self) -> ThreeLevelModel | SeverityModel:
        """The model itself."""
        ...

    @property
    def patient(self) -> tuple[str, ...]:
        """See above."""
        ...

    @property
    def together(self) -> tuple[str, ...]:
        """See above."""
        ...

    @property
    def levels_told(self) -> str:
        """See above."""
        ...

    def read(self, table: SampleTable, sample: Sample) -> Seen:
        """A study as the model wants it, its slices' names and labels, and its quality.

        Raises:
            InputError: it can't be read.
        """
        ...

    def predict(self, images: Any) -> StudyOutputs:
        """What the model says of what it has read."""
        ...


@dataclass(frozen=True)
class Seen:
    """A study that was read.

    Attributes:
        images: as the model wants them.
        places: the slices that they are, counted from the feet.
        labels: of these slices; empty where none is known.
        quality: of the study.
        severity: measured, where the model's answers are grades.
    """

    images: Any
    places: tuple[int, ...]
    labels: tuple[str, ...]
    quality: Quality
    severity: SeverityMeasure | None = None


@dataclass(frozen=True)
class StudyPredictions:
    """What each level says.

    Attributes:
        slices: of every slice, named ``file#index``; the label is empty where it is not known, and for slices without
            infection of infected patients, which may have traces that nobody saw.
        patient: classifier → of every study.
        ensemble: of every study, with the decision that a diagnosis would take.
        vectors: (studies, d), what the ensemble's classifiers know of each patient.
    """

    slices: Predictions
    patient: dict[str, Predictions]
    ensemble: Predictions
    vectors: FloatArray


def predict_studies(
    judge: StudyJudge, table: SampleTable, progress: Progress | None = None
) -> tuple[StudyPredictions, tuple[Failure, ...]]:
    """Judge every study of a table.

    Args:
        progress: told after every study.

    Returns:
        The predictions of the readable studies in the table's order, and the others with their reasons.

    Raises:
        DatasetError: no study could be read.
    """
    bundle = judge.model.bundle
    samples, outputs, known, decisions, failures = [], [], [], [], []
    with ThreadPoolExecutor(1) as reader:
        for done, (sample, seen) in enumerate(ahead(reader, partial(_read, judge, table), table, _AHEAD), 1):
            if isinstance(seen, InputError):
                failures.append(Failure(sample.file, str(seen)))
            else:
                said = judge.predict(seen.images)
                shares = named(bundle.classes, said.ensemble)
                samples.append(sample)
                known.append((seen.places, seen.labels))
                prediction = decide(shares, seen.quality, bundle.thresholds)
                decisions.append(held_to_measure(prediction, seen.severity).decision.value)
                # What is known of each slice would fill the memory, and nobody asks for it.
                outputs.append(replace(said, slice_vectors=np.empty((0, 0), np.float32)))
            if progress is not None:
                progress(done, len(table))
    if not samples:
        reason = f"; the first: {failures[0].reason}" if failures else ""
        raise DatasetError(f"{table.root}: no study could be read (of {len(table)}){reason}")
    found = StudyPredictions(
        slices=_slices(samples, known, [own.slice_probabilities for own in outputs], bundle.classes),
        patient={
            name: _of_studies(samples, [own.patient[name] for own in outputs], bundle.classes)
            for name in judge.patient
        },
        ensemble=_of_studies(samples, [own.ensemble for own in outputs], bundle.classes, tuple(decisions)),
        vectors=np.stack([side_by_side([own.vectors[name] for name in judge.together]) for own in outputs]),
    )
    return found, tuple(failures)


@dataclass(frozen=True)
class ThreeLevelJudge:
    """A model of three levels as a judge of studies."""

    model: ThreeLevelModel

    @property
    def patient(self) -> tuple[str, ...]:
        """Its patient-level classifiers."""
        return self.model.bundle.patient

    @property
    def together(self) -> tuple[str, ...]:
        """Those that its ensemble gets."""
        return self.model.bundle.ensemble

    @property
    def levels_told(self) -> str:
        """What its three levels are."""
        return (
            "Level 1 judges slices: all of normal patients, and those of the others that show infection. Level 2 "
            "judges patients, with several classifiers; level 3 puts some of them together, and is what the rest of "
            "this page is about."
        )

    def read(self, table: SampleTable, sample: Sample) -> Seen:
        """All slices of a study (see :class:`StudyJudge`)."""
        own = searched(read_labelled(table.path(sample), sample.infected))
        scan = own.scan
        labels = _labels(table, sample, len(scan.pixels), self.model.bundle.normal)
        lungs = lungs_of(scan)
        known = ct_quality(scan, lungs, self.model.bundle.training_data.get("sources", ()))
        quality = Quality((*known.all_flags, *missing_flags(own, lungs)))
        places = tuple(range(len(scan.pixels)))
        severity = measured_for(self.model.bundle.classes, scan, lungs, own.mask)
        return Seen(self.model.prepare(scan, lungs), places, tuple(labels), quality, severity)

    def predict(self, images: Any) -> StudyOutputs:
        """All three levels."""
        return self.model.predict(images)


def _read(judge: StudyJudge, table: SampleTable, sample: Sample) -> tuple[Sample, Seen | InputError]:
    """A study, or why it can't be read."""
    try:
        return sample, judge.read(table, sample)
    except InputError as error:
        return sample, error


def _of_studies(
    samples: list[Sample], rows: list[FloatArray], classes: tuple[str, ...], decisions: tuple[str, ...] = ()
) -> Predictions:
    return Predictions(
        files=tuple(sample.file for sample in samples),
        labels=tuple(sample.label for sample in samples),
        patients=tuple(sample.patient for sample in samples),
        sources=tuple(sample.source for sample in samples),
        classes=classes,
        probabilities=np.stack(rows).astype(np.float64),
        decisions=decisions,
    )


def _slices(
    samples: list[Sample],
    known: list[tuple[tuple[int, ...], tuple[str, ...]]],
    rows: list[FloatArray],
    classes: tuple[str, ...],
) -> Predictions:
    files = [
        f"{sample.file}#{index}"
        for sample, (places, _) in zip(samples, known, strict=True)
        for index in places
    ]
    owners = [sample for sample, own in zip(samples, rows, strict=True) for _ in own]
    probabilities: npt.NDArray[np.float64] = np.concatenate(rows).astype(np.float64)
    return Predictions(
        files=tuple(files),
        labels=tuple(chain.from_iterable(labels for _, labels in known)),
        # Slices of one patient are no independent cases, also where the patient is nameless.
        patients=tuple(sample.patient or sample.file for sample in owners),
        sources=tuple(sample.source for sample in owners),
        classes=classes,
        probabilities=probabilities,
    )


def _labels(table: SampleTable, sample: Sample, count: int, normal: str) -> list[str]:
    """Each slice's label, empty where none is known."""
    if sample.label == normal:
        return [normal] * count
    infected = infected_of(table.path(sample), sample.infected, count)
    return [sample.label if infected is not None and infected[index] else "" for index in range(count)]
