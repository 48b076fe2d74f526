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

from pulmoscope.core.errors import BundleError, DatasetError
from pulmoscope.core.files import NOTICE, claim_folder, write_json, write_text
from pulmoscope.core.software import versions
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit.verdict import LEVELS
from pulmoscope.evaluation.bootstrap import INTERVAL
from pulmoscope.pipeline.audit import erasure, evidence
from pulmoscope.pipeline.audit.subject import Found, Subject
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
    Part("erasure", "Without lungs, without borders", erasure.found),
    Part("evidence", "Is the evidence in the right place?", evidence.found),
)


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
) -> dict[str, Any]:
    """Audit a model on the images whose labels it knows.

    Writes the predictions under every change, ``report.html`` and, last, ``audit.json``.

    Args:
        progress: called with how many parts are done, and how many there are.

    Returns:
        The content of ``audit.json``.

    Raises:
        OutputExistsError: ``out`` holds results and without ``force``.
        BundleError: see :func:`check_auditable`.
        DatasetError: no image could be read, or none has a label among the model's classes.
    """
    check_auditable(model)
    claim_folder(out, RESULT, force)
    known = _known(model, table)
    subject = _subject(model, known, out, bootstrap, seed)
    parts: dict[str, Found] = {}
    for done, part in enumerate(PARTS):
        if progress is not None:
            progress(done, len(PARTS))
        if (answer := part.found(subject)) is not None:
            parts[part.code] = {"title": part.title, **answer}
    report = {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(model),
        "data": data_facts(model, known, split, subject.failures),
        "method": {"bootstrap": bootstrap, "seed": seed, "interval": INTERVAL},
        "verdicts": _verdicts(parts),
        "parts": {code: _without_pictures(part) for code, part in parts.items()},
        "command": command,
        "software": versions("scikit-learn"),
        "notice": NOTICE,
    }
    write_text(out / "report.html", audit_page(report, parts))
    write_json(out / RESULT, report)
    return report


def check_auditable(model: Model) -> None:
    """Does the model read single images?

    Raises:
        BundleError: it reads studies, and one whose lungs are hidden is refused before any network sees it.
    """
    if model.bundle.patient is not None:
        raise BundleError(
            f"{model.bundle.folder}: an audit hides the lungs of images; a CT study without lungs is refused before "
            "this model sees it"
        )


def _known(model: Model, table: SampleTable) -> SampleTable:
    known = replace(table, samples=tuple(sample for sample in table if sample.label in model.bundle.classes))
    if not known.samples:
        raise DatasetError(
            f"{table.root}: no label is one of the model's classes {', '.join(model.bundle.classes)} "
            f"(found: {', '.join(table.classes) or 'none'})"
        )
    return known


def _subject(model: Model, table: SampleTable, out: Path, bootstrap: int, seed: int) -> Subject:
    answers, failures = predict_table(model, table, with_features=True)
    write_predictions(out / "predictions-clean.csv", answers)
    failed = {failure.file for failure in failures}
    readable = table.with_samples(sample for sample in table if sample.file not in failed)
    return Subject(model, readable, out, answers, failures, bootstrap, seed)


def _verdicts(parts: Mapping[str, Found]) -> list[dict[str, Any]]:
    """What all parts come to, the worst first."""
    listed = [{"part": code, **verdict} for code, part in parts.items() for verdict in part["verdicts"]]
    return sorted(listed, key=lambda verdict: LEVELS.index(verdict["level"]))


def _without_pictures(part: Found) -> Found:
    return {name: value for name, value in part.items() if not name.startswith("examples")}
