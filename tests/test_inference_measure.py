from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chests import SPACING_MM, chest
from diagnoses import a_ct_diagnosis, a_ct_of_pictures
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import Decision, Flag, FlagLevel, FloatArray, Prediction, Quality, Scan
from pulmoscope.inference.measure import LIMITS, held_to_measure, measured, with_limits
from pulmoscope.segment.ct_lungs import LungMask, lung_mask


def a_scan(hu: FloatArray) -> Scan:
    return replace(a_ct_diagnosis().scan, pixels=hu, spacing_mm=SPACING_MM)


def a_measure(percent: float, grade: str) -> SeverityMeasure:
    return SeverityMeasure(percent, (percent, percent), percent, percent, grade, 3, {}, {}, {}, ())


def said(label: str, decision: Decision = Decision.REPORT) -> Prediction:
    return Prediction({label: 0.9, "other": 0.1}, decision, "It is sure.")


def test_a_consolidation_is_measured() -> None:
    drawn = chest()
    found = measured(a_scan(drawn.hu), lung_mask(drawn.hu, SPACING_MM))
    assert found is not None
    truth = 100 * drawn.consolidation.sum() / drawn.right.sum()
    assert found[0].right == pytest.approx(truth, abs=0.7)
    assert found[0].left == 0
    assert (found[1].lesions > 0)[drawn.consolidation].mean() > 0.8


def test_what_was_not_observed_is_told() -> None:
    drawn = chest()
    missing = np.zeros(drawn.hu.shape, dtype=bool)
    missing[::2] = True
    found = measured(a_scan(drawn.hu), lung_mask(drawn.hu, SPACING_MM), missing)
    assert found is not None
    (limit,) = found[0].limits
    assert "of the lung was not observed" in limit
    assert 45 < float(limit.split(" %")[0]) < 55
    none = measured(a_scan(drawn.hu), lung_mask(drawn.hu, SPACING_MM), np.zeros_like(missing))
    assert none is not None
    assert none[0].limits == ()


def odd(kind: str) -> FloatArray:
    drawn = chest()
    hu = drawn.hu.copy()
    if kind == "air":
        hu[:] = -1000
    elif kind == "water":
        hu[:] = 0
    elif kind == "belly":
        hu = hu[:8]
    elif kind == "few slices":
        hu = hu[30:31]
    elif kind == "all dense":
        hu[drawn.lungs] = -200
    elif kind == "extremes":
        hu = np.where(hu > 0, 32767, -32768).astype(np.float32)
    return np.ascontiguousarray(hu)


@pytest.mark.parametrize("kind", ["air", "water", "belly", "few slices", "all dense", "extremes"])
def test_where_there_is_hardly_any_lung_nothing_is_measured(kind: str) -> None:
    hu = odd(kind)
    lungs = lung_mask(hu, SPACING_MM)
    assert lungs.right_ml + lungs.left_ml < 500
    assert measured(a_scan(hu), lungs) is None
    assert with_limits(None, Quality()) == (None, None)


def test_eight_slices_and_one_lung_are_measured() -> None:
    drawn = chest()
    hu = drawn.hu.copy()
    hu[drawn.left] = 40
    found = measured(a_scan(hu), lung_mask(hu, SPACING_MM))
    assert found is not None
    assert found[0].left is None
    few = np.ascontiguousarray(np.repeat(drawn.hu[30:38], 2, axis=0))
    found = measured(a_scan(few), lung_mask(few, SPACING_MM))
    assert found is not None
    assert found[0].percent_affected > 0


def test_pictures_are_not_measured() -> None:
    assert measured(a_ct_of_pictures().scan, None) is None


def test_flags_that_limit_the_measure_are_told_once_and_others_not() -> None:
    drawn = chest()
    found = measured(a_scan(drawn.hu), lung_mask(drawn.hu, SPACING_MM))
    flags = [Flag(code, FlagLevel.WARN, "…") for code in ("one-lung", "synthetic", "lungs-cut", "one-lung")]
    severity, masks = with_limits(found, Quality(tuple(flags)))
    assert severity is not None
    assert masks is not None
    assert severity.limits == (LIMITS["one-lung"], LIMITS["lungs-cut"])


@pytest.mark.parametrize(
    ("label", "grade", "decision"),
    [
        ("CT-0", "CT-0", Decision.REPORT),
        ("CT-0", "CT-1", Decision.REPORT),
        ("CT-3", "CT-4", Decision.REPORT),
        ("CT-0", "CT-2", Decision.REFER),
        ("CT-3", "CT-1", Decision.REFER),
        ("COVID", "CT-4", Decision.REPORT),
    ],
)
def test_a_grade_far_from_the_measured_one_is_referred(label: str, grade: str, decision: Decision) -> None:
    held = held_to_measure(said(label), a_measure(37.4, grade))
    assert held.decision is decision
    assert held.probabilities == said(label).probabilities
    if decision is Decision.REFER:
        assert label in held.reason
        assert grade in held.reason
        assert "37.4 %" in held.reason
    else:
        assert held == said(label)


def test_what_is_referred_already_has_both_reasons() -> None:
    referred = said("CT-0", Decision.REFER)
    assert held_to_measure(referred, a_measure(1, "CT-0")) == referred
    held = held_to_measure(referred, a_measure(90, "CT-4"))
    assert held.decision is Decision.REFER
    assert held.reason.startswith("It is sure. The network says CT-0")
    assert held_to_measure(said("CT-0"), None) == said("CT-0")


def test_lungs_of_very_unlike_volumes_limit_the_measure() -> None:
    def limits(left_ml: int) -> tuple[str, ...]:
        hu = np.full((10, 100, 100), -850, dtype=np.float32)
        labels = np.zeros(hu.shape, dtype=np.uint8)
        labels[:, :, :50], labels[:, : left_ml // 10, 50:] = 1, 2  # a row of 50 px in 10 slices: 1 ml
        scan = replace(a_scan(hu), spacing_mm=(2.0, 1.0, 1.0))
        found = measured(scan, LungMask(labels, 1000.0, float(left_ml)))
        assert found is not None
        return found[0].limits

    assert limits(900) == limits(700) == ()
    assert len(limits(600)) == 1
