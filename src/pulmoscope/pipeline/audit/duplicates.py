"""Near-duplicates and shared patients, among the audited images and across splits."""

from __future__ import annotations

from pulmoscope.datasets.check.check import near_pairs
from pulmoscope.evaluation.audit.duplicates import shared, verdicts
from pulmoscope.pipeline.audit.subject import Found, Subject


def found(subject: Subject) -> Found:
    """Among the audited ones, and with what else of the data set is at hand."""
    table, whole = subject.table, subject.whole
    counted = shared(table, whole, near_pairs(table if whole is None else whole))
    return {
        **counted.plain(),
        "verdicts": [verdict.plain() for verdict in verdicts(counted)],
        "figures": {},
    }
