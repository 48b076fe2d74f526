from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.core.types import FloatArray
from pulmoscope.inference.patient_rule import patient_probabilities, suspicious


def two(*positive: float) -> FloatArray:
    """Slices of a model with one negative and one positive class."""
    shares = np.array(positive, dtype=np.float32)
    return np.stack([1 - shares, shares], axis=1)


def test_the_patient_is_the_mean_of_the_tenth_that_is_most_likely_infected() -> None:
    shares = two(*np.linspace(0, 0.99, 100))  # the highest ten: 0.90 … 0.99
    assert patient_probabilities(shares, [1]) == pytest.approx([0.055, 0.945])
    assert patient_probabilities(shares[::-1], [1]) == pytest.approx([0.055, 0.945])


def test_of_few_slices_three_count() -> None:
    assert patient_probabilities(two(0.1, 0.2, 0.3, 0.9, 0.6), [1])[1] == pytest.approx(0.6)
    assert patient_probabilities(two(0.25), [1])[1] == pytest.approx(0.25)


def test_several_positive_classes_count_together() -> None:
    shares = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.3, 0.0, 0.7], [0.4, 0.6, 0.0]], dtype=np.float32)
    assert patient_probabilities(shares, [1, 2]) == pytest.approx([0.3, 1.1 / 3, 1.0 / 3])  # the last three


def test_suspicious_slices_are_the_highest_and_lie_apart() -> None:
    shares = np.full(60, 0.1, dtype=np.float32)
    shares[[30, 31, 33, 50, 10]] = [0.9, 0.85, 0.8, 0.7, 0.6]  # apart: 60 // 20 = 3 slices
    assert suspicious(shares) == [30, 33, 50, 10]


def test_slices_that_were_not_judged_are_not_suspicious() -> None:
    assert suspicious(np.array([-1, 0.2, -1], dtype=np.float32)) == [1]
    assert suspicious(np.full(5, -1, dtype=np.float32)) == []
