"""Sets of classes, against quantiles worked out by hand and against crepes' own sets."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from crepes import ConformalClassifier

from pulmoscope.evaluation.conformal import FEWEST, LEAST, fit_conformal, in_sets, set_figures
from pulmoscope.evaluation.metrics import Predictions
from pulmoscope.runtime.bundle import Conformal

CLASSES = ("COVID", "Normal", "Tuberculosis")
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


def drawn(seed: int, counts: tuple[int, ...]) -> tuple[Floats, Numbers]:
    """Probabilities that favour the true class, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    logits = rng.normal(0, 1, (len(labels), len(counts))) + 1.5 * np.eye(len(counts))[labels]
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True), labels


def predictions(probabilities: Floats, labels: Numbers, hospitals: tuple[str, ...] = ()) -> Predictions:
    names = CLASSES[: probabilities.shape[1]]
    nothing = ("",) * len(labels)
    truth = tuple(names[number] for number in labels)
    return Predictions(nothing, truth, nothing, nothing, names, probabilities, hospitals=hospitals)


def fitted(probabilities: Floats, labels: Numbers, hospitals: str | tuple[str, ...] = "") -> Conformal:
    where = (hospitals,) * len(labels) if isinstance(hospitals, str) else hospitals
    made = fit_conformal(probabilities, labels, where, CLASSES[: probabilities.shape[1]], "a test")
    assert made is not None
    return made


def of_crepes(known: tuple[Floats, Numbers], bins: Numbers, asked: Floats) -> npt.NDArray[np.bool_]:
    """Class by class, whether crepes has it in the set; ``bins``: each class's category."""
    strange = 1 - known[0][np.arange(len(known[1])), known[1]]
    own = ConformalClassifier().fit(strange, bins=bins[known[1]])
    columns = [
        own.predict_set(
            1 - asked[:, [number]],
            bins=np.full(len(asked), bins[number]),
            confidence=0.9,
            smoothing=False,
        )
        for number in range(asked.shape[1])
    ]
    return np.concatenate(columns, axis=1) == 1


def test_a_threshold_is_the_quantile_worked_out_by_hand() -> None:
    # Of 60 images of a class, ceil(61 x 0.9) = 55 must reach it: the 55th from the highest, 0.06 of 0.01 … 0.60.
    right = np.arange(1, 61) / 100
    probabilities = np.concatenate([np.stack([right, 1 - right], 1), np.stack([right, 1 - right], 1)])
    labels = np.repeat([0, 1], 60)
    made = fitted(probabilities, labels)
    # Of Normal the 60 have 0.40 … 0.99: the 55th from the highest is 0.45.
    assert made.by_class == pytest.approx({"COVID": 0.06, "Normal": 0.45}, abs=2e-6)
    assert made.images == {"COVID": 60, "Normal": 60}
    assert (made.coverage, made.fitted_on, made.by_hospital) == (0.9, "a test", {})


def test_few_images_are_one_category_and_fewer_are_none() -> None:
    right = np.arange(1, LEAST + 1) / 100
    probabilities, labels = np.stack([right, 1 - right], 1), np.zeros(LEAST, dtype=np.intp)
    made = fitted(probabilities, labels, "unidentified")
    # ceil(26 x 0.9) = 24 of 25: the second from below, for the class that no image has, too.
    assert made.by_class == pytest.approx({"COVID": 0.02, "Normal": 0.02}, abs=1e-6)
    assert made.by_hospital == {}
    assert fit_conformal(probabilities[1:], labels[1:], [""] * (LEAST - 1), CLASSES[:2], "") is None


@pytest.mark.parametrize(
    ("counts", "bins"),
    [
        ((90, 70, 60), (0, 1, 2)),  # each class by itself
        ((90, 60, 20), (0, 3, 3)),  # the rare one takes in the next rarer
        ((90, 30, 20), (0, 3, 3)),  # two rare ones are enough together
        ((120, 0, 0), (3, 3, 3)),
        ((20, 10, 15), (3, 3, 3)),
    ],
)
def test_sets_are_those_of_crepes(counts: tuple[int, ...], bins: tuple[int, ...]) -> None:
    known, (asked, labels) = drawn(1, counts), drawn(2, (200, 200, 200))
    found = in_sets(predictions(asked, labels), fitted(*known))
    np.testing.assert_array_equal(found, of_crepes(known, np.array(bins), asked))
    assert 0 < found.mean() < 1


def test_a_hospital_with_enough_images_has_thresholds_of_its_own() -> None:
    probabilities, labels = drawn(3, (120, 120, 120))
    hospitals = tuple("here" if index % 2 else "there" if index % 16 else "few" for index in range(360))
    made = fitted(probabilities, labels, hospitals)
    assert hospitals.count("few") < FEWEST <= hospitals.count("there")
    assert set(made.by_hospital) == {"here", "there"}
    here = np.array([name == "here" for name in hospitals])
    alone = fitted(probabilities[here], labels[here])
    assert made.by_hospital["here"] == alone.by_class
    row = dict(zip(CLASSES, (0.2, 0.5, 0.3), strict=True))
    expected = tuple(name for name in CLASSES if row[name] >= alone.by_class[name])
    assert made.set_of(row, "here").classes == expected
    assert made.set_of(row, "few") == made.set_of(row)


def test_the_true_class_is_in_the_set_as_often_as_stated() -> None:
    held = []
    for seed in range(40):
        own, (asked, labels) = fitted(*drawn(seed, (100, 100, 100))), drawn(1000 + seed, (100, 100, 100))
        held.append(in_sets(predictions(asked, labels), own)[np.arange(300), labels].mean())
    assert 0.89 < np.mean(held) < 0.93


def test_figures_are_those_counted_by_hand() -> None:
    rows = np.array([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9]])
    least = Conformal(0.9, {"COVID": 0.45, "Normal": 0.55}, {"here": {"COVID": 0.0, "Normal": 0.7}})
    # Sets: {COVID}, {COVID}, {Normal}, {Normal}; by the thresholds of `here`: {COVID}, {COVID} for its two images.
    said = predictions(rows, np.array([0, 1, 1, 1]), ("here", "here", "there", "there"))
    found = set_figures(said, least, 50)
    assert found["overall"]["coverage"]["value"] == pytest.approx(3 / 4)
    assert found["overall"]["size"]["value"] == found["overall"]["singletons"]["value"] == 1
    assert found["by_class"]["Normal"]["images"] == 3
    assert found["by_class"]["Normal"]["coverage"]["value"] == pytest.approx(2 / 3)
    assert found["by_hospital"]["here"]["coverage"]["value"] == pytest.approx(1 / 2)
    assert found["by_hospital"]["here"]["coverage_if_known"]["value"] == pytest.approx(1 / 2)
    assert "coverage_if_known" not in found["by_hospital"]["there"]
    strict = Conformal(0.9, {"COVID": 0.85, "Normal": 0.85})
    alone = set_figures(said, strict, 0)["overall"]
    assert alone["empty"]["value"] == pytest.approx(3 / 4)
    assert alone["singletons"]["value"] == pytest.approx(1 / 4)


def test_a_diagnosis_loads_neither_crepes_nor_pandas() -> None:
    asked = "import sys, pulmoscope.pipeline.diagnose; print({'crepes', 'pandas'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
