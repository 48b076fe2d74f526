from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.types import Decision
from pulmoscope.evaluation.audit.erasure import PERTURBATIONS
from pulmoscope.evaluation.hospitals import summary
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.report.evaluation import MEASURES, RATES, SCORES
from pulmoscope.report.names import (
    DECISIONS,
    ROLES,
    SOURCES,
    figure_name,
    glossary,
    set_title,
    source_title,
    spelt_out,
)
from pulmoscope.runtime.bundle import load
from pulmoscope.training.card.hospitals import FIGURES as OF_HOSPITALS
from pulmoscope.training.card.record import key_figures

BUNDLES = Path(__file__).parents[1] / "src" / "pulmoscope" / "bundles"
SHIPPED = ("xray-covid", "xray-covid-1.2", "ct-slice-covid")


def small_evaluation() -> dict[str, object]:
    found = evaluate(
        Predictions(
            files=("a", "b", "c", "d"),
            labels=("COVID", "Normal", "COVID", "Normal"),
            patients=("", "", "", ""),
            sources=("s", "s", "s", "s"),
            classes=("COVID", "Normal"),
            probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]),
        ),
        bootstrap=10,
    )
    return found.plain()


def test_every_score_and_measure_of_an_evaluation_has_a_meaning() -> None:
    plain = small_evaluation()
    assert set(plain["scores"]) == set(SCORES)
    assert set(plain["by_class"]["COVID"]) >= set(MEASURES)
    assert all(own.title and own.meaning for own in (*SCORES.values(), *MEASURES.values(), *RATES))


def test_every_figure_that_a_card_records_has_a_meaning() -> None:
    plain = small_evaluation()
    pair = {**plain, "positive": "COVID", "negative": "Normal"}
    keys = [
        *key_figures(plain, pair),
        *(f"auroc_{own.code}" for own in PERTURBATIONS),
        *(f"{own}_{which}" for own in OF_HOSPITALS.values() for which in ("mean", "worst")),
        *summary([]),
        "nih_Pneumonia_called_COVID",
    ]
    names = [figure_name(key) for key in keys]
    assert [key for key, name in zip(keys, names, strict=True) if not name.meaning] == []
    assert len({name.title for name in names}) == len({key.removeprefix("macro_").lower() for key in keys})


@pytest.mark.parametrize("name", SHIPPED)
def test_everything_in_a_shipped_bundle_has_a_name(name: str) -> None:
    for key, held in load(BUNDLES / name).metrics.items():
        assert not re.search(r"_|^[a-z]", set_title(key))
        assert held["role"] in ROLES
        assert all(figure_name(figure).meaning for figure in held["figures"])
        assert not set(re.findall(r"[\w-]+", spelt_out(held["what"]))) & (set(SOURCES) - {"unknown"})


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("mcc", "MCC"),
        ("sensitivity_Viral Pneumonia", "Sensitivity, Viral Pneumonia"),
        ("AUROC_COVID_against_Normal", "AUROC, COVID against Normal"),
        (
            "siim_covid19_Indeterminate_called_COVID",
            f"Indeterminate predicted as COVID, {SOURCES['siim_covid19']}",
        ),
        ("my_own_auroc", "My own AUROC"),
        ("radiologists-per-case", "Radiologists per case"),
    ],
)
def test_a_figures_key_becomes_a_title(key: str, title: str) -> None:
    assert figure_name(key).title == title


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("val_sars", "Validation, SARS-CoV-2 CT"),
        ("test_nih", "Test, NIH"),
        ("val_our-hospital", "Validation, our-hospital"),
        ("shenzhen", SOURCES["shenzhen"]),
        ("second_reading", "Second reading"),
    ],
)
def test_a_data_sets_key_becomes_a_title(key: str, title: str) -> None:
    assert set_title(key) == title


def test_sources_and_splits_are_spelt_out() -> None:
    assert spelt_out("split val of nih, here") == f"validation split of {SOURCES['nih']}, here"
    assert spelt_out("val, 12 images") == "validation split, 12 images"
    assert spelt_out("a valid test of splits") == "a valid test of splits"
    assert source_title("") == SOURCES["unknown"]
    assert source_title("Our hospital") == "Our hospital"


def test_a_glossary_says_each_thing_once() -> None:
    terms = glossary(["sensitivity_A", "accuracy", "sensitivity_B", "no_such_figure"])
    assert [term for term, _ in terms] == ["Sensitivity", "Accuracy"]


def test_every_decision_has_a_meaning() -> None:
    assert set(DECISIONS) == {decision.value for decision in Decision}
    assert all(name.meaning for name in DECISIONS.values())
