"""From a table of CTs with masks of lungs and lesions to what the density measure gets right: figures and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.files import (
    NOTICE,
    claim_folder,
    csv_text,
    shareable,
    write_bytes,
    write_json,
    write_text,
)
from pulmoscope.core.software import versions
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.studies import as_studies
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.pipeline.predict import Progress
from pulmoscope.pipeline.truth.figures import (
    MUCH_PERCENT,
    Compared,
    Resampling,
    figures,
    of_slices,
    of_studies,
    study_figures,
)
from pulmoscope.pipeline.truth.study import ComparedStudy, compare, has_truth
from pulmoscope.report.evaluation import measure_page

MEASURE = "measure"
"""What stands in a model's place where the density measure is meant, which has no network and has learnt nothing."""
SCHEMA_VERSION = "1.0"

_SLICE_COLUMNS = (
    *("file", "patient", "slice", "z_mm", "lung_true", "lung_measured", "percent_true", "percent_measured"),
    *("difference", "lungs_dice", "lesions_dice"),
)


def evaluate_measure(
    table: SampleTable,
    out: Path,
    *,
    split: str = "",
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
    force: bool = False,
    true_lungs: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure every CT of a table that has masks of lungs or lesions, and compare.

    Writes ``patients.csv`` (a row a study), ``slices.csv``, ``bland_altman.png`` and ``bland_altman_slices.png``,
    ``report.html`` and, last, ``measure.json``. Studies without masks are left aside.

    Args:
        split: what the table is called in the results.
        command: how to do it again, for the results.
        true_lungs: measure within the drawn lungs: what is left is due to the lesions alone.
        progress: called with how many studies are done.

    Returns:
        The content of ``measure.json``.

    Raises:
        OutputExistsError: ``out`` holds results and ``force`` is not given.
        DatasetError: no study has masks, or none could be compared.
    """
    claim_folder(out, "measure.json", force)
    every = as_studies(table)
    studies = every.with_samples(sample for sample in every if has_truth(sample))
    if not len(studies):
        rule = "a mask of its lungs (lung_mask) or of its lesions (lesion_mask), or infected none"
        raise DatasetError(f"{table.root}: a study to compare with has {rule} (found: none of {len(every)})")
    compared, failures = _all_compared(studies, true_lungs, progress)
    report = {
        "schema_version": SCHEMA_VERSION,
        "data": {**_data(every, studies, compared), "split": split, "failures": failures},
        "method": {
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": INTERVAL,
            "lungs": "drawn" if true_lungs else "found",
            "much_percent": MUCH_PERCENT,
        },
        **figures(compared, Resampling(bootstrap, seed)),
        "studies": [study_figures(sample, study) for sample, study in compared],
        "synthetic": any(sample.source == SYNTHETIC_SOURCE for sample in studies),
        "command": command,
        "software": versions("scipy"),
        "notice": NOTICE,
    }
    _write(out, report, compared)
    return report


def _all_compared(
    studies: SampleTable, true_lungs: bool, progress: Progress | None
) -> tuple[list[tuple[Sample, ComparedStudy]], list[dict[str, str]]]:
    """Every study that can be compared, and why the others can't.

    Raises:
        DatasetError: none can.
    """
    compared: list[tuple[Sample, ComparedStudy]] = []
    failures = []
    for done, sample in enumerate(studies, start=1):
        try:
            compared.append((sample, compare(studies, sample, true_lungs=true_lungs)))
        except InputError as error:
            failures.append({"file": shareable(sample.file), "code": error.code, "reason": error.reason})
        if progress is not None:
            progress(done, len(studies))
    if not compared:
        raise DatasetError(
            f"{studies.root}: no study could be compared (of {len(studies)}); "
            f"the first, {failures[0]['file']}: {failures[0]['reason']}"
        )
    return compared, failures


def _data(every: SampleTable, studies: SampleTable, compared: Compared) -> dict[str, Any]:
    return {
        "layout": every.layout,
        "studies": len(every),
        "with_truth": len(studies),
        "compared": len(compared),
        "without_lungs": sum(study.measured_grade is None for _, study in compared),
        "labels": dict(sorted(Counter(sample.label for sample, _ in compared).items())),
        "sources": dict(sorted(Counter(sample.source for sample, _ in compared).items())),
        "sha256": table_checksum(studies),
        "warnings": list(every.warnings),
    }


def _write(out: Path, report: dict[str, Any], compared: Compared) -> None:
    """Tables, pictures, the page and, last, the figures."""
    rows = [
        [sample.file, sample.patient, *(_cell(value) for name, value in own.items() if name != "file")]
        for (sample, _), own in zip(compared, report["studies"], strict=True)
    ]
    names = [name for name in report["studies"][0] if name != "file"]
    write_text(out / "patients.csv", csv_text(["file", "patient", *names], rows))
    write_text(out / "slices.csv", csv_text(_SLICE_COLUMNS, _slice_rows(compared)))
    pictures = {}
    for name, pairs, what in (
        ("bland_altman", of_studies(compared), "study"),
        ("bland_altman_slices", of_slices(compared), "slice"),
    ):
        if len(pairs.true) > 1:
            pictures[name] = plots.bland_altman(pairs.true, pairs.measured, what)
            write_bytes(out / f"{name}.png", pictures[name])
    write_text(out / "report.html", measure_page(report, pictures))
    write_json(out / "measure.json", report)


def _slice_rows(compared: Compared) -> Iterator[list[str]]:
    """A row for every slice, counted from 0 at the feet; empty where a figure is undefined."""
    for sample, study in compared:
        nothing = np.full(len(study.measured.lung), np.nan)
        true = nothing if study.true is None else study.true.percents
        lung = nothing if study.lungs is None else study.lungs.true
        dices = [nothing if mask is None else mask.slice_dice for mask in (study.lungs, study.lesions)]
        measured = study.measured.percents
        columns = zip(lung, study.measured.lung, true, measured, measured - true, *dices, strict=True)
        for index, values in enumerate(columns):
            height = "" if study.z_mm is None else f"{study.z_mm[index]:.3f}"
            yield [sample.file, sample.patient, str(index), height, *(_cell(value) for value in values)]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)
