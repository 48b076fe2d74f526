"""The whole audit: every part in turn, what each comes to, the page, and ``audit.json``.

A part is a function of the :class:`~pulmoscope.pipeline.audit.subject.Subject` that gives what it found, or None where
it has nothing to say of such a model. Keys of what it found that begin with ``examples`` are pictures: for the page,
not for the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.core.types import Modality
from pulmoscope.datasets.studies import as_studies, holds_studies
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit.trust import trust
from pulmoscope.evaluation.audit.verdict import LEVELS
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.pipeline.audit import (
    abstention,
    calibration,
    checklist,
    duplicates,
    erasure,
    evidence,
    groups,
    hospitals,
    robustness,
    shortcuts,
    sources,
)
from pulmoscope.pipeline.audit.studies import as_it_is, predict_changed
from pulmoscope.pipeline.audit.subject import Found, Retrained, Subject
from pulmoscope.pipeline.evaluate import data_facts, model_facts
from pulmoscope.pipeline.predict import Progress, predict_table, write_predictions
from pulmoscope.report.audit import audit_page
from pulmoscope.runtime.model import Model

SCHEMA_VERSION = "2.0"
RESULT = "audit.json"


@dataclass(frozen=True)
class Part:
    """A part of the audit; its template is ``report/templates/audit/<code>.html``.

    Attributes:
        code, title: stable name, and name for people.
        found: what it finds.
    """

    code: str
    title: str
    found: Callable[[Subject], Found | None]


PARTS: tuple[Part, ...] = (
    Part("hospitals", "Hospital by hospital", hospitals.found),
    Part("shortcuts", "Shortcuts outside the lungs", shortcuts.found),
    Part("erasure", "Without lungs, without borders", erasure.found),
    Part("evidence", "Is the evidence in the right place?", evidence.found),
    Part("sources", "Can the hospital be told from what the model sees?", sources.found),
    Part("robustness", "Images that are worse, turned, or written on", robustness.found),
    Part("calibration", "Do the probabilities mean what they say?", calibration.found),
    Part("abstention", "What refusing to answer is worth", abstention.found),
    Part("groups", "By age, sex, view and label", groups.found),
    Part("duplicates", "Duplicates and shared patients", duplicates.found),
)

CHECKLIST = "What is reported, by CLAIM 2024 and TRIPOD+AI"
"""Title of the last part, which asks what all others tell."""


def audit(
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
    whole: SampleTable | None = None,
    retrained: Retrained | None = None,
) -> dict[str, Any]:
    """Audit a model on the images, or CT studies, whose labels it knows.

    Writes the predictions under every change, ``report.html`` and, last, ``audit.json``.

    Args:
        table: of a model that reads CT, slices as pictures, studies, or single DICOM slices that belong to studies.
        whole: the data set that ``table`` is a part of: what of ``table`` lies in other splits, too?
        retrained: what was trained for this audit.
        progress: called with how many parts are done, and how many there are.

    Returns:
        The content of ``audit.json``.

    Raises:
        OutputExistsError: ``out`` holds results and without ``force``.
        DatasetError: no image could be read, or none has a label among the model's classes.
    """
    claim_folder(out, RESULT, force)
    studies = _reads_studies(model, table)
    known = _known(model, as_studies(table) if studies else table)
    subject = _subject(model, known, studies, out, bootstrap, seed)
    if whole is not None and studies:
        whole = as_studies(whole)
    subject = replace(subject, whole=whole, retrained=retrained)
    parts, data = _parts(subject, progress), data_facts(model, known, split, subject.failures)
    parts["checklist"] = {"title": CHECKLIST, **checklist.found(model.bundle, parts, data)}
    verdicts = _verdicts(parts)
    sentence = trust(verdicts, hospitals.left_out(subject))
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data,
        "method": {"bootstrap": bootstrap, "seed": seed, "interval": INTERVAL},
        "trust": {"level": sentence.level, "says": sentence.says},
        "verdicts": verdicts,
        "parts": {code: _without_pictures(part) for code, part in parts.items()},
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    write_text(out / "report.html", audit_page(report, parts))
    write_json(out / RESULT, report)
    return report


def _reads_studies(model: Model, table: SampleTable) -> bool:
    """Whether whole CT studies are asked about."""
    bundle = model.bundle
    return bundle.patient is not None or (bundle.modality == Modality.CT and holds_studies(table))


def _known(model: Model, table: SampleTable) -> SampleTable:
    known = replace(table, samples=tuple(sample for sample in table if sample.label in model.bundle.classes))
    if not known.samples:
        raise DatasetError(
            f"{table.root}: no label is one of the model's classes {', '.join(model.bundle.classes)} "
            f"(found: {', '.join(table.classes) or 'none'})"
        )
    return known


def _subject(
    model: Model, table: SampleTable, studies: bool, out: Path, bootstrap: int, seed: int
) -> Subject:
    if studies:
        by_code, failures = predict_changed(model, table, {"clean": as_it_is})
        answers = by_code["clean"]
    else:
        answers, failures = predict_table(model, table, with_features=True)
    write_predictions(out / "predictions-clean.csv", answers)
    failed = {failure.file for failure in failures}
    readable = table.with_samples(sample for sample in table if sample.file not in failed)
    return Subject(model, readable, out, answers, failures, bootstrap, seed, studies)


def _parts(subject: Subject, progress: Progress | None) -> dict[str, Found]:
    """What every part that has something to say found, with its title."""
    parts: dict[str, Found] = {}
    for done, part in enumerate(PARTS):
        if progress is not None:
            progress(done, len(PARTS))
        if (answer := part.found(subject)) is not None:
            parts[part.code] = {"title": part.title, **answer}
    return parts


def _verdicts(parts: Mapping[str, Found]) -> list[dict[str, Any]]:
    """What all parts come to, the worst first."""
    listed = [{"part": code, **verdict} for code, part in parts.items() for verdict in part["verdicts"]]
    return sorted(listed, key=lambda verdict: LEVELS.index(verdict["level"]))


def _without_pictures(part: Found) -> Found:
    return {name: value for name, value in part.items() if not name.startswith("examples")}
