from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundles import lung_preprocess, quadrants, tiny_bundle
from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.core.types import Box
from pulmoscope.runtime.bundle import Calibration, load
from pulmoscope.runtime.model import Model, calibrated

LOGITS = arrays.arrays(np.float32, (3, 4), elements=st.floats(-30, 30, width=32))


def test_softmax_and_temperature_by_hand() -> None:
    # e^(ln 8 / 3) = 2 and e^0 = 1: two thirds and one third
    logits = np.array([[np.log(8), 0.0]], dtype=np.float32)
    assert calibrated(logits, 3.0)[0] == pytest.approx([2 / 3, 1 / 3])
    assert calibrated(logits, 1.0)[0] == pytest.approx([8 / 9, 1 / 9])


def test_a_single_logit_is_that_of_the_second_class() -> None:
    logits = np.array([[np.log(9)], [-200.0]], dtype=np.float32)
    assert calibrated(logits, 1.0)[0] == pytest.approx([0.1, 0.9])
    assert calibrated(logits, 2.0)[0] == pytest.approx([0.25, 0.75])
    assert calibrated(logits, 1.0)[1] == pytest.approx([1, 0])


@given(LOGITS, st.floats(0.2, 5))
def test_probabilities_sum_to_1_and_keep_the_order_of_the_logits(
    logits: np.ndarray, temperature: float
) -> None:
    probabilities = calibrated(logits, temperature)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    for row, shares in zip(logits, probabilities, strict=True):
        assert shares[row.argmax()] == shares.max()


@given(LOGITS, st.floats(-20, 20))
def test_softmax_does_not_see_what_is_added_to_all_logits(logits: np.ndarray, shift: float) -> None:
    shifted = np.asarray(logits + np.float32(shift))
    np.testing.assert_allclose(calibrated(shifted, 1.0), calibrated(logits, 1.0), atol=1e-4)


def test_the_bundle_s_own_preprocessing_and_calibration_are_used(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, gain=8, temperature=2.0))
    prepared = model.prepare(quadrants((1.0, 0.5), 128))
    assert prepared.tensor.shape == (3, 32, 32)
    assert prepared.lungs is None
    outputs = model.predict(prepared.tensor[None])
    # logits are 8 / 4 * (1, 0.5); divided by the temperature their difference is 0.5
    assert outputs.logits[0] == pytest.approx([2, 1], abs=1e-4)
    assert outputs.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-4)


def test_a_single_logit_s_gradients_are_given_for_both_classes(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, single_logit=True, gain=16))
    outputs = model.predict(np.zeros((2, 3, 32, 32), dtype=np.float32))
    assert outputs.logits.shape == (2, 1)
    assert outputs.probabilities.shape == (2, 2)
    assert outputs.gradients.shape == (2, 2, 2)
    np.testing.assert_allclose(outputs.gradients[0], [[1, -1], [-1, 1]])


def test_a_batch_equals_its_images_one_by_one(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, ("a", "b", "c")))
    batch = np.random.default_rng(0).random((5, 3, 32, 32), dtype=np.float32)
    whole = model.predict(batch)
    for index in range(5):
        alone = model.predict(batch[index : index + 1])
        np.testing.assert_allclose(alone.probabilities[0], whole.probabilities[index], atol=1e-6)


@pytest.mark.parametrize("rows", [240, 320])
def test_the_lung_map_shows_the_image_alone_and_gives_the_box(tmp_path: Path, rows: int) -> None:
    """The tiny finder takes black for lung: two black fields on white, in an image of any aspect."""
    preprocess = replace(lung_preprocess(), margin=0.0)
    model = Model(tiny_bundle(tmp_path, preprocess=preprocess))
    pixels = np.ones((rows, 200), dtype=np.float32)
    pixels[rows // 4 : 3 * rows // 4, 40:90] = 0
    pixels[rows // 4 : 3 * rows // 4, 110:160] = 0
    prepared = model.prepare(pixels)
    assert prepared.lungs is not None
    assert prepared.lungs.shape[0] / prepared.lungs.shape[1] == pytest.approx(rows / 200, rel=0.02)
    box = prepared.framed.box
    expected = Box(rows // 4, 40, rows // 2, 120)
    for name in ("top", "left", "height", "width"):
        assert getattr(box, name) == pytest.approx(getattr(expected, name), abs=0.03 * max(rows, 200))


def test_a_network_that_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"\x00" * 100)
    bundle.save()
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Model.load(tmp_path)


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="tpu"):
        Model(tiny_bundle(tmp_path), device="tpu")


def test_a_bundle_s_view_network_says_what_a_picture_shows(tmp_path: Path) -> None:
    """It goes by the mean: a quarter bright is a frontal radiograph, three quarters are a CT slice."""
    model = Model(tiny_bundle(tmp_path / "new", view=True))
    frontal, other = (model.prepare(quadrants(own, 128)).view for own in ((1.0,), (1.0, 1.0, 1.0)))
    assert frontal is not None
    assert other is not None
    assert (frontal.name, other.name) == ("frontal", "ct")
    assert (frontal.is_chest, other.is_chest) == (True, False)
    assert frontal.distance == pytest.approx(0.5, abs=0.02)
    assert Model(tiny_bundle(tmp_path / "old")).prepare(quadrants((1.0,), 128)).view is None


def test_a_bias_is_added_to_the_logits_by_hand(tmp_path: Path) -> None:
    logits = np.array([[np.log(8), 0.0]], dtype=np.float32)
    # e^(ln 8 / 3) = 2 and e^(ln 2) = 2: one half each
    assert calibrated(logits, 3.0, (0.0, float(np.log(2))))[0] == pytest.approx([1 / 2, 1 / 2])
    single = np.array([[0.0]], dtype=np.float32)
    assert calibrated(single, 2.0, (0.0, float(np.log(3))))[0] == pytest.approx([1 / 4, 3 / 4])
    bare = tiny_bundle(tmp_path, gain=8, temperature=2.0)
    prepared = Model(bare).prepare(quadrants((1.0, 0.5), 128)).tensor[None]
    biased = replace(bare, calibration=Calibration(2.0, bias=(0.0, 0.5))).save()
    # logits / 2 are 1 and 0.5; with the bias they are equal.
    assert Model(load(tmp_path)).predict(prepared).probabilities[0] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert load(tmp_path) == biased
