from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundles import tiny_bundle
from pulmoscope.core.types import FlagLevel, Subject
from pulmoscope.quality.unproven import LEAST, LEAST_OF_CLASS, UNPROVEN, limits_of, recorded_validation
from pulmoscope.runtime.bundle import Bundle, Validation, built_in, load

ENOUGH = Validation({"COVID": 30, "Normal": 20}, auroc=0.9, auroc_low=0.51, auroc_high=0.99)


@pytest.fixture
def bare(tmp_path: Path) -> Bundle:
    """Of two classes, without any word on how it was validated."""
    return tiny_bundle(tmp_path, proven=False)


def codes(bundle: Bundle) -> list[str]:
    return [flag.code for flag in limits_of(bundle)]


def test_enough_patients_and_an_auroc_above_chance_prove_a_model(bare: Bundle) -> None:
    assert (LEAST, LEAST_OF_CLASS) == (50, 20)
    assert codes(replace(bare, validation=ENOUGH)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patients": {"COVID": 29, "Normal": 20}}, "49"),  # one too few in all
        ({"patients": {"COVID": 200, "Normal": 19}}, "19"),  # one too few of a class
        ({"patients": {"COVID": 200}}, "Normal 0"),  # none of a class
        ({"auroc": 0.56, "auroc_low": 0.5, "auroc_high": 0.62}, "0.56"),  # may be guessing
        ({"auroc": 0.2, "auroc_low": 0.1, "auroc_high": 0.3}, "0.20"),  # worse than guessing
        ({"auroc": None, "auroc_low": None, "auroc_high": None}, "AUROC"),
        ({"auroc_low": None, "auroc_high": None}, "0.90"),  # how far it may be off is not known
        ({"held_out": False}, "trained on"),
    ],
)
def test_what_is_too_little_is_told_about_the_model(bare: Bundle, change: dict[str, Any], told: str) -> None:
    (flag,) = limits_of(replace(bare, validation=replace(ENOUGH, **change)))
    assert (flag.code, flag.level, flag.subject) == (UNPROVEN, FlagLevel.REFUSE, Subject.MODEL)
    assert told in flag.finding
    assert flag.rule


def test_a_model_without_any_validation_is_unproven(bare: Bundle) -> None:
    assert codes(bare) == [UNPROVEN]


@pytest.mark.parametrize(
    ("count", "low", "what", "expected"),
    [
        (25, 0.6, "validation split: chosen and calibrated on", []),
        (24, 0.6, "validation split: chosen and calibrated on", [UNPROVEN]),
        (25, 0.5, "validation split: chosen and calibrated on", [UNPROVEN]),
        (25, 0.6, "validation split: trained on, too", [UNPROVEN]),
    ],
)
def test_an_older_model_is_judged_by_its_recorded_figures(
    bare: Bundle, count: int, low: float, what: str, expected: list[str]
) -> None:
    entry = {
        "role": "internal",
        "what": what,
        "images": 50,
        "figures": {"auroc": {"value": 0.8, "low": low, "high": 0.9}},
    }
    counts = {"val": {"COVID": count, "Normal": 25}}
    old = replace(bare, metrics={"val": entry}, training_data={"counts": counts})
    assert codes(old) == expected
    # What is written counts more than what is recorded.
    assert codes(replace(old, validation=ENOUGH)) == []


def test_a_model_of_ct_slices_has_a_rule_of_its_own(bare: Bundle) -> None:
    assert codes(replace(bare, modality="CT")) == []


def test_the_models_that_come_with_the_package_are_proven() -> None:
    folders = [folder for name, folder in built_in().items() if name.startswith("xray-covid")]
    assert len(folders) == 2
    for folder in folders:
        bundle = load(folder)
        assert bundle.validation is None
        assert recorded_validation(bundle) is not None
        assert codes(bundle) == []


def test_the_facts_are_kept_in_the_bundle(bare: Bundle) -> None:
    replace(bare, validation=ENOUGH).save()
    assert load(bare.folder).validation == ENOUGH
