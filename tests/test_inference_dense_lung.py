from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.inference.dense_lung import weighed


def test_a_clear_slice_is_not_infected_and_a_dense_one_is_as_the_network_says() -> None:
    slices = np.array([[0.1, 0.9]] * 4, dtype=np.float32)
    dense = np.array([0.0, 0.01, 0.02, 0.5], dtype=np.float32)
    assert weighed(slices, [1], dense)[:, 1] == pytest.approx([0, 0.45, 0.9, 0.9])


def test_other_classes_share_what_is_lost() -> None:
    slices = np.array([[0.6, 0.3, 0.06, 0.04]], dtype=np.float32)  # two positive, two negative classes
    assert weighed(slices, [0, 1], np.array([0.01], dtype=np.float32))[0] == pytest.approx(
        [0.3, 0.15, 0.33, 0.22]
    )


def test_a_certain_infection_of_clear_lung_goes_to_the_others_alike() -> None:
    slices = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert weighed(slices, [0], np.array([0.0], dtype=np.float32))[0] == pytest.approx([0, 0.5, 0.5])


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=8),
)
def test_rows_stay_probabilities_and_only_fall(rows: list[tuple[float, float]]) -> None:
    slices = np.array([[1 - share, share] for share, _ in rows], dtype=np.float32)
    found = weighed(slices, [1], np.array([dense for _, dense in rows], dtype=np.float32))
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-6)
    assert (found[:, 1] <= slices[:, 1] + 1e-6).all()
