"""A model, or the models of a recipe, asked about every hospital: predictions, figures, a table and a picture.

What is written into the folder of results::

    hospitals.json    figures with intervals, means and worst (written last: the run is complete)
    hospitals.md      the same as a table
    hospitals.png     AUROC within every hospital, and the fractions of its normal images called and reported as COVID
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulmoscope.core.files import NOTICE, write_bytes, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.hospitals import UNIDENTIFIED, has_learnt, hospital_of, is_of, known_to
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation import plots
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.evaluation.calibration import MASS_BINS
from pulmoscope.evaluation.hospitals import LEAST, HospitalFigures, hospital_figures, section
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.evaluate import data_facts, learnt_of, model_facts
from pulmoscope.pipeline.predict import Failure, Progress, write_predictions
from pulmoscope.pipeline.predict_studies import predict_answers
from pulmoscope.report.hospitals import markdown
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "1.0"
RESULT = "hospitals.json"
PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Answers:
    """What one model says of the images of one or several hospitals.

    Attributes:
        left_out: the hospital that the model was trained without; empty: the model as it is.
        model, data: which these are, for results.
        predictions: of the images that could be read.
        failures: the others.
        learnt: hospital → whether the model has learnt from it; None: nobody knows.
    """

    left_out: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    predictions: Predictions
    failures: tuple[Failure, ...]
    learnt: Mapping[str, bool | None]


@dataclass(frozen=True)
class Skipped:
    """A hospital that no model was asked about, how many images it has, and why."""

    hospital: str
    images: int
    reason: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"hospital": self.hospital, "images": self.images, "reason": self.reason}


def ask(
    model: Model, table: SampleTable, out: Path, *, left_out: str = "", progress: Progress | None = None
) -> Answers:
    """Predict every image of a table as ``evaluate`` does, and write ``predictions.csv`` into ``out``.

    Args:
        left_out: the hospital that the model was trained without.
        progress: called with how many images are done.

    Raises:
        DatasetError: no image could be read.
        ResourceError: the folder can't be written.
    """
    predictions, failures = predict_answers(model, table, progress)
    write_predictions(out / PREDICTIONS, predictions)
    return Answers(
        left_out,
        model_facts(model),
        data_facts(table, "all" if left_out else "", failures),
        predictions,
        failures,
        learnt_of(model, predictions),
    )


def images_to_predict(
    model: Model, table: SampleTable, hospitals: Sequence[str]
) -> tuple[SampleTable, tuple[Skipped, ...]]:
    """The images that a model is asked about: of a hospital that it has learnt from, only those of the split test.

    Args:
        hospitals: only these, and what is a part of them; empty: all, unidentified images, too.

    Returns:
        The images, and the hospitals of which none is left.
    """
    known = known_to(model.bundle.training_data)
    chosen = [sample for sample in table if not hospitals or is_of(sample, hospitals)]
    asked = [
        sample for sample in chosen if sample.split == "test" or not has_learnt(known, hospital_of(sample))
    ]
    left = {hospital_of(sample) for sample in asked}
    counts = Counter(map(hospital_of, chosen))
    reason = "the model has learnt from it, and none of its images is in the split test"
    skipped = tuple(Skipped(name, counts[name], reason) for name in sorted(counts) if name not in left)
    return table.with_samples(asked), skipped


def results(
    answers: Sequence[Answers],
    skipped: Sequence[Skipped],
    *,
    recipe: Mapping[str, Any] | None = None,
    bootstrap: int = 1000,
    seed: int = 20,
    command: str = "",
) -> tuple[dict[str, Any], list[HospitalFigures]]:
    """The content of ``hospitals.json``, and the figures in it.

    Args:
        answers: one for each hospital that was left out, or those of one model.
        skipped: what no model was asked about.
        recipe: name, title and settings, where models were trained; None: one model was asked.
        command: how to do it again.
    """
    rows = [
        row for asked in answers for row in hospital_figures(asked.predictions, asked.learnt, bootstrap, seed)
    ]
    rows.sort(key=lambda row: (row.hospital == UNIDENTIFIED, row.hospital))
    report = {
        "schema_version": SCHEMA_VERSION,
        "method": {
            "asked": "model" if recipe is None else "recipe",
            "bootstrap": bootstrap,
            "seed": seed,
            "interval": INTERVAL,
            "calibration_error": f"debiased, {MASS_BINS} bins of equal mass of the probability of COVID",
            "least_images": LEAST,
        },
        "recipe": None if recipe is None else dict(recipe),
        "model": dict(answers[0].model) if recipe is None else None,
        "runs": [
            {"left_out": asked.left_out or None, "model": dict(asked.model), "data": dict(asked.data)}
            for asked in answers
        ],
        **section(rows),
        "skipped": [asked.plain() for asked in skipped],
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    return report, rows


def write_results(out: Path, report: Mapping[str, Any], rows: Sequence[HospitalFigures]) -> None:
    """Write ``hospitals.md``, ``hospitals.png`` and, last, ``hospitals.json``.

    Raises:
        ResourceError: the folder can't be written.
    """
    write_text(out / "hospitals.md", markdown(report))
    write_bytes(out / "hospitals.png", plots.hospitals(rows))
    write_json(out / RESULT, report)
