"""How the model does within each hospital, at hospitals left out, and when it is trained or asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.audit import hospitals as audit
from pulmoscope.evaluation.hospitals import HospitalFigures, hospital_figures, section
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.pipeline.audit.studies import as_it_is, predict_changed
from pulmoscope.pipeline.audit.subject import Found, Retrained, Subject
from pulmoscope.pipeline.evaluate import learnt_of
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.runtime.model import Model

LEFT_OUT = "left out"
"""The role of records of hospitals left out."""
FIGURES = {"auroc_within": "AUROC_within", "normals_reported_covid": "normals_reported_as_COVID"}
"""Figures of ``hospitals.json`` → what a bundle calls them."""
TWICE = 24
"""Images that are asked about a second time."""
STUDIES_TWICE = 3


def found(subject: Subject) -> Found:
    """Figures of every hospital; what training recorded, or ``--retrain`` found; and two answers to one question."""
    rows = hospital_figures(
        subject.answers, learnt_of(subject.model, subject.answers), subject.bootstrap, subject.seed
    )
    records = left_out(subject)
    again, recorded = _trained_again(subject)
    table = subject.some(STUDIES_TWICE if subject.studies else TWICE)
    asked = audit.agreement(
        subject.answers_of(table), _answers(subject, subject.model, table), subject.bootstrap, subject.seed
    )
    same = None if again is None else again["same_answer"]["value"]
    figures = {f"auroc_within_{row.hospital}": row.auroc_within.plain() for row in rows if _known(row)}
    if again is not None and not recorded:
        figures |= {f"reproducibility_{name}": estimate for name, estimate in again.items()}
    verdicts = [
        audit.within(rows),
        audit.left_out(list(records.values())),
        audit.trained_again(same),
        audit.asked_again(asked["same_answer"].value or 0.0),
    ]
    return {
        **section(rows),
        "left_out": {
            name: {key: record[key] for key in ("what", "images", "figures", "hospitals") if key in record}
            for name, record in records.items()
        },
        "reproducibility": again,
        "repeatability": {name: estimate.plain() for name, estimate in asked.items()}
        | {"images": len(table)},
        "verdicts": [verdict.plain() for verdict in verdicts],
        "figures": figures,
    }


def _known(row: HospitalFigures) -> bool:
    return row.auroc_within.value is not None


def left_out(subject: Subject) -> dict[str, Mapping[str, Any]]:
    """Hospitals left out: those trained for this audit, else those that the bundle records."""
    if subject.retrained is not None:
        return {"--retrain": _short(subject.retrained)}
    metrics = subject.model.bundle.metrics
    return {name: record for name, record in metrics.items() if record["role"] == LEFT_OUT}


def _short(retrained: Retrained) -> dict[str, Any]:
    """What ``hospitals.json`` says, as a bundle records it."""
    report = retrained.hospitals
    rows = [row for row in report["rows"] if row["counts"]]
    figures: dict[str, Any] = {}
    for name, figure in FIGURES.items():
        held = report["summary"].get(name, {})
        if held.get("worst") is not None:
            figures[f"{figure}_worst"] = held["worst"]
            figures[f"{figure}_mean"] = {"value": held["mean"], "low": None, "high": None}
    return {
        "role": LEFT_OUT,
        "what": "models of the same recipe, each trained without the hospital it is asked about",
        "images": sum(row["images"] for row in rows),
        "figures": figures,
        "hospitals": {
            row["hospital"]: {"images": row["images"], "AUROC_within": row["auroc_within"]} for row in rows
        },
    }


def _trained_again(subject: Subject) -> tuple[dict[str, Any] | None, bool]:
    """Agreement with the same recipe trained with another seed, and whether that is from the bundle's records."""
    if subject.retrained is not None:
        other = _answers(subject, subject.retrained.second, subject.table)
        found = audit.agreement(subject.answers, other, subject.bootstrap, subject.seed)
        return {name: estimate.plain() for name, estimate in found.items()}, False
    names = ("same_answer", "difference")
    for record in subject.model.bundle.metrics.values():
        figures = record["figures"]
        if all(f"reproducibility_{name}" in figures for name in names):
            return {name: figures[f"reproducibility_{name}"] for name in names}, True
    return None, False


def _answers(subject: Subject, model: Model, table: SampleTable) -> Predictions:
    """What a model says of some of the audited images, as they are."""
    if subject.studies:
        return predict_changed(model, table, {"clean": as_it_is})[0]["clean"]
    return predict_table(model, table)[0]
