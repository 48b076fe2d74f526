from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.evaluation.calibration import (
    BINS,
    TEMPERATURES,
    DebiasedError,
    confidence_threshold,
    fit_calibration,
    fit_temperature,
    reliability,
)
from pulmoscope.runtime.model import calibrated


def test_temperature_by_hand() -> None:
    # Always +-2 with three of four right: the best share is 0.75, so the logit's quotient is ln 3.
    logits, labels = [[2.0], [2.0], [2.0], [2.0]], [1, 1, 1, 0]
    assert fit_temperature(logits, labels) == pytest.approx(2 / np.log(3), rel=1e-4)


def test_one_logit_equals_two() -> None:
    rng = np.random.default_rng(2)
    single = rng.normal(size=(60, 1)) * 3
    labels = (rng.random(60) < 0.5).astype(int)
    both = np.concatenate([np.zeros_like(single), single], axis=1)
    assert fit_temperature(single, labels) == pytest.approx(fit_temperature(both, labels), rel=1e-4)


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_finds_back_the_factor_by_which_logits_were_inflated(factor: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3)) * 2
    powers = np.exp(logits)
    thresholds = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1)
    labels = np.minimum((rng.random((20_000, 1)) > thresholds).sum(axis=1), 2)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_without_an_error_nothing_becomes_surer_than_the_network_said() -> None:
    assert fit_temperature([[0.1, 0.0], [0.0, 0.1]], [0, 1]) == pytest.approx(1, rel=0.01)
    assert fit_temperature([[0.1], [-0.1]], [1, 0]) == pytest.approx(1, rel=0.01)


def test_with_one_error_the_temperature_keeps_its_bound() -> None:
    # 49 of 50 right at a logit of 0.1: the likeliest quotient, ln 49, would take a temperature of 0.026.
    assert fit_temperature([[0.1]] * 50, [1] * 49 + [0]) == pytest.approx(TEMPERATURES[0], rel=0.01)


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="labels"):
        fit_temperature([[1.0, 2.0]], [0, 1])
    with pytest.raises(ValueError, match="labels"):
        fit_temperature(np.zeros((0, 2)), [])


def test_reliability_by_hand() -> None:
    bins = reliability([[0.9, 0.1], [0.88, 0.12], [0.4, 0.6], [0.0, 1.0]], [0, 1, 1, 1])
    assert len(bins) == BINS == 15
    # 0.9 and 0.88 lie in (13/15, 14/15], 0.6 = 9/15 in (8/15, 9/15], 1 in the last.
    filled = {round(own.high * 15): own for own in bins if own.images}
    assert sorted(filled) == [9, 14, 15]
    assert (filled[14].images, filled[14].accuracy) == (2, 0.5)
    assert filled[14].confidence == pytest.approx(0.89)
    assert bins[0].confidence is None
    assert bins[0].accuracy is None


@pytest.mark.parametrize(
    ("confidence", "right", "threshold"),
    [
        ([0.9, 0.8, 0.7], [True, True, True], 0.5),  # all right: report everything
        ([0.9, 0.8, 0.57], [True, True, False], 0.6),  # the wrong one lies below 0.6
        ([0.9, 0.83, 0.7], [True, False, True], 0.85),
        (
            [0.97, 0.9],
            [False, True],
            0.95,
        ),  # no threshold keeps the surest wrong answer out: report the least
    ],
)
def test_the_confidence_threshold_is_the_lowest_that_is_sure_enough(
    confidence: list[float], right: list[bool], threshold: float
) -> None:
    shares = np.array([[own, 1 - own] for own in confidence], dtype=np.float32)
    labels = np.array([0 if own else 1 for own in right], dtype=np.int64)
    assert confidence_threshold(shares, labels) == threshold


def test_99_percent_right_is_sure_enough() -> None:
    shares = np.tile(np.array([[0.6, 0.4]], dtype=np.float32), (100, 1))
    labels = np.zeros(100, dtype=np.int64)
    labels[0] = 1  # 99 of 100 are right
    assert confidence_threshold(shares, labels) == 0.5
    labels[1] = 1
    shares[2:, 0], shares[2:, 1] = 0.8, 0.2
    assert confidence_threshold(shares, labels) == 0.65


def debiased(shares: object, outcomes: object, bins: int = 10) -> float:
    weights = np.ones((1, len(np.asarray(shares))))
    return float(DebiasedError(shares, outcomes, bins)(weights)[0])


def test_debiased_error_by_hand() -> None:
    # Two bins of four. Lower: mean p 0.2, one hit of four: 0.05² - 0.25 * 0.75 / 3 = -0.06.
    # Upper: mean p 0.9, two hits of four: 0.4² - 0.5 * 0.5 / 3 = 0.07667. Mean of both 0.00833.
    shares = [0.1, 0.2, 0.2, 0.3, 0.8, 0.9, 0.9, 1.0]
    hits = [0, 0, 0, 1, 1, 1, 0, 0]
    lower, upper = 0.05**2 - 0.25 * 0.75 / 3, 0.4**2 - 0.5 * 0.5 / 3
    assert debiased(shares, hits, bins=2) == pytest.approx(np.sqrt((lower + upper) / 2))


def test_what_chance_explains_is_no_error() -> None:
    # One bin, mean p 0.25, one hit of four: 0 - 0.0625, floored.
    assert debiased([0.25] * 4, [1, 0, 0, 0]) == 0


def test_images_of_one_probability_share_a_bin_and_a_single_image_adds_nothing() -> None:
    # Parts of two: (0.2, 0.5), (0.5, 0.5), (0.5, 0.9) have their edges at 0.5, so that 0.2 and all of 0.5 are one bin
    # of five, mean p 0.44, no hit; 0.9 is alone. 5 of 6 of the mass err by 0.44.
    shares, misses = [0.2, 0.5, 0.5, 0.5, 0.5, 0.9], [0] * 6
    assert debiased(shares, misses, bins=3) == pytest.approx(np.sqrt(5 / 6 * 0.44**2))


def test_a_weight_of_two_counts_as_two_images() -> None:
    rng = np.random.default_rng(6)
    shares = rng.random(40)
    hits = rng.random(40) < shares**2
    bins = DebiasedError(shares, hits)
    times = rng.integers(1, 4, 40)
    # By hand, over the same bins: every tenth of the images as they are.
    order = np.argsort(shares)
    squared = 0.0
    for part in np.array_split(order, 10):
        own = np.repeat(part, times[part])
        rate = hits[own].mean()
        error = (shares[own].mean() - rate) ** 2 - rate * (1 - rate) / (len(own) - 1)
        squared += len(own) / times.sum() * error
    assert bins(times[None].astype(np.float64))[0] == pytest.approx(np.sqrt(max(squared, 0)))


def test_perfect_probabilities_err_less_once_chance_is_taken_off() -> None:
    """Over many draws the squared error is 0 on average; the plain one is not."""
    rng = np.random.default_rng(8)
    shares = np.linspace(0.02, 0.98, 200)
    plain, without_chance = [], []
    for _ in range(200):
        hits = rng.random(200) < shares
        parts = np.array_split(np.arange(200), 10)
        plain.append(np.mean([(shares[part].mean() - hits[part].mean()) ** 2 for part in parts]))
        without_chance.append(debiased(shares, hits))
    assert np.sqrt(np.mean(plain)) > 0.07
    assert np.mean(without_chance) < 0.04


def test_a_debiased_error_needs_an_outcome_for_every_probability() -> None:
    with pytest.raises(ValueError, match="outcomes"):
        DebiasedError([0.5, 0.6], [True])
    with pytest.raises(ValueError, match="outcomes"):
        DebiasedError([], [])


def moved(seed: int, images: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three classes whose probabilities are right, but for what is added to the first."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (images, 3))
    powers = np.exp(logits)
    shares = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1)
    labels = (rng.random((images, 1)) > shares).sum(axis=1)
    return logits + np.array([shift, 0, 0]), labels


def test_a_bias_takes_back_what_was_added_to_a_class() -> None:
    logits, labels = moved(1, 2000, 2.0)
    temperature, bias = fit_calibration(logits, labels, np.arange(2000))
    assert temperature == pytest.approx(1, abs=0.1)
    assert np.array(bias) - bias[1] == pytest.approx([-2, 0, 0], abs=0.25)
    asked, truth = moved(2, 2000, 2.0)
    shares = calibrated(asked.astype(np.float32), temperature, bias)
    once = np.ones((1, 2000))
    assert DebiasedError(shares[:, 0], truth == 0)(once)[0] < 0.05
    plain = calibrated(asked.astype(np.float32), fit_temperature(logits, labels))
    assert DebiasedError(plain[:, 0], truth == 0)(once)[0] > 0.1


def test_where_no_bias_helps_there_is_none_and_the_temperature_is_the_same() -> None:
    logits, labels = moved(3, 300, 0.0)
    assert fit_calibration(logits, labels, np.arange(300)) == (fit_temperature(logits, labels), ())


def test_a_class_without_images_keeps_its_bias_of_0() -> None:
    logits, labels = moved(4, 400, 3.0)
    kept = labels < 2
    _, bias = fit_calibration(logits[kept], labels[kept], np.arange(400)[kept])
    assert bias[2] == 0
    assert bias[0] < bias[1] - 1


def test_a_single_logit_has_a_bias_for_each_of_two_classes() -> None:
    logits, labels = moved(5, 1000, 2.0)
    kept = labels < 2
    single = (logits[:, 1] - logits[:, 0])[kept, None]
    _, bias = fit_calibration(single, labels[kept], np.arange(1000)[kept])
    assert len(bias) == 2
    assert bias[1] - bias[0] == pytest.approx(2, abs=0.4)


def test_images_of_one_patient_are_held_out_together() -> None:
    logits, labels = moved(6, 40, 0.0)
    # All of one patient: nothing can be held out, so that nothing shows that a bias helps.
    assert fit_calibration(logits + np.array([3, 0, 0]), labels, np.zeros(40))[1] == ()
