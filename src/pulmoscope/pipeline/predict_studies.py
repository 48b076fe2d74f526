"""What a model of three levels says of every study of a table: one study in memory at a time, the next being read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.types import FloatArray, Quality
from pulmoscope.datasets.ct_studies import infected_of, lungs_of, read_labelled
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.embedding import side_by_side
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.ahead import ahead
from pulmoscope.pipeline.ct_readers import named
from pulmoscope.pipeline.decision import ct_quality, decide
from pulmoscope.pipeline.predict import Failure, Progress
from pulmoscope.preprocess.ct import Bytes
from pulmoscope.runtime.three_level import ThreeLevelModel

_AHEAD = 2
"""Studies read and not yet judged: the next one is read while one is judged."""


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
    model: ThreeLevelModel, table: SampleTable, progress: Progress | None = None
) -> tuple[StudyPredictions, tuple[Failure, ...]]:
    """Judge every study of a table.

    Args:
        progress: told after every study.

    Returns:
        The predictions of the readable studies in the table's order, and the others with their reasons.

    Raises:
        DatasetError: no study could be read.
    """
    bundle = model.bundle
    samples, outputs, labels, decisions, failures = [], [], [], [], []
    with ThreadPoolExecutor(1) as reader:
        for done, (sample, seen) in enumerate(ahead(reader, partial(_read, model, table), table, _AHEAD), 1):
            if isinstance(seen, InputError):
                failures.append(Failure(sample.file, str(seen)))
            else:
                images, known, quality = seen
                said = model.predict(images)
                shares = named(bundle.classes, said.ensemble)
                samples.append(sample)
                labels.append(known)
                decisions.append(decide(shares, quality, bundle.thresholds.confidence).decision.value)
                # What is known of each slice would fill the memory, and nobody asks for it.
                outputs.append(replace(said, slice_vectors=np.empty((0, 0), np.float32)))
            if progress is not None:
                progress(done, len(table))
    if not samples:
        reason = f"; the first: {failures[0].reason}" if failures else ""
        raise DatasetError(f"{table.root}: no study could be read (of {len(table)}){reason}")
    found = StudyPredictions(
        slices=_slices(samples, labels, [own.slice_probabilities for own in outputs], bundle.classes),
        patient={
            name: _of_studies(samples, [own.patient[name] for own in outputs], bundle.classes)
            for name in bundle.patient
        },
        ensemble=_of_studies(samples, [own.ensemble for own in outputs], bundle.classes, tuple(decisions)),
        vectors=np.stack([side_by_side([own.vectors[name] for name in bundle.ensemble]) for own in outputs]),
    )
    return found, tuple(failures)


def _read(
    model: ThreeLevelModel, table: SampleTable, sample: Sample
) -> tuple[Sample, tuple[Bytes, list[str], Quality] | InputError]:
    """A study's slices as the model wants them, their labels, and its quality; or why it can't be read."""
    try:
        scan = read_labelled(table.path(sample), sample.infected)
        labels = _labels(table, sample, len(scan.pixels), model.bundle.normal)
    except InputError as error:
        return sample, error
    lungs = lungs_of(scan)
    quality = ct_quality(scan, lungs, model.bundle.training_data.get("sources", ()))
    return sample, (model.prepare(scan, lungs), labels, quality)


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
    samples: list[Sample], labels: list[list[str]], rows: list[FloatArray], classes: tuple[str, ...]
) -> Predictions:
    files = [
        f"{sample.file}#{index}"
        for sample, own in zip(samples, rows, strict=True)
        for index in range(len(own))
    ]
    owners = [sample for sample, own in zip(samples, rows, strict=True) for _ in own]
    probabilities: npt.NDArray[np.float64] = np.concatenate(rows).astype(np.float64)
    return Predictions(
        files=tuple(files),
        labels=tuple(chain.from_iterable(labels)),
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
