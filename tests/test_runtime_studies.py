from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.errors import BundleError
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.model import BATCH, LAST_STAGE, Model
from study_bundles import ENSEMBLE, PLAIN, PREPROCESS, SIZE, SLICE, WEIGHTED, tiny_study_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study_bundle(tmp_path_factory.mktemp("three")).folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.load(folder)


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

    said = Model.load(folder, runtime, "cpu").study(images)  # type: ignore[arg-type]

    vectors = np.repeat(images.mean(axis=(1, 2))[:, None] / 255, 3, axis=1)
    shares = softmax(vectors @ SLICE)
    times = np.concatenate([shares[:, [k]] * vectors for k in range(3)], axis=1)
    maxpool = softmax(vectors.max(axis=0) @ PLAIN)
    weighted = softmax(times.max(axis=0) @ WEIGHTED)
    logits = np.concatenate([maxpool, weighted]) @ ENSEMBLE
    np.testing.assert_allclose(said.vectors, vectors, atol=1e-5)
    np.testing.assert_allclose(said.slices, shares, atol=1e-5)
    np.testing.assert_allclose(said.patient.votes["maxpool"], maxpool, atol=1e-5)
    np.testing.assert_allclose(said.patient.votes["maxpool-weighted"], weighted, atol=1e-5)
    np.testing.assert_allclose(said.patient.logits, logits, atol=1e-5)
    np.testing.assert_allclose(
        said.patient.probabilities, softmax(logits / 2), atol=1e-5
    )  # the temperature is 2


def test_stages_give_what_grad_cam_needs(model: Model) -> None:
    images = study(2)
    said = model.predict(PREPROCESS.tensor(images))
    maps = {**said.stages, LAST_STAGE: (said.features, said.gradients)}
    grey = images.astype(np.float32) / 255
    for stage, side in ((3, 4), (4, 8), (5, 16)):
        cells = grey.reshape(2, SIZE // side, side, SIZE // side, side).mean(axis=(2, 4))
        np.testing.assert_allclose(maps[stage][0], np.stack([cells] * 3, axis=1), atol=1e-5)
        # Maps times their weights sum to the logit: the network is linear in them.
        evidence = np.einsum("bkm,bmrc->bk", maps[stage][1], maps[stage][0])
        np.testing.assert_allclose(evidence, said.logits, atol=1e-4)


def test_no_slice_no_answer(model: Model) -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        model.study(study(0))


def test_a_bundle_is_what_it_was_saved_as(folder: Path) -> None:
    found = load(folder)
    assert set(found.files) == {"model.onnx", "maxpool.onnx", "maxpool-weighted.onnx", "ensemble.onnx"}
    assert found.preprocess == PREPROCESS
    assert found.patient is not None
    assert found.patient.decides == "ensemble"


def changed(folder: Path, **values: object) -> Path:
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema_version": "9.0"}, "schema_version"),
        ({"patient": {"votes": ["maxpool", "lost"], "decides": "lost"}}, r"lost\.onnx"),
        ({"patient": {"votes": ["maxpool"], "decides": "oracle"}}, "oracle"),
        ({"patient": {"votes": ["maxpool"], "decides": "ensemble", "ensemble": ["lost"]}}, "missing: lost"),
        ({"calibration": {"temperature": 0}}, "temperature"),
        ({"preprocess": {"depth": 3}}, "not a valid bundle"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, values: dict[str, object], said: str
) -> None:
    tiny_study_bundle(tmp_path)
    with pytest.raises(BundleError, match=said):
        load(changed(tmp_path, **values))


def test_a_changed_network_is_refused(tmp_path: Path) -> None:
    tiny_study_bundle(tmp_path)
    with (tmp_path / "ensemble.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(BundleError, match=r"ensemble\.onnx: its sha256 differs"):
        load(tmp_path)
