from __future__ import annotations

import numpy as np
import pytest

from pulmoscope.runtime.votes import majority, mean


def test_the_class_with_most_slices_wins_however_sure_the_others_are() -> None:
    slices = np.array([[0.6, 0.4], [0.55, 0.45], [0.0, 1.0]], np.float32)
    assert majority(slices).argmax() == 0
    assert majority(slices) == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    assert mean(slices).argmax() == 1
    assert mean(slices) == pytest.approx([1.15 / 3, 1.85 / 3])


def test_a_tie_goes_to_the_class_that_is_surer() -> None:
    slices = np.array([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0]], np.float32)
    assert majority(slices).argmax() == 0
    assert majority(slices).sum() == pytest.approx(1)
    assert majority(slices[:, [1, 0, 2]]).argmax() == 1


def test_one_slice_decides_alone() -> None:
    assert majority(np.array([[0.2, 0.5, 0.3]], np.float32)).argmax() == 1
