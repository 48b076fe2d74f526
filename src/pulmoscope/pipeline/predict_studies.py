"""What a model of whole studies says of every study of a table: one is predicted at a time, while the next is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.severity import grade_number
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.ct_studies import infected_of, read_labelled
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.embedding import side_by_side
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.inference.answer import CtAnswer
from pulmoscope.inference.ct import infer
from pulmoscope.inference.look import SeenCt, look_at
from pulmoscope.pipeline.predict import Failure, Progress, predict_table
from pulmoscope.runtime.model import Model

_AHEAD = 2
"""Studies read and not yet predicted: the next one is read while one is predicted."""


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
    model: Model, table: SampleTable, progress: Progress | None = None
) -> tuple[StudyPredictions, tuple[Failure, ...]]:
    """Judge every study of a table, as a diagnosis does.

    Args:
        model: one that itself says what a patient's slices come to.
        progress: called after every study.

    Returns:
        The predictions of the readable studies in the table's order, and the others with their reasons.

    Raises:
        DatasetError: no study could be read.
    """
    answers: list[_Answered] = []
    failures: list[Failure] = []
    with ThreadPoolExecutor(1) as aside:
        for done, (sample, seen) in enumerate(ahead(aside, partial(_read, table), table, _AHEAD), 1):
            try:
                if isinstance(seen, InputError):
                    raise seen
                answers.append(_answer(table, sample, seen, model))
            except InputError as error:
                failures.append(Failure(sample.file, error.reason))
            if progress is not None:
                progress(done, len(table))
    if not answers:
        reason = f"; the first, {failures[0].file}: {failures[0].reason}" if failures else ""
        raise DatasetError(f"{table.root}: no study could be read (of {len(table)}){reason}")
    classes = model.bundle.classes
    predictions = StudyPredictions(
        slices=_slices(answers, classes),
        patient={
            name: _of_studies(
                answers, [_row(study.answer.levels[name], classes) for study in answers], classes
            )
            for name in answers[0].answer.levels
        },
        ensemble=replace(
            _of_studies(answers, [_row(study.answer.patient, classes) for study in answers], classes),
            logits=np.stack([study.answer.logits for study in answers]).astype(np.float64),  # type: ignore[misc]
            decisions=tuple(study.decision for study in answers),
            hospitals=tuple(hospital_of(study.sample) for study in answers),
        ),
        vectors=np.stack([side_by_side(list(study.answer.vectors.values())) for study in answers]),
    )
    return predictions, tuple(failures)


def predict_answers(
    model: Model, table: SampleTable, progress: Progress | None = None
) -> tuple[Predictions, tuple[Failure, ...]]:
    """The answers of any model: of every image, or of every study where the model itself predicts patients.

    Raises:
        DatasetError: nothing could be read.
    """
    if model.bundle.patient is None:
        return predict_table(model, table, progress=progress)
    studies, failures = predict_studies(model, table, progress)
    return studies.ensemble, failures


@dataclass(frozen=True)
class _Answered:
    """A study, what the model says of it, the labels of the slices that were predicted, and the decision."""

    sample: Sample
    answer: CtAnswer
    labels: tuple[str, ...]
    decision: str


def _read(table: SampleTable, sample: Sample) -> tuple[Sample, SeenCt | InputError]:
    """A study, or why it can't be read."""
    try:
        return sample, look_at(read_labelled(table.path(sample), sample.infected))
    except InputError as error:
        return sample, error


def _answer(table: SampleTable, sample: Sample, seen: SeenCt, model: Model) -> _Answered:
    result = infer(seen, model, measure=False)
    labels = _labels(table, sample, len(seen.scan.pixels), model)
    kept = tuple(labels[index] for index in result.answer.predicted)
    return _Answered(sample, result.answer, kept, result.prediction.decision.value)


def _row(probabilities: Mapping[str, float], classes: tuple[str, ...]) -> FloatArray:
    return np.array([probabilities[name] for name in classes], dtype=np.float32)


def _of_studies(
    answers: Sequence[_Answered],
    rows: list[FloatArray],
    classes: tuple[str, ...],
) -> Predictions:
    return Predictions(
        files=tuple(study.sample.file for study in answers),
        labels=tuple(study.sample.label for study in answers),
        patients=tuple(study.sample.patient for study in answers),
        sources=tuple(study.sample.source for study in answers),
        classes=classes,
        probabilities=np.stack(rows).astype(np.float64),
    )


def _slices(answers: Sequence[_Answered], classes: tuple[str, ...]) -> Predictions:
    owners = [study.sample for study in answers for _ in study.labels]
    return Predictions(
        files=tuple(f"{study.sample.file}#{index}" for study in answers for index in study.answer.predicted),
        labels=tuple(chain.from_iterable(study.labels for study in answers)),
        # Slices of one patient are no independent cases, also where the patient is nameless.
        patients=tuple(sample.patient or sample.file for sample in owners),
        sources=tuple(sample.source for sample in owners),
        classes=classes,
        probabilities=np.concatenate(
            [study.answer.slices[study.answer.predicted] for study in answers]
        ).astype(np.float64),
    )


def _labels(table: SampleTable, sample: Sample, count: int, model: Model) -> list[str]:
    """Each slice's label, empty where none is known; a grade is its patient's, and that of all slices."""
    grades = any(grade_number(name) is not None for name in model.bundle.classes)
    clean = sample.label == model.bundle.recipe.get("normal") or not is_positive(sample.label)
    if grades or clean:
        return [sample.label] * count
    infected = infected_of(table.path(sample), sample.infected, count)
    return [sample.label if infected is not None and infected[index] else "" for index in range(count)]
