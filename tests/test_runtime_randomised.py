"""A network with shuffled weights, from its last layer on, in OpenVINO's graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import quadrants, tiny_bundle
from pulmoscope.core.types import FloatArray
from pulmoscope.runtime.model import Model, Outputs
from pulmoscope.runtime.randomised import randomised

IMAGE = np.repeat(quadrants((0.9, 0.5, 0.3, 0.1), 32)[None, None], 3, axis=1)


def slopes_times_maps(outputs: Outputs, index: int = 0) -> FloatArray:
    """The logits of a head that is linear on pooled maps, but for its bias: the sum of slopes times maps."""
    maps = [(outputs.features, outputs.gradients), *outputs.stages.values()]
    return np.asarray(
        sum(gradients[index] @ features[index].sum(axis=(1, 2)) for features, gradients in maps)
    )


def test_the_head_alone_changes_its_logits_and_gradients_and_no_map(tmp_path: Path) -> None:
    # The logit is 10 / 4 times the second quadrant less the first; shuffled with this seed, the other way round.
    model = Model(tiny_bundle(tmp_path, single_logit=True, gain=10))
    before = model.predict(IMAGE)
    assert before.logits == pytest.approx(np.array([[-1.0]]), abs=1e-5)
    after = randomised(model, 0.0, 3).predict(IMAGE)
    np.testing.assert_array_equal(after.features, before.features)
    assert after.logits == pytest.approx(np.array([[1.0]]), abs=1e-5)
    assert after.gradients == pytest.approx(-before.gradients)


def test_all_layers_change_the_maps_too_and_the_model_itself_stays(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, gain=10))
    before = model.predict(IMAGE)
    after = randomised(model, 1.0, 3).predict(IMAGE)
    assert np.abs(after.features - before.features).max() > 0
    np.testing.assert_array_equal(model.predict(IMAGE).logits, before.logits)
    np.testing.assert_array_equal(randomised(model, 1.0, 3).predict(IMAGE).logits, after.logits)
    assert np.abs(randomised(model, 1.0, 4).predict(IMAGE).logits - after.logits).max() > 0


@pytest.mark.parametrize("name", ["xray-covid", "ct-slice-covid"])
def test_gradients_of_a_built_in_model_follow_its_random_head(name: str) -> None:
    """Its file holds them as constants, those of CT slices one a stage."""
    model = Model.load(name)
    size = model.bundle.preprocess.size
    images = np.random.default_rng(1).normal(0, 1, (2, 3, size, size)).astype(np.float32)
    before = model.predict(images)
    for part in (0.0, 1.0):
        after = randomised(model, part, 3).predict(images)
        assert np.abs(after.logits - before.logits).max() > 0.1
        change = after.logits[0] - after.logits[1]  # without the bias
        assert slopes_times_maps(after) - slopes_times_maps(after, 1) == pytest.approx(change, abs=1e-3)
        assert (np.abs(after.features - before.features).max() > 0.1) == (part > 0)
