"""From a finished run of three levels to a bundle: calibration, threshold, validation figures, card.

All is measured through the very files that diagnosis will run.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from pulmoscope.core.files import sha256_of_file, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.calibration import confidence_threshold, fit_temperature
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.inference.look import look_at
from pulmoscope.inference.reading import Reading
from pulmoscope.io import read_scan
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import expected, travelling
from pulmoscope.recipes.specs import EnsembleSpec, VoteSpec
from pulmoscope.runtime.bundle import (
    CARD,
    ENSEMBLE,
    MANIFEST,
    NETWORK,
    Bundle,
    Calibration,
    PatientLevel,
    Thresholds,
)
from pulmoscope.runtime.model import Model, calibrated
from pulmoscope.training.card.record import key_figures, named
from pulmoscope.training.card.text import model_card
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.run import StudyRun, load_study_run


def export_studies(
    run: Path, table: SampleTable, version: str = "", *, terms: str = "", progress: bool = True
) -> Bundle:
    """Make a finished run's folder a bundle.

    One that has learnt from drawn studies says so in its name.

    Args:
        run: the folder of a finished run; ``bundle.json`` and ``MODEL_CARD.md`` are written into it.
        table: what the run was trained on.
        version: of the bundle; empty: ``own-`` and the beginning of the slice network's SHA-256.
        terms: the data's licence or terms of use, for the model card.

    Raises:
        RecipeError: the folder holds no finished run.
        InputError: a study can't be read.
        ResourceError: memory or disk ran out.
    """
    with clear_about_resources(f"exporting {run}"):
        trained = load_study_run(run)
        (run / MANIFEST).unlink(missing_ok=True)
        bundle = _calibrated(_draft(trained, table, version, terms), table, Reporter.of(progress))
        write_text(run / CARD, model_card(bundle))
        return bundle.save()


def _draft(trained: StudyRun, table: SampleTable, version: str, terms: str) -> Bundle:
    run, recipe = trained.folder, trained.recipe
    known = table.split("train", "val").with_labels(recipe.classes)
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in known:
        by_source[named(sample.source)][sample.label] += 1
    synthetic = "-synthetic" if SYNTHETIC_SOURCE in by_source else ""
    return Bundle(
        folder=run,
        name=f"{recipe.name}{synthetic}",
        version=version or f"own-{sha256_of_file(run / NETWORK)[:8]}",
        classes=recipe.classes,
        modality=recipe.modality,
        preprocess=expected(recipe.preprocess, CtPreprocess),
        patient=PatientLevel(
            expected(recipe.patient, VoteSpec).votes, ENSEMBLE, expected(recipe.ensemble, EnsembleSpec).of
        ),
        recipe=settings.to_plain(travelling(recipe)),
        training_data={
            **trained.summary["data"],
            "classes_by_source": {
                source: dict(sorted(own.items())) for source, own in sorted(by_source.items())
            },
            "layout": table.layout,
            "patients_known": sum(bool(sample.patient) for sample in known),
            "warnings": list(table.warnings),
            "terms": terms,
        },
        verified=trained.summary["verified"],
        software=versions("torch", "timm", "onnx", "onnxruntime"),
    )


def _calibrated(draft: Bundle, table: SampleTable, reporter: Reporter) -> Bundle:
    """The draft with the ensemble's temperature and threshold, and figures of the validation split."""
    model = Model(draft)
    samples = [sample for sample in table.split("val") if sample.label in draft.classes]
    answers = [
        Reading.of(look_at(read_scan(table.path(sample), "ct")), model).answer()
        for sample in reporter.track(samples, "Calibrating", len(samples))
    ]
    logits = np.stack([answer.logits for answer in answers if answer.logits is not None])
    labels = np.array([draft.classes.index(sample.label) for sample in samples])
    temperature = fit_temperature(logits, labels)
    shares = calibrated(logits, temperature)
    found = measure(
        Predictions(
            files=tuple(sample.file for sample in samples),
            labels=tuple(sample.label for sample in samples),
            patients=tuple(sample.patient for sample in samples),
            sources=tuple(sample.source for sample in samples),
            classes=draft.classes,
            probabilities=shares.astype(np.float64),
        )
    )
    val = {
        "role": "internal",
        "what": "validation split, ensemble: chosen and calibrated on",
        "images": found.images,
        "figures": key_figures(found.plain(), None),
    }
    return dataclasses.replace(
        draft,
        calibration=Calibration(temperature, f"val, {len(samples)} studies"),
        thresholds=Thresholds(confidence_threshold(shares, labels)),
        metrics={"val": val},
    )
