"""How well a model of slices tells infected slices from clean ones within each patient of a table of CT studies.

Between patients a model may live on scanner, dose or build; within one patient all these are equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import suspicion
from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.files import NOTICE, claim_folder, csv_text, shareable, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.types import Diagnosis
from pulmoscope.datasets.ct_studies import infected_of, read_labelled
from pulmoscope.datasets.studies import as_studies
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.bootstrap import INTERVAL, Values, Weights, estimates
from pulmoscope.evaluation.exact import pair_count
from pulmoscope.evaluation.metrics import Ranked
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.evaluate import data_facts, model_facts, synthetic_facts
from pulmoscope.pipeline.predict import Failure, Progress
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "2.1"
RUN = 10
"""Slices that are resampled together: neighbours look alike, and are no independent cases."""


_COLUMNS = (
    *("file", "patient", "slice", "z_mm", "infected"),
    *("score", "network_score", "dense_fraction", "lesion_fraction"),
)


def evaluate_slices(
    model: Model,
    table: SampleTable,
    out: Path,
    *,
    split: str = "",
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Diagnose every study of a table and compare its slices' scores with their labels.

    Writes ``slices.csv`` and, last, ``slices.json``. A slice's score is what a diagnosis gives to the classes that say
    that something was found; intervals draw runs of neighbouring slices. Beside it stand its two parts: what the
    network says by itself, and the fraction of dense lung, which knows of infection but not of its cause; and, for
    comparison, the measured fraction of the lung that is lesion.

    Args:
        table: studies, or single DICOM slices that :func:`pulmoscope.datasets.studies.as_studies` joins.
        split: what the table is called in the results.

    Returns:
        The content of ``slices.json``.

    Raises:
        OutputExistsError: ``out`` holds results and ``force`` is not given.
        DatasetError: no study could be read.
    """
    claim_folder(out, "slices.json", force)
    studies = as_studies(table)
    patients, rows, failures = _diagnosed(model, studies, bootstrap, seed, progress)
    if not patients:
        raise DatasetError(
            f"{table.root}: no study could be read (of {len(studies)}); "
            f"the first, {failures[0].file}: {failures[0].reason}"
        )
    write_text(out / "slices.csv", csv_text(_COLUMNS, rows))
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data_facts(model, studies, split, failures),
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "drawn_together": RUN,
            "interval": INTERVAL,
        },
        "patients": patients,
        "synthetic": synthetic_facts(model.bundle.training_data, studies),
        "command": command,
        "software": versions(),
        "notice": NOTICE,
    }
    write_json(out / "slices.json", report)
    return report


def _diagnosed(
    model: Model, studies: SampleTable, bootstrap: int, seed: int, progress: Progress | None
) -> tuple[list[dict[str, Any]], list[list[str]], list[Failure]]:
    """What each study came to, a row for each of its slices, and the studies that could not be read."""
    patients: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    failures: list[Failure] = []
    for done, sample in enumerate(studies, start=1):
        try:
            scan = read_labelled(studies.path(sample), sample.infected)
            truth = infected_of(studies.path(sample), sample.infected, len(scan.pixels))
            diagnosis = diagnose_ct(scan, model, wanted=lambda _: False)
        except InputError as error:
            failures.append(Failure(sample.file, error.reason))
        else:
            patients.append(_patient(sample, diagnosis, truth, bootstrap, seed))
            rows += _rows(sample, diagnosis, truth)
        if progress is not None:
            progress(done, len(studies))
    return patients, rows, failures


def _patient(
    sample: Sample, diagnosis: Diagnosis, truth: tuple[bool, ...] | None, bootstrap: int, seed: int
) -> dict[str, Any]:
    """One study's figures; of slices that were predicted."""
    answered = [result for result in diagnosis.slices if result.probabilities is not None]
    scores = np.array([suspicion(result.probabilities or {}) for result in answered])
    ill = np.array([truth is not None and truth[result.index] for result in answered], dtype=bool)
    alone = np.array([suspicion(result.network or result.probabilities or {}) for result in answered])
    dense = np.array([result.dense_fraction for result in answered if result.dense_fraction is not None])
    # A slice without lung holds no lesion.
    lesion = np.array(
        [result.lesion_fraction or 0.0 for result in answered if diagnosis.severity is not None]
    )
    runs = [result.index // RUN for result in answered]
    prediction = diagnosis.prediction
    return {
        "file": shareable(sample.file),
        "patient": sample.patient,
        "label": sample.label,
        "predicted": prediction.label,
        "probabilities": dict(prediction.probabilities),
        "decision": prediction.decision.value,
        "slices": len(diagnosis.slices),
        "judged": len(answered),
        "infected": None if truth is None else int(ill.sum()),
        "mean_score": {"infected": _mean(scores[ill]), "clean": _mean(scores[~ill])},
        "auroc": _auroc(ill, scores, runs, bootstrap, seed),
        "network_auroc": _auroc(ill, alone, runs, bootstrap, seed),
        # Measured for every predicted slice or, of pictures, for none.
        "dense_auroc": _auroc(ill[: len(dense)], dense, runs[: len(dense)], bootstrap, seed),
        "lesion_auroc": _auroc(ill[: len(lesion)], lesion, runs[: len(lesion)], bootstrap, seed),
    }


def _auroc(
    ill: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], runs: list[int], bootstrap: int, seed: int
) -> dict[str, float | int | None]:
    """Of infected against clean slices, with an interval over runs of neighbours; undefined where all are alike."""

    if not len(scores):
        return {"value": None, "low": None, "high": None, "usable": 0}
    ranked = Ranked(scores, ill)

    def statistics(weights: Weights) -> Mapping[Hashable, Values]:
        return {"auroc": ranked(weights)[0]}

    _, unit_of_slice = np.unique(runs, return_inverse=True)
    units = unit_of_slice.astype(np.intp)
    trials = {"auroc": [pair_count(units, ill, ~ill)]}
    return estimates(statistics, units, bootstrap, seed, trials)["auroc"].plain()


def _mean(scores: npt.NDArray[np.float64]) -> float | None:
    return round(float(scores.mean()), 6) if len(scores) else None


def _rows(sample: Sample, diagnosis: Diagnosis, truth: tuple[bool, ...] | None) -> list[list[str]]:
    return [
        [
            sample.file,
            sample.patient,
            str(row.index),
            "" if row.z_mm is None else f"{row.z_mm:.3f}",
            "" if truth is None else str(int(truth[row.index])),
            "" if row.probabilities is None else f"{suspicion(row.probabilities):.6f}",
            "" if row.probabilities is None else f"{suspicion(row.network or row.probabilities):.6f}",
            "" if row.dense_fraction is None else f"{row.dense_fraction:.6f}",
            "" if row.lesion_fraction is None else f"{row.lesion_fraction:.6f}",
        ]
        for row in diagnosis.slices
    ]
