"""One verdict for a whole audit: which findings decide it."""

from __future__ import annotations

from typing import Any

import pytest

from pulmoscope.evaluation.audit.trust import trust


def verdict(part: str, code: str, level: str) -> dict[str, str]:
    return {"part": part, "code": code, "level": level, "says": "So it is."}


def left_out(auroc: float, alarms: float = 0.0) -> dict[str, Any]:
    return {
        "left-out": {
            "role": "left out",
            "figures": {
                "AUROC_within_worst": {"value": auroc, "low": None, "high": None, "hospital": "st-elsewhere"},
                "normals_reported_as_COVID_worst": {
                    "value": alarms,
                    "low": None,
                    "high": None,
                    "hospital": "nih",
                },
            },
        }
    }


FINE = [verdict("shortcuts", "shortcuts", "good"), verdict("erasure", "blackout", "good")]


@pytest.mark.parametrize(
    ("verdicts", "metrics", "level"),
    [
        (FINE, left_out(0.95), "good"),
        # what is known of the data, and what nobody knows, says nothing against the model
        (
            [*FINE, verdict("shortcuts", "data-border", "doubtful"), verdict("groups", "age", "none")],
            left_out(0.95),
            "good",
        ),
        (FINE, {}, "none"),
        (FINE, {"test": {"role": "internal", "figures": {"auroc": {"value": 0.99}}}}, "none"),
        (FINE, left_out(0.85), "doubtful"),
        (FINE, left_out(0.95, alarms=0.2), "doubtful"),
        ([*FINE, verdict("erasure", "lungs_grey", "doubtful")], left_out(0.95), "doubtful"),
        ([*FINE, verdict("erasure", "lungs_grey", "bad")], {}, "doubtful"),
        (FINE, left_out(0.70), "bad"),
        ([*FINE, verdict("shortcuts", "letters", "bad")], left_out(0.95), "bad"),
        ([*FINE, verdict("shortcuts", "letters", "doubtful")], left_out(0.95), "doubtful"),
        # a part that this module does not know by name counts, too
        ([*FINE, verdict("something-new", "x", "bad")], left_out(0.95), "doubtful"),
    ],
)
def test_the_worst_that_matters_decides(
    verdicts: list[dict[str, str]], metrics: dict[str, Any], level: str
) -> None:
    assert trust(verdicts, metrics).level == level


def test_the_sentence_names_what_decides() -> None:
    read = [verdict("shortcuts", "corner-top-left", "bad"), verdict("shortcuts", "letters", "bad")]
    assert "top left corner" in trust(read, left_out(0.95)).says
    assert "letters" in trust(read, left_out(0.95)).says
    worst = trust(FINE, {"one": left_out(0.8)["left-out"], "two": left_out(0.71)["left-out"]}).says
    assert "71 of 100" in worst
    assert "st-elsewhere" in worst
    for says in (worst, trust(FINE, {}).says, trust(FINE, left_out(0.9)).says):
        assert says.count(".") == 1  # one sentence
        assert says.endswith(".")
