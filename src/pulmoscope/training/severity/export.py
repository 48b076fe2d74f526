"""From a finished run of system A to a bundle: the anomaly threshold, held-out figures, the card."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import sha256_of_file, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.calibration import confidence_threshold
from pulmoscope.evaluation.metrics import evaluate
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.quality.anomaly import FALSE_ALARMS, AnomalyThreshold
from pulmoscope.recipes import settings
from pulmoscope.recipes.recipe import expected, travelling
from pulmoscope.recipes.specs import VoteSpec
from pulmoscope.runtime.bundle import CARD, MANIFEST, NETWORK, Bundle, PatientLevel, Thresholds
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.votes import VOTES
from pulmoscope.training.card.record import key_figures
from pulmoscope.training.card.text import model_card
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.held_out import judged_studies
from pulmoscope.training.severity.judge import Judged, of_patients
from pulmoscope.training.severity.run import OWN_CACHE, SeverityRun, cache_of, load_severity_run
from pulmoscope.training.three_level.studies import Cache


def export_severity(
    run: Path,
    table: SampleTable,
    version: str = "",
    *,
    cache: str = "",
    terms: str = "",
    progress: bool = True,
) -> Bundle:
    """Make a finished run's folder a bundle.

    One that has learnt from drawn studies says so in its name.

    Args:
        run: the folder of a finished run; ``bundle.json`` and ``MODEL_CARD.md`` are written into it.
        table: what the run was trained on; its split val was held out.
        version: of the bundle; empty: ``own-`` and the beginning of the slice network's SHA-256.
        cache: the folder of prepared slices that the run was given; empty: its own, which is removed.
        terms: the data's licence or terms of use, for the model card.

    Raises:
        RecipeError: the folder holds no finished run, or one of an earlier version.
        InputError: a study can't be read.
        ResourceError: memory or disk ran out.
    """
    with clear_about_resources(f"exporting {run}"):
        trained = load_severity_run(run)
        draft = _draft(trained, table, version, terms)
        if missing := [name for name in draft.needed if not (run / name).is_file()]:
            raise RecipeError(
                f"{run}: {', '.join(missing)}: a run of this version has it; train it again (--force)"
            )
        (run / MANIFEST).unlink(missing_ok=True)
        prepared = cache_of(dataclasses.replace(trained.recipe, cache=cache), run)
        bundle = _judged(draft, trained, table, prepared, Reporter.of(progress))
        write_text(run / CARD, model_card(bundle))
        sealed = bundle.save()
        shutil.rmtree(run / OWN_CACHE, ignore_errors=True)
        return sealed


def _draft(trained: SeverityRun, table: SampleTable, version: str, terms: str) -> Bundle:
    run, recipe, data = trained.folder, trained.recipe, trained.summary["data"]
    synthetic = "-synthetic" if SYNTHETIC_SOURCE in data["sources"] else ""
    return Bundle(
        folder=run,
        name=f"{recipe.name}{synthetic}",
        version=version or f"own-{sha256_of_file(run / NETWORK)[:8]}",
        classes=recipe.classes,
        modality=recipe.modality,
        preprocess=expected(recipe.preprocess, Standardisation),
        imputer=recipe.controls.imputer,
        patient=PatientLevel(VOTES, expected(recipe.patient, VoteSpec).decides, vectors="densities"),
        anomaly={} if recipe.controls.anomalies else None,  # filled in when held-out slices have been scored
        recipe=settings.to_plain(travelling(recipe)),
        training_data={
            **data,
            "layout": table.layout,
            "splits": sorted({sample.split for sample in table}),
            "patients_known": sum(bool(sample.patient) for sample in table),
            "warnings": list(table.warnings),
            "terms": terms,
        },
        verified=trained.summary["verified"],
        software=versions("torch", "timm", "onnx", "onnxruntime"),
    )


def _judged(
    draft: Bundle, trained: SeverityRun, table: SampleTable, cache: Cache, reporter: Reporter
) -> Bundle:
    """The draft with what the held-out studies tell: anomaly threshold, referral threshold, figures."""
    recipe = trained.recipe
    held_out = table.split("val").with_labels(recipe.classes)
    judged = judged_studies(Model(draft), recipe, held_out, cache, reporter)
    patients = of_patients(judged, draft.classes, expected(recipe.patient, VoteSpec).decides)
    found = evaluate(patients)
    labels = np.array([draft.classes.index(label) for label in patients.labels])
    shares = patients.probabilities.astype(np.float32)
    val = {
        "role": "internal",
        "what": f"held out, patients by {expected(recipe.patient, VoteSpec).decides}",
        "images": found.images,
        "figures": key_figures(found.plain(), None),
    }
    return dataclasses.replace(
        draft,
        thresholds=Thresholds(confidence_threshold(shares, labels)),
        anomaly=None if draft.anomaly is None else _threshold(judged, draft.classes[0]),
        metrics={"val": val},
    )


def _threshold(judged: Sequence[Judged], normal: str) -> dict[str, Any]:
    """The score that a stated share of held-out slices of the class without disease lies beyond: of few, one slice."""
    own = [(one, one.anomaly) for one in judged if one.sample.label == normal and one.anomaly is not None]
    studies = [one.sample.file for one, scores in own for _ in scores]
    scores = np.concatenate([scores for _, scores in own])
    share = max(FALSE_ALARMS, 1 / len(scores))
    return dataclasses.asdict(AnomalyThreshold.fit(scores, studies, share))
