from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.pipeline.patient_rule import patient_probability, suspicious


def test_the_patient_is_the_mean_of_the_highest_tenth() -> None:
    shares = np.linspace(0, 0.99, 100, dtype=np.float32)  # the highest ten: 0.90 … 0.99
    assert patient_probability(shares) == pytest.approx(0.945)
    assert patient_probability(shares[::-1].copy()) == pytest.approx(0.945)


def test_of_few_slices_three_count() -> None:
    assert patient_probability(np.array([0.1, 0.2, 0.3, 0.9, 0.6], dtype=np.float32)) == pytest.approx(0.6)
    assert patient_probability(np.array([0.25], dtype=np.float32)) == pytest.approx(0.25)


def test_suspicious_slices_are_the_highest_and_lie_apart() -> None:
    shares = np.full(60, 0.1, dtype=np.float32)
    shares[[30, 31, 33, 50, 10]] = [0.9, 0.85, 0.8, 0.7, 0.6]  # apart: 60 // 20 = 3 slices
    assert suspicious(shares) == [30, 33, 50, 10]


def test_slices_that_were_not_judged_are_not_suspicious() -> None:
    assert suspicious(np.array([-1, 0.2, -1], dtype=np.float32)) == [1]
    assert suspicious(np.full(5, -1, dtype=np.float32)) == []
