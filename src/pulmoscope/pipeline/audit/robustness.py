"""How the answers bear images that are worse, turned, cropped, written on, or with devices; studies likewise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulmoscope.evaluation.audit import ct
from pulmoscope.evaluation.audit.erasure import headline_auroc
from pulmoscope.evaluation.audit.robustness import (
    BAD_FLIPS,
    BAD_LOSS,
    CHANGES,
    GOOD_FLIPS,
    GOOD_LOSS,
    GOOD_REFERRED,
    LEAST,
    TITLES,
    Borne,
    Change,
    borne,
    verdicts,
)
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.evaluation.metrics import evaluate as measure
from pulmoscope.pipeline.audit.studies import of_scan
from pulmoscope.pipeline.audit.subject import Found, Subject

IMAGES, STUDIES = 150, 20
"""How many are changed, so that an audit takes minutes."""


def found(subject: Subject) -> Found | None:
    """Every kind at every strength on some of the images; None of studies that hold no HU."""
    changes: Sequence[Change] = ct.CHANGES if subject.studies else CHANGES
    table = subject.some(STUDIES if subject.studies else IMAGES)
    answers: Mapping[str, Predictions]
    if subject.studies:
        answers = subject.ask_studies({one.code: of_scan(one.apply) for one in changes}, table=table)
    else:
        answers = {one.code: subject.ask(one.code, one.apply, table=table) for one in changes}
    before = subject.answers_of(table)
    results = [
        _borne(change, answers[change.code], before, subject) for change in changes if change.code in answers
    ]
    if not results:
        return None
    return {
        "images": len(before),
        "clean": headline_auroc(measure(before, subject.bootstrap, subject.seed)).plain(),
        "titles": {kind: TITLES[kind] for kind in dict.fromkeys(row.change.kind for row in results)},
        "limits": {
            "lost": {"good_to": GOOD_LOSS, "bad_above": BAD_LOSS},
            "flipped_reported": {"good_to": GOOD_FLIPS, "bad_above": BAD_FLIPS},
            "referred": {"good_to": GOOD_REFERRED},
            "least_images": LEAST,
        },
        "results": [row.plain() for row in results],
        "verdicts": [verdict.plain() for verdict in verdicts(results, len(before))],
        "figures": {f"auroc_{row.change.code}": row.auroc.plain() for row in results if row.change.plausible},
    }


def _borne(change: Change, changed: Predictions, before: Predictions, subject: Subject) -> Borne:
    """Of the images that are answered both times."""
    answered = set(changed.files)
    same = before.select([file in answered for file in before.files])
    auroc, clean = (headline_auroc(measure(one, subject.bootstrap, subject.seed)) for one in (changed, same))
    return borne(change, auroc, clean, changed, same)
