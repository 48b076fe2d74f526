"""Whether the hospital can be told from what the model sees."""

from __future__ import annotations

from pulmoscope.evaluation.audit.sources import FOLDS, GOOD, LEAST, told_apart, verdict
from pulmoscope.pipeline.audit.subject import Found, Subject


def found(subject: Subject) -> Found | None:
    """How well hospitals are told apart within each label; None of a model without features of the whole."""
    if subject.answers.features is None:
        return None
    results = told_apart(subject.answers, subject.bootstrap, subject.seed)
    return {
        "results": [told.plain() for told in results],
        "method": {"least_images": LEAST, "folds": FOLDS, "little_excess": GOOD},
        "verdicts": [verdict(results).plain()],
        "figures": {
            f"hospital_from_features_{told.label}": told.balanced_accuracy.plain() for told in results
        },
    }
