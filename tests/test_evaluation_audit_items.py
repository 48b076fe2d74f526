"""Which items of the reporting guidelines a bundle and its audit tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.evaluation.audit.facts import FACTS
from pulmoscope.evaluation.audit.items import CLAIM, ITEMS, TRIPOD, checklist
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.runtime.bundle import Bundle, Calibration, load

EMPTY = Bundle(
    folder=Path("nowhere"),
    name="bare",
    version="0",
    modality="XRAY",
    classes=("COVID", "Normal"),
    preprocess=XrayPreprocess(),
)
FIGURES = {"auroc": {"value": 0.9, "low": 0.85, "high": 0.95}}
TRIPOD_NUMBERS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c "
    "18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
FULL: dict[str, Any] = {
    "erasure": {"results": [{}]},
    "shortcuts": {"verdicts": [{}]},
    "hospitals": {"rows": [{}], "left_out": {"left-out": {}}, "repeatability": {"images": 24}},
    "evidence": {"randomised": {"images": 24}},
    "robustness": {"results": [{}]},
    "calibration": {"errors": [{}], "predictive_values": {"all": {}}},
    "groups": {"by": {"age": [{}], "sex": [{}], "view": [{}]}},
    "duplicates": {"verdicts": [{}]},
}
"""Every part of an audit, with what it holds where it found something."""
RANK = {"not known": 0, "partly": 1, "reported": 2}


def statuses(bundle: Bundle, audit: Any = None) -> dict[tuple[str, str], str]:
    return {(row["list"], row["item"]): row["status"] for row in checklist((bundle, audit or {}))}


def test_both_guidelines_are_whole() -> None:
    rows = checklist((EMPTY, {}))
    numbers = {name: [row["item"] for row in rows if row["list"] == name] for name in (CLAIM, TRIPOD)}
    assert numbers[CLAIM] == [str(number) for number in range(1, 45)]
    assert numbers[TRIPOD] == TRIPOD_NUMBERS.split()
    assert len(TRIPOD_NUMBERS.split()) == 52
    assert all(row["what"] for row in rows)


def test_every_item_rests_on_evidence_that_there_is_and_all_evidence_is_used() -> None:
    named = {name for items in ITEMS.values() for item in items for name in (*item.needs, *item.hints)}
    assert named == set(FACTS)


def test_an_empty_bundle_tells_only_what_no_bundle_can_lack() -> None:
    told = {item: status for item, status in statuses(EMPTY).items() if status != "not known"}
    # Its classes, and the very object that prepares its images.
    assert told == {
        (CLAIM, "9"): "reported",
        (TRIPOD, "1"): "partly",
        (TRIPOD, "7"): "partly",
        (TRIPOD, "8a"): "partly",
        (TRIPOD, "9a"): "partly",
        (TRIPOD, "9b"): "reported",
        (TRIPOD, "12b"): "reported",
        (TRIPOD, "15"): "partly",
    }
    unknown = [row for row in checklist((EMPTY, {})) if row["status"] == "not known"]
    assert {row["where"] for row in unknown} == {""}


@pytest.mark.parametrize(
    ("part", "reported"),
    [
        ({"metrics": {"test": {"role": "internal", "figures": FIGURES}}}, [(CLAIM, "32"), (CLAIM, "37")]),
        ({"metrics": {"other": {"role": "external", "figures": FIGURES}}}, [(CLAIM, "33"), (CLAIM, "28")]),
        ({"metrics": {"left-out": {"role": "left out", "figures": FIGURES}}}, [(TRIPOD, "12d"), (TRIPOD, "23b")]),
        ({"training_data": {"sources": {"here": 10}}}, [(CLAIM, "7")]),
        ({"training_data": {"sources": {"here": 10}, "terms": "CC BY 4.0"}}, [(TRIPOD, "18e")]),
        ({"training_data": {"counts": {"train": {"COVID": 5}}, "patients_known": 4}}, [(TRIPOD, "12a")]),
        ({"recipe": {"model": {"pretrained": True}}}, [(CLAIM, "24"), (CLAIM, "27")]),
        ({"recipe": {"class_weights": False}}, [(TRIPOD, "13")]),
        ({"software": {"torch": "2"}}, [(CLAIM, "23")]),
        ({"calibration": Calibration(1.2, "val, 100 images", ("0" * 64,))}, [(TRIPOD, "12f")]),
        ({"files": {"model.onnx": "0"}, "verified": {"onnx": 0.0}}, [(TRIPOD, "12g")]),
    ],
)  # fmt: skip
def test_what_is_recorded_is_reported_and_where(
    part: dict[str, Any], reported: list[tuple[str, str]]
) -> None:
    before, after = statuses(EMPTY), statuses(replace(EMPTY, **part))
    places = {(row["list"], row["item"]): row["where"] for row in checklist((replace(EMPTY, **part), {}))}
    for item in reported:
        assert (before[item], after[item]) == ("not known", "reported")
        assert any(field in places[item] for field in part)


def test_internal_figures_are_no_external_ones() -> None:
    internal = replace(EMPTY, metrics={"test": {"role": "internal", "figures": FIGURES}})
    assert statuses(internal)[CLAIM, "33"] == "not known"
    left_out = replace(EMPTY, metrics={"out": {"role": "left out", "figures": FIGURES}})
    assert statuses(left_out)[CLAIM, "33"] == "partly"
    bare = replace(
        EMPTY, metrics={"test": {"role": "internal", "figures": {"auroc": {"value": 1, "low": None}}}}
    )
    assert (statuses(bare)[CLAIM, "28"], statuses(bare)[CLAIM, "29"]) == ("reported", "not known")


def test_an_audit_tells_what_it_found_and_not_what_it_could_not() -> None:
    parts = {
        "robustness": {"results": [{}]},
        "evidence": {"randomised": {"images": 24}},
        "groups": {"by": {"sex": [{}]}},
    }
    told = statuses(EMPTY, {"parts": parts})
    assert [told[item] for item in ((CLAIM, "30"), (CLAIM, "31"), (TRIPOD, "14"))] == ["reported"] * 3
    # Parts that could be made of nothing tell nothing; views are no groups of people.
    parts = {
        "robustness": {},
        "groups": {"by": {"age": [], "sex": [], "view": [{}]}},
        "hospitals": {"left_out": {}},
    }
    told = statuses(EMPTY, {"parts": parts})
    assert [told[item] for item in ((CLAIM, "30"), (TRIPOD, "14"), (TRIPOD, "23b"))] == ["not known"] * 3
    assert told[TRIPOD, "20b"] == "partly"
    # Lungs and borders taken away are a part of robustness.
    assert statuses(EMPTY, {"parts": {"erasure": {"results": [{}]}}})[CLAIM, "30"] == "partly"


def test_what_only_authors_know_is_never_reported() -> None:
    told = statuses(load("xray-covid"), {"data": {"images": 1}, "parts": FULL})
    theirs = {
        CLAIM: ("4", "5", "11", "15", "16", "34", "44"),
        TRIPOD: ("5b", "17", "18a", "18b", "18c", "18d", "19"),
    }
    for guideline, numbers in theirs.items():
        assert {told[guideline, number] for number in numbers} == {"not known"}
    assert told[CLAIM, "7"] == told[TRIPOD, "12d"] == "reported"


@given(fewer=st.sets(st.sampled_from(sorted(FULL))), more=st.sets(st.sampled_from(sorted(FULL))))
def test_more_evidence_never_tells_less(fewer: set[str], more: set[str]) -> None:
    small, large = (
        statuses(EMPTY, {"parts": {name: FULL[name] for name in names}}) for names in (fewer, fewer | more)
    )
    assert all(RANK[large[item]] >= RANK[status] for item, status in small.items())
