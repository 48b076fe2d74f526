from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from discs import discs
from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.models.anogan import scores
from pulmoscope.quality.anomaly import AnomalyModel
from pulmoscope.recipes.gan_specs import AnoGanSettings
from pulmoscope.training.anogan.fit import AnoGan, fit_anogan
from pulmoscope.training.anogan.scores import encoder_scores, export_anomaly, search_scores
from pulmoscope.training.progress import Reporter

CPU = torch.device("cpu")
SETTINGS = AnoGanSettings(
    latent=8,
    width=8,
    epochs=5,
    encoder_epochs=4,
    batches=25,
    batch_size=16,
    learning_rate=1e-3,
    steps=40,
    search_rate=0.1,
)


@pytest.fixture(scope="module")
def anogan(tmp_path_factory: pytest.TempPathFactory) -> AnoGan:
    return fit_anogan(discs(200), SETTINGS, tmp_path_factory.mktemp("anogan"), CPU, Reporter())


@pytest.fixture(scope="module")
def normal() -> FloatArray:
    return discs(12, seed=5)


@pytest.fixture(scope="module")
def unlike(normal: FloatArray) -> FloatArray:
    """The same discs, a third of each filled."""
    filled = normal.copy()
    filled[:, 10:22, 8:16] = 0.8
    return filled


def test_what_is_unlike_scores_higher_by_search_and_by_encoder(
    anogan: AnoGan, normal: FloatArray, unlike: FloatArray
) -> None:
    for score in (search_scores, encoder_scores):
        (own, own_maps), (other, maps) = score(anogan, normal), score(anogan, unlike)
        assert (other[:, None] > own).mean() > 0.95
        assert own_maps.shape == normal.shape
        # and the map shows where
        assert maps[:, 10:22, 8:16].mean() > 1.5 * maps.mean()


def test_the_search_finds_a_better_latent_vector_than_it_began_with(
    anogan: AnoGan, normal: FloatArray
) -> None:
    begun = search_scores(replace(anogan, settings=replace(SETTINGS, steps=1)), normal)[0]
    found = search_scores(anogan, normal)[0]
    assert (found < begun).all()


def test_batches_and_chance(anogan: AnoGan, normal: FloatArray) -> None:
    together = search_scores(anogan, normal)[0]
    parts = search_scores(anogan, normal, batch_size=5)[0]
    np.testing.assert_allclose(parts, together, rtol=1e-2)  # rounding, grown over the steps
    np.testing.assert_array_equal(search_scores(anogan, normal)[0], together)
    assert (search_scores(anogan, normal, seed=1)[0] != together).any()


def test_encoder_scores_are_the_formula_s(anogan: AnoGan, normal: FloatArray) -> None:
    slices = torch.from_numpy(normal)[:, None]
    with torch.no_grad():
        drawn = anogan.generator(anogan.encoder(slices))
        features = [anogan.discriminator.features(own) for own in (slices, drawn)]
        expected = scores(slices, drawn, features[0], features[1], 0.1)
    found, maps = encoder_scores(anogan, normal, batch_size=5)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(maps, np.abs(normal - drawn[:, 0].numpy()), atol=1e-6)


def test_larger_slices_have_the_scores_of_their_means(
    anogan: AnoGan, normal: FloatArray, tmp_path: Path
) -> None:
    larger, square = replace(anogan, size=96), np.ones((1, 3, 3), dtype=np.float32)
    slices = np.kron(normal, square)
    for score in (search_scores, encoder_scores):
        expected, expected_maps = score(anogan, normal)
        found, maps = score(larger, slices)
        np.testing.assert_allclose(found, expected, rtol=1e-2)
        assert maps.shape == slices.shape
        np.testing.assert_allclose(maps, np.kron(expected_maps, square), atol=0.05)
    export_anomaly(larger, tmp_path / "anomaly.onnx")
    own, own_maps = AnomalyModel.open(tmp_path / "anomaly.onnx")(slices)
    np.testing.assert_allclose(own, encoder_scores(anogan, normal)[0], rtol=0.01)
    np.testing.assert_allclose(own_maps, maps, atol=0.01)
    with pytest.raises(DatasetError, match=r"96 px \(found: 32\)"):
        search_scores(larger, normal)


def test_no_slices_no_scores(anogan: AnoGan) -> None:
    nothing = np.empty((0, 32, 32), dtype=np.float32)
    for score in (search_scores, encoder_scores):
        own, maps = score(anogan, nothing)
        assert own.shape == (0,)
        assert maps.shape == nothing.shape


def test_slices_that_are_no_slices_are_refused(anogan: AnoGan, normal: FloatArray) -> None:
    for score in (search_scores, encoder_scores):
        with pytest.raises(DatasetError, match=r"values in \[0, 1\]"):
            score(anogan, normal + 1)


def test_the_file_says_what_torch_says(
    anogan: AnoGan, normal: FloatArray, unlike: FloatArray, tmp_path: Path
) -> None:
    verified = export_anomaly(anogan, tmp_path / "anomaly.onnx")
    assert {"openvino", "onnx", "torch"} <= set(verified)
    slices = np.concatenate([normal, unlike])
    expected, expected_maps = encoder_scores(anogan, slices)
    found, maps = AnomalyModel.open(tmp_path / "anomaly.onnx")(slices)
    np.testing.assert_allclose(found, expected, rtol=0.01)  # weights are stored in half precision
    np.testing.assert_allclose(maps, expected_maps, atol=0.01)
