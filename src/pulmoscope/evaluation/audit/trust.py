"""What a whole audit comes to: one plain sentence that answers «can I trust it at my hospital?»."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulmoscope.evaluation.audit.verdict import Verdict

HOLDS, FAILS = 0.90, 0.75
"""AUROC at the worst hospital left out of training: from HOLDS on the model holds there, below FAILS it fails."""
FALSE_ALARMS = 0.10
"""Largest fraction of a left-out hospital's normal images that may be reported as COVID."""
OWN_IMAGES = 100
"""Labelled images of one's own that are asked for where a model has to be checked first."""

_READS = {
    "border": "the border of the image",
    "corner-top-left": "the top left corner of the image",
    "corner-top-right": "the top right corner of the image",
    "corner-bottom-left": "the bottom left corner of the image",
    "corner-bottom-right": "the bottom right corner of the image",
    "letters": "letters or marks in the image",
    "brightness": "brightness and contrast outside the lungs",
    "size": "the size of the image",
    "compression": "traces of image compression",
}
_CLAUSES = {
    "evidence": "what it looks at often lies outside the lungs",
    "erasure": "it still tells the ill from the well when the lungs are erased",
    "hospitals": "it does badly within one hospital, where only the disease tells patients apart",
    "duplicates": "some of the audited images may be known to it from training",
    "calibration": "its percentages are not what they say",
    "robustness": "ordinary differences between machines and pictures change its answers",
    "groups": "it does worse for some groups of patients",
    "abstention": "the classes that it calls possible lack the true one more often than promised",
    "sources": "it can tell the hospital from the image",
}
"""What is wrong where a part ends badly, in the order of how much it matters."""
_OF_CODE = {
    "border_removed": "it answers otherwise when the border of the image is black",
    "lungs_only": "it needs more of the image than the lungs",
}
"""The same of verdicts that say something else than their part."""


def trust(verdicts: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> Verdict:
    """The verdict on the whole: its code is ``trust``.

    ``bad`` where a shortcut is read, or a hospital left out of training is not told apart; ``none`` where nothing worse
    is known, but no hospital left out is recorded, either.

    Args:
        verdicts: of all parts: ``part``, ``code``, ``level``, ``says``.
        metrics: what the bundle records.
    """
    shortcuts = [
        _READS.get(verdict["code"], verdict["code"])
        for verdict in verdicts
        if verdict["part"] == "shortcuts" and verdict["level"] == "bad"
    ]
    left_out = _left_out(metrics)
    if shortcuts:
        return _says(
            "bad",
            f"No: it reads {_listed(shortcuts)}, which is no sign of disease and will differ at your hospital.",
        )
    if left_out is not None and left_out[0] < FAILS:
        return _says("bad", f"No: {_ranks(left_out)}.")
    wrong = _wrong(verdicts, "bad")
    if left_out is None and not wrong:
        return _says(
            "none",
            "Nobody knows: it was never measured at a hospital that it had not learnt from; check it on at least "
            f"{OWN_IMAGES} labelled images of your own first.",
        )
    reasons = [*_at_left_out(left_out, _false_alarms(metrics)), *wrong, *_wrong(verdicts, "doubtful")]
    if not any(one["part"] == "shortcuts" and one["level"] == "good" for one in verdicts):
        reasons.append("nobody could look for shortcuts")
    if left_out is None or reasons:
        return _says("doubtful", _checked_first(list(dict.fromkeys(reasons))))
    return _says(
        "good", f"Yes, beside a person who reads every image: {_ranks(left_out)}, and no shortcut was found."
    )


def _at_left_out(worst: tuple[float, str] | None, alarms: tuple[float, str] | None) -> list[str]:
    """What is not good enough at hospitals that were left out."""
    reasons = []
    if worst is not None and worst[0] < HOLDS:
        reasons.append(_ranks(worst))
    if alarms is not None and alarms[0] > FALSE_ALARMS:
        called = f"it reports {100 * alarms[0]:.0f} of 100 normal images there as COVID"
        reasons.append(f"trained without {alarms[1]}, {called}")
    return reasons


def _says(level: Any, sentence: str) -> Verdict:
    return Verdict("trust", level, sentence)


def _wrong(verdicts: Sequence[Mapping[str, Any]], level: str) -> list[str]:
    """What is wrong, what matters most first; what is said of the data alone, or elsewhere, does not count."""
    chosen = [
        verdict
        for verdict in verdicts
        if verdict["level"] == level
        and not verdict["code"].startswith("data-")
        and verdict["code"] != "left-out"
    ]
    order = ("shortcuts", *_CLAUSES)
    chosen.sort(key=lambda verdict: order.index(verdict["part"]) if verdict["part"] in order else len(order))
    return list(dict.fromkeys(map(_clause, chosen)))


def _clause(verdict: Mapping[str, Any]) -> str:
    part, code = verdict["part"], verdict["code"]
    if part == "shortcuts":
        return f"it may read {_READS.get(code, code)}"
    return _OF_CODE.get(code) or _CLAUSES.get(part) or f"the check «{part}» did not go well"


def _checked_first(reasons: Sequence[str]) -> str:
    told = "; and ".join(reasons[:2])
    more = len(reasons) - 2
    rest = "" if more < 1 else f" (and {more} more {'reason' if more == 1 else 'reasons'} below)"
    return (
        f"Not before you have checked it on at least {OWN_IMAGES} labelled images of your own: {told}{rest}."
    )


def _ranks(worst: tuple[float, str]) -> str:
    return (
        f"trained in the same way without the hospital {worst[1]}, it ranks that hospital's ill above its well in "
        f"{100 * worst[0]:.0f} of 100 pairs (guessing gives 50)"
    )


def _listed(clauses: Sequence[str]) -> str:
    return ", ".join(clauses[:-1]) + " and " * (len(clauses) > 1) + clauses[-1]


def _left_out(metrics: Mapping[str, Any]) -> tuple[float, str] | None:
    """The lowest AUROC at a hospital left out, and which."""
    return min(_of_hospitals(metrics, "AUROC_within_worst"), default=None)


def _false_alarms(metrics: Mapping[str, Any]) -> tuple[float, str] | None:
    """The largest fraction of normal images that are reported as COVID at a hospital left out, and which."""
    return max(_of_hospitals(metrics, "normals_reported_as_COVID_worst"), default=None)


def _of_hospitals(metrics: Mapping[str, Any], figure: str) -> list[tuple[float, str]]:
    held = [record["figures"].get(figure) for record in metrics.values() if record["role"] == "left out"]
    return [
        (known["value"], str(known.get("hospital", "")))
        for known in held
        if known is not None and known["value"] is not None
    ]
