from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmoscope.core.errors import BundleError
from pulmoscope.runtime import bundle as image_bundle
from pulmoscope.runtime import study_bundle
from pulmoscope.runtime.any_bundle import kind_of
from pulmoscope.runtime.three_level import BATCH, ThreeLevelModel
from study_bundles import ENSEMBLE, PLAIN, SIZE, SLICE, WEIGHTED, tiny_study_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study_bundle(tmp_path_factory.mktemp("three")).folder


@pytest.fixture(scope="module")
def model(folder: Path) -> ThreeLevelModel:
    return ThreeLevelModel.load(folder)


def study(slices: int, seed: int = 0) -> np.ndarray:
    """Slices of random greys, each of one grey above and another below."""
    greys = np.random.default_rng(seed).integers(0, 256, (slices, 2), dtype=np.uint8)
    return np.repeat(np.repeat(greys[:, :, None], SIZE // 2, axis=1), SIZE, axis=2)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_answers_are_those_derived_by_hand(folder: Path, runtime: str) -> None:
    images = study(BATCH + 3)

    said = ThreeLevelModel.load(folder, runtime, "cpu").predict(images)  # type: ignore[arg-type]

    vectors = np.repeat(images.mean(axis=(1, 2))[:, None] / 255, 3, axis=1)
    shares = softmax(vectors @ SLICE)
    times = np.concatenate([shares[:, [k]] * vectors for k in range(3)], axis=1)
    maxpool = softmax(vectors.max(axis=0) @ PLAIN)
    weighted = softmax(times.max(axis=0) @ WEIGHTED)
    logits = np.concatenate([maxpool, weighted]) @ ENSEMBLE
    np.testing.assert_allclose(said.slice_vectors, vectors, atol=1e-5)
    np.testing.assert_allclose(said.slice_probabilities, shares, atol=1e-5)
    np.testing.assert_allclose(said.patient["maxpool"], maxpool, atol=1e-5)
    np.testing.assert_allclose(said.patient["maxpool-weighted"], weighted, atol=1e-5)
    np.testing.assert_allclose(said.logits, logits, atol=1e-5)
    np.testing.assert_allclose(said.ensemble, softmax(logits / 2), atol=1e-5)  # the temperature is 2


@given(cuts=st.lists(st.integers(0, 40), max_size=4), slices=st.integers(1, 40))
def test_how_a_study_is_cut_into_parts_changes_nothing(
    model: ThreeLevelModel, cuts: list[int], slices: int
) -> None:
    images = study(slices, seed=slices)
    parts = np.split(images, sorted(min(cut, slices) for cut in cuts))
    whole, stream = model.predict(images), model.predict(iter(parts))
    np.testing.assert_allclose(stream.slice_probabilities, whole.slice_probabilities, atol=1e-6)
    np.testing.assert_allclose(stream.ensemble, whole.ensemble, atol=1e-6)


def test_stages_give_what_grad_cam_needs(model: ThreeLevelModel) -> None:
    images = study(2)
    said = model.slices(images)
    grey = images.astype(np.float32) / 255
    for stage, side in ((3, 4), (4, 8), (5, 16)):
        cells = grey.reshape(2, SIZE // side, side, SIZE // side, side).mean(axis=(2, 4))
        np.testing.assert_allclose(said.features[stage], np.stack([cells] * 3, axis=1), atol=1e-5)
        # Maps times their weights sum to the logit: the network is linear in them.
        evidence = np.einsum("bkm,bmrc->bk", said.gradients[stage], said.features[stage])
        np.testing.assert_allclose(evidence, said.logits, atol=1e-4)


def test_no_slice_no_answer(model: ThreeLevelModel) -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        model.predict(iter([]))


def test_a_bundle_is_what_it_was_saved_as(folder: Path) -> None:
    assert kind_of(folder) == study_bundle.KIND
    found = study_bundle.load(folder)
    assert found.parts == ("slice.onnx", "maxpool.onnx", "maxpool-weighted.onnx", "ensemble.onnx")
    assert found.preprocess.mean == (0.0, 0.0, 0.0)


def test_neither_kind_of_bundle_is_taken_for_the_other(folder: Path) -> None:
    with pytest.raises(BundleError, match="kind must be image here"):
        image_bundle.load(folder)
    with pytest.raises(BundleError, match="kind must be three-level here"):
        study_bundle.load("xray-covid")
    assert kind_of("xray-covid") == "image"


def changed(folder: Path, **values: object) -> Path:
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema_version": "9.0"}, "schema_version"),
        ({"patient": ["maxpool", "lost"]}, "lost.onnx"),
        ({"calibration": {"temperature": 0}}, "temperature"),
        ({"preprocess": {"depth": 3}}, "not a valid bundle"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, values: dict[str, object], said: str
) -> None:
    tiny_study_bundle(tmp_path)
    with pytest.raises(BundleError, match=said):
        study_bundle.load(changed(tmp_path, **values))


def test_a_changed_network_is_refused(tmp_path: Path) -> None:
    tiny_study_bundle(tmp_path)
    with (tmp_path / "ensemble.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(BundleError, match=r"ensemble\.onnx: its sha256 differs"):
        study_bundle.load(tmp_path)
