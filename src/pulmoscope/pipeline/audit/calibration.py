"""Calibration over all and by hospital, and what an answer is worth at stated prevalences."""

from __future__ import annotations

from dataclasses import asdict

from pulmoscope.evaluation import plots
from pulmoscope.evaluation.audit.calibration import BAD, GOOD, as_test, calibration, reported, verdicts
from pulmoscope.evaluation.audit.positive import positive_classes
from pulmoscope.evaluation.calibration import reliability
from pulmoscope.pipeline.audit.subject import Found, Subject
from pulmoscope.report.html import data_uri


def found(subject: Subject) -> Found:
    """Of all answers, and predictive values of the reported ones, too."""
    answers = subject.answers
    rows = calibration(answers, subject.bootstrap, subject.seed)
    every = as_test(answers, subject.bootstrap, subject.seed)
    only = as_test(reported(answers), subject.bootstrap, subject.seed)
    bins = reliability(answers.probabilities, answers.truth)
    return {
        "positive": list(positive_classes(answers.classes)),
        "limits": {"good_to": GOOD, "bad_above": BAD},
        "errors": [row.plain() for row in rows],
        "reliability": [asdict(bin_) for bin_ in bins],
        "predictive_values": {"all": every.plain(), "reported": only.plain()},
        "verdicts": [verdict.plain() for verdict in verdicts(rows, every)],
        "figures": {"calibration_error_disease": rows[0].error.plain()},
        "examples_curve": data_uri(plots.reliability_curve(bins, rows[0].error.value or 0.0)),
    }
