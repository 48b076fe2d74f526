from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import BundleError, DatasetError
from pulmoscope.core.types import FlagLevel, FloatArray, Subject
from pulmoscope.quality.anomaly import (
    AnomalyModel,
    AnomalyThreshold,
    score_table,
    study_flags,
)

THRESHOLD = AnomalyThreshold(1.0, 0.05, 200, 10)


def test_the_threshold_by_hand() -> None:
    scores = np.arange(1.0, 41.0)  # 40 slices: at 5 % two may lie above
    found = AnomalyThreshold.fit(scores[::-1], ["a", "b"] * 20)
    assert found == AnomalyThreshold(38.0, 0.05, 40, 2)
    assert found.above(scores).sum() == 2


@given(
    scores=st.lists(st.floats(-1e3, 1e3), min_size=20, max_size=200),
    false_alarms=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_never_more_false_alarms_than_asked_for_and_no_threshold_in_vain(
    scores: list[float], false_alarms: float
) -> None:
    own = np.array(scores)
    found = AnomalyThreshold.fit(own, ["a"] * len(own), false_alarms)
    assert found.above(own).mean() <= false_alarms
    lower = own[own < found.value]
    if len(lower):  # the next lower score would let through too many
        assert (own > lower.max()).mean() > false_alarms - 1e-9


@pytest.mark.parametrize(
    ("scores", "studies", "rate", "told"),
    [
        ([0.1] * 19, ["a"] * 19, 0.05, "at least 20 normal slices"),
        ([0.1] * 30, ["a"] * 29, 0.05, "29 studies' names"),
        ([0.1] * 30 + [np.nan], ["a"] * 31, 0.05, "must be numbers"),
        ([0.1] * 30, ["a"] * 30, 1.0, r"between 0 and 1 \(found: 1.0\)"),
    ],
)
def test_what_no_threshold_can_rest_on(
    scores: list[float], studies: list[str], rate: float, told: str
) -> None:
    with pytest.raises(DatasetError, match=told):
        AnomalyThreshold.fit(np.array(scores), studies, rate)


@pytest.mark.parametrize(
    ("above", "severity"),
    [(0, None), (1, None), (2, FlagLevel.INFO), (4, FlagLevel.INFO), (5, FlagLevel.WARN)],
)
def test_a_study_of_20_slices(above: int, severity: FlagLevel | None) -> None:
    scores = np.array([2.0] * above + [1.0] * (20 - above))  # exactly at the threshold counts as normal
    flags = study_flags(scores, THRESHOLD)
    assert [flag.level for flag in flags] == ([] if severity is None else [severity])
    for flag in flags:
        assert flag.code == "unlike-normal"
        assert f"{above * 5} %" in flag.finding
        assert f"{above} of 20" in flag.finding
        assert flag.subject is Subject.MODEL


def test_a_study_without_judged_slices_is_not_flagged() -> None:
    assert study_flags(np.empty(0), THRESHOLD) == ()


def test_scores_that_are_no_numbers_are_told() -> None:
    with pytest.raises(DatasetError, match="found: 1 that are none"):
        study_flags(np.array([1.0, np.inf]), THRESHOLD)


def test_the_table_by_hand() -> None:
    scores = np.array([4.0, 1.0, 2.0, 3.0, 10.0, 7.0])
    table = score_table(scores, ["CT-0", "CT-0", "CT-0", "CT-0", "CT-3", "CT-0"])
    assert list(table) == ["CT-0", "CT-3"]
    assert table["CT-0"].plain() == {
        "slices": 5,
        "minimum": 1.0,
        "lower_quartile": 2.0,
        "median": 3.0,
        "upper_quartile": 4.0,
        "maximum": 7.0,
        "mean": 3.4,
    }
    assert table["CT-3"].slices == 1
    assert table["CT-3"].median == 10.0


def doubled(batch: FloatArray) -> Mapping[str, FloatArray]:
    assert batch.dtype == np.float32
    assert len(batch) <= 16
    return {"score": batch.mean(axis=(1, 2, 3)), "residual": 2 * batch}


def test_the_model_runs_in_batches_and_keeps_the_order() -> None:
    slices = np.random.default_rng(1).random((37, 4, 4), dtype=np.float32)
    scores, maps = AnomalyModel(doubled, "x.onnx")(slices)
    np.testing.assert_allclose(scores, slices.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(maps, 2 * slices)


def test_no_slices_no_scores() -> None:
    scores, maps = AnomalyModel(doubled, "x.onnx")(np.empty((0, 4, 4), dtype=np.float32))
    assert scores.shape == (0,)
    assert maps.shape == (0, 4, 4)


def test_another_network_is_refused() -> None:
    model = AnomalyModel(lambda batch: {"logits": batch}, "x.onnx")
    with pytest.raises(BundleError, match=r"x\.onnx: .*found: logits"):
        model(np.zeros((1, 4, 4), dtype=np.float32))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "anomaly.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"anomaly\.onnx"):
        AnomalyModel.open(tmp_path / "anomaly.onnx")
