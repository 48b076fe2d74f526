"""What refusing to answer is worth: the surest answers only, and the classes that can't be ruled out."""

from __future__ import annotations

from typing import Any

from pulmoscope.evaluation.audit.verdict import Level, Verdict
from pulmoscope.evaluation.conformal import set_figures
from pulmoscope.evaluation.referral import risk_coverage
from pulmoscope.pipeline.audit.subject import Found, Subject

SLACK = 0.02
"""How far below the stated coverage the true class may be in its set and the sets still count as good."""


def found(subject: Subject) -> Found:
    """Error over coverage by hospital, and whether the sets hold what they promise."""
    answers, conformal = subject.answers, subject.model.bundle.conformal
    sets = None if conformal is None else set_figures(answers, conformal, subject.bootstrap, subject.seed)
    return {
        "risk_coverage": risk_coverage(answers, subject.bootstrap, subject.seed),
        "sets": sets,
        "verdicts": [] if sets is None else [_verdict(sets).plain()],
        "figures": {} if sets is None else {"set_coverage": sets["overall"]["coverage"]},
    }


def _verdict(sets: dict[str, Any]) -> Verdict:
    """Judged by the whole interval: a few images say little."""
    stated, reached = sets["coverage"], sets["overall"]["coverage"]
    high = reached["value"] if reached["high"] is None else reached["high"]
    level: Level = "good" if reached["value"] >= stated - SLACK else "doubtful"
    if high < stated - 2 * SLACK:
        level = "bad"
    says = (
        f"For each image it lists the classes that are still possible. The true one is on the list in "
        f"{reached['value']:.0%} of images; it should be in {stated:.0%}."
    )
    return Verdict("set-coverage", level, says)
