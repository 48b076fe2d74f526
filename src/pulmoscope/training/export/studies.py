"""The bundle of a run of CT studies: what the held-out studies tell of calibration, referral and anomalies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pulmoscope.core.errors import RecipeError
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.calibration import confidence_threshold, fit_temperature
from pulmoscope.evaluation.conformal import fit_conformal
from pulmoscope.inference.look import look_at
from pulmoscope.inference.reading import Reading
from pulmoscope.io import read_scan
from pulmoscope.quality.anomaly import FALSE_ALARMS, AnomalyThreshold
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import VoteSpec
from pulmoscope.runtime.bundle import Bundle, Calibration, Thresholds
from pulmoscope.runtime.model import Model, calibrated
from pulmoscope.runtime.votes import ENSEMBLE, VOTES, PatientLevel
from pulmoscope.training.export.common import drafted, validated
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import TrainedRun
from pulmoscope.training.severity.held_out import predicted_studies
from pulmoscope.training.severity.predicted import PredictedStudy, of_patients
from pulmoscope.training.severity.run import cache_of

_UNKNOWN = dataclasses.asdict(AnomalyThreshold(1.0, FALSE_ALARMS, slices=0, studies=0))
"""The threshold before held-out slices have been scored: scores are multiples of one."""


def of_studies(
    trained: TrainedRun, table: SampleTable, version: str, terms: str, cache: str, reporter: Reporter
) -> Bundle:
    """The bundle, calibrated; its networks lie in the run's folder already (see :func:`export_bundle`)."""
    recipe = trained.recipe
    draft = drafted(
        trained,
        table.split("train", "val").with_labels(recipe.classes),
        version,
        terms,
        trained.summary.get("verified", {}),
        patient=_patient(recipe),
        imputer=recipe.controls.imputer if recipe.grades else "",
        anomaly=_UNKNOWN if recipe.controls.anomalies else None,
        training_data={"splits": sorted({sample.split for sample in table})},
    )
    if missing := [name for name in draft.needed if not (draft.folder / name).is_file()]:
        raise RecipeError(
            f"{draft.folder}: {', '.join(missing)}: a run of this version has it; train it again (--force)"
        )
    held_out = table.split("val").with_labels(recipe.classes)
    if recipe.grades:
        return _graded(draft, trained, held_out, cache, reporter)
    return _calibrated(draft, held_out, reporter)


def _patient(recipe: Recipe) -> PatientLevel:
    """How the recipe comes from slices to the patient."""
    votes = expected(recipe.patient, VoteSpec)
    if recipe.ensemble is not None:
        return PatientLevel(votes.votes, ENSEMBLE, recipe.ensemble.of)
    return PatientLevel(VOTES, votes.decides, vectors="densities")


def _calibrated(draft: Bundle, held_out: SampleTable, reporter: Reporter) -> Bundle:
    """With the ensemble's temperature and threshold, and figures of the validation split."""
    model, samples = Model(draft), held_out.samples
    answers = [
        Reading.of(look_at(read_scan(held_out.path(sample), "ct")), model).answer()
        for sample in reporter.track(samples, "Calibrating", len(samples))
    ]
    logits = np.stack([answer.logits for answer in answers if answer.logits is not None])
    labels = np.array([draft.classes.index(sample.label) for sample in samples])
    temperature = fit_temperature(logits, labels)
    probabilities = calibrated(logits, temperature)
    fitted_on, hospitals = f"val, {len(samples)} studies", [hospital_of(sample) for sample in samples]
    return dataclasses.replace(
        draft,
        calibration=Calibration(temperature, fitted_on),
        thresholds=Thresholds(confidence_threshold(probabilities, labels)),
        conformal=fit_conformal(probabilities, labels, hospitals, draft.classes, fitted_on),
        **validated(draft, samples, probabilities, "validation split, ensemble: chosen and calibrated on"),
    )


def _graded(
    draft: Bundle, trained: TrainedRun, held_out: SampleTable, cache: str, reporter: Reporter
) -> Bundle:
    """With the anomaly threshold, the threshold of referral, and figures of studies that chose nothing else."""
    recipe, level = trained.recipe, draft.patient
    assert level is not None
    prepared = cache_of(dataclasses.replace(recipe, cache=cache), trained.folder)
    studies = predicted_studies(Model(draft), recipe, held_out, prepared, reporter)
    patients = of_patients(studies, draft.classes, level.decides)
    probabilities = patients.probabilities.astype(np.float32)
    samples = [one.sample for one in studies]
    what = f"held out, patients by {level.decides}"
    return dataclasses.replace(
        draft,
        thresholds=Thresholds(confidence_threshold(probabilities, patients.truth)),
        conformal=fit_conformal(
            probabilities,
            patients.truth,
            [hospital_of(sample) for sample in samples],
            draft.classes,
            f"val, {len(samples)} studies",
        ),
        anomaly=None if draft.anomaly is None else _threshold(studies, draft.classes[0]),
        **validated(draft, samples, probabilities, what),
    )


def _threshold(studies_held_out: Sequence[PredictedStudy], normal: str) -> dict[str, Any]:
    """The score that a stated fraction of held-out slices of the class without disease lies beyond: of few, one
    slice."""
    scored = [
        (one, one.anomaly)
        for one in studies_held_out
        if one.sample.label == normal and one.anomaly is not None
    ]
    studies = [one.sample.file for one, scores in scored for _ in scores]
    scores = np.concatenate([scores for _, scores in scored])
    fraction = max(FALSE_ALARMS, 1 / len(scores))
    return dataclasses.asdict(AnomalyThreshold.fit(scores, studies, fraction))
