"""Hospitals are told apart where features differ by hospital, and not where they don't."""

from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.audit.sources import told_apart, verdict
from pulmoscope.evaluation.metrics import Predictions


def answers(shift: float, patients: int = 0, hospitals: tuple[str, str] = ("a", "b")) -> Predictions:
    """60 images of each hospital, half of each label; of one hospital the first feature is larger by ``shift``."""
    rng = np.random.default_rng(5)
    count = 120
    names = [hospitals[number % 2] for number in range(count)]
    labels = ["COVID" if number < 60 else "Normal" for number in range(count)]
    features = rng.normal(size=(count, 6)).astype(np.float32)
    features[:, 0] += shift * np.array([name == hospitals[0] for name in names])
    features[:, 1] += 50 * np.array([label == "COVID" for label in labels])
    return Predictions(
        files=tuple(f"{number}.png" for number in range(count)),
        labels=tuple(labels),
        patients=tuple(f"{names[n]}{labels[n]}{n // 2 % patients}" if patients else "" for n in range(count)),
        sources=("",) * count,
        classes=("COVID", "Normal"),
        probabilities=np.full((count, 2), 0.5),
        hospitals=tuple(names),
        features=features,
    )


def test_hospitals_that_differ_are_told_apart() -> None:
    results = told_apart(answers(12.0), bootstrap=20)
    assert [told.label for told in results] == ["COVID", "Normal"]
    for told in results:
        assert told.hospitals == {"a": 30, "b": 30}
        assert told.chance == 0.5
        assert told.balanced_accuracy.value == 1
        assert told.excess == 1
    assert verdict(results).level == "doubtful"


def test_hospitals_that_do_not_differ_are_not() -> None:
    """The label, which one feature gives away, is no help: it is the same in all that is compared."""
    results = told_apart(answers(0.0), bootstrap=20)
    for told in results:
        assert told.balanced_accuracy.value is not None
        assert told.balanced_accuracy.low is not None
        assert told.balanced_accuracy.low < 0.6
        assert 0.3 < told.balanced_accuracy.value < 0.7
    few = [told for told in results if told.excess <= 0.2]
    assert verdict(few).level == "good"


def test_a_patients_images_are_never_on_both_sides() -> None:
    """Each patient has a mark of its own, which tells the hospital to whoever has seen the patient: here no help."""
    marked = answers(0.0, patients=6)
    _, numbers = np.unique(marked.patients, return_inverse=True)
    marks = 30 * np.eye(numbers.max() + 1, dtype=np.float32)[numbers]
    leaking = np.concatenate([marked.features, marks], axis=1)  # type: ignore[list-item]
    from dataclasses import replace

    by_patient = told_apart(replace(marked, features=leaking), bootstrap=0)
    by_image = told_apart(replace(marked, features=leaking, patients=("",) * 120), bootstrap=0)
    for told, leaked in zip(by_patient, by_image, strict=True):
        assert leaked.balanced_accuracy.value == 1
        assert (told.balanced_accuracy.value or 0.0) < 0.8


def test_nothing_to_tell_apart() -> None:
    assert told_apart(answers(1.0, hospitals=("a", "unidentified")), bootstrap=0) == []
    assert told_apart(answers(1.0).select([number < 36 for number in range(120)]), bootstrap=0) == []
    assert verdict([]).level == "none"
    with pytest.raises(ValueError, match="features"):
        told_apart(
            answers(1.0)
            .select([False] * 120)
            .__class__(
                files=(),
                labels=(),
                patients=(),
                sources=(),
                classes=("COVID", "Normal"),
                probabilities=np.empty((0, 2)),
            )
        )
