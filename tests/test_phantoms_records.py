"""Simulated records: their truth is one, their missing values are not at random, and they say what they are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pulmoscope.core.analytes import ANALYTES
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.patients import read_patients
from pulmoscope.phantoms.records.draw import VALUES, draw_records
from pulmoscope.phantoms.records.folder import TABLE, write_records

MANY = draw_records(60_000, seed=4)


@pytest.mark.parametrize("name", list(MANY.true))
def test_of_records_with_one_probability_so_many_have_the_outcome(name: str) -> None:
    order = np.argsort(MANY.true[name])
    for members in np.array_split(order, 12):
        error = np.sqrt(0.25 / len(members))
        assert MANY.true[name][members].mean() == pytest.approx(MANY.died[members].mean(), abs=4 * error)


def test_what_is_missing_tells_as_much_as_the_truth_says() -> None:
    missing = np.isnan(MANY.values["d_dimer"])
    truth = MANY.true["true_probability_values"]
    for members in (missing, ~missing):
        assert truth[members].mean() == pytest.approx(
            MANY.died[members].mean(), abs=4 * np.sqrt(0.25 / members.sum())
        )
    assert MANY.died[~missing].mean() - MANY.died[missing].mean() > 0.03


def test_an_image_adds_and_noise_and_gaps_take_away() -> None:
    aurocs = {name: roc_auc_score(MANY.died, true) for name, true in MANY.true.items()}
    assert aurocs["true_probability_values"] + 0.04 < aurocs["true_probability"]
    assert aurocs["true_probability"] + 0.01 < aurocs["true_probability_complete"]


def test_values_are_possible_and_equal_seeds_give_equal_ones() -> None:
    for name in VALUES:
        known = MANY.values[name][~np.isnan(MANY.values[name])]
        beyond = (known < ANALYTES[name].low) | (known > ANALYTES[name].high)
        assert beyond.mean() < 1e-4
    np.testing.assert_array_equal(draw_records(5, 1).values["crp"], draw_records(5, 1).values["crp"])
    with pytest.raises(ValueError, match="0"):
        draw_records(0)


def test_a_table_of_them_says_that_they_are_synthetic(tmp_path: Path) -> None:
    write_records(tmp_path, 40, seed=2)
    with (tmp_path / TABLE).open(newline="") as stream:
        assert {row["source"] for row in csv.DictReader(stream)} == {SYNTHETIC_SOURCE}
    found = read_patients(tmp_path, TABLE, "died")
    assert found.synthetic
    assert set(found.truth) == set(MANY.true)
