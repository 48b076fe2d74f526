from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pulmoscope.core.errors import BundleError
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.model import BATCH, Model
from pulmoscope.runtime.votes import with_densities
from severity_bundles import ATTENTION, CLASSES, OFFSETS, REGRESSION, SIZE, SLOPES, tiny_severity_bundle


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def slices(*greys: float) -> np.ndarray:
    return np.stack([np.full((SIZE, SIZE), grey, np.float32) for grey in greys])


def test_a_study_is_graded_slice_by_slice_and_by_every_vote(tmp_path: Path) -> None:
    tiny_severity_bundle(tmp_path)
    greys = (0.05, 0.15, 0.15, 0.15, 0.4)
    said = Model.load(tmp_path).study(slices(*greys))
    expected = np.stack([softmax(grey * SLOPES[0] + OFFSETS) for grey in greys])
    assert said.slices == pytest.approx(expected, abs=1e-4)
    assert CLASSES[int(said.patient.votes["majority"].argmax())] == "CT-1"
    assert said.patient.votes["mean"] == pytest.approx(expected.mean(axis=0), abs=1e-4)
    assert said.patient.votes["attention"] == pytest.approx(softmax(np.mean(greys) * ATTENTION[0]), abs=1e-4)
    assert said.patient.votes["regression"] == pytest.approx(softmax(0.8 * REGRESSION[0]), abs=1e-4)
    assert said.vectors[:, 0] == pytest.approx(greys, abs=1e-5)


def test_a_vector_is_the_mean_of_each_map_and_how_much_is_how_dense() -> None:
    features = np.arange(8, dtype=np.float32).reshape(2, 2, 1, 2)
    images = np.zeros((2, 2, 4), dtype=np.float32)
    # Of five pixels that are shown, five are above 1/12, four above 2/12, … two above 6/12, one above 7/12 to 11/12.
    images[0].flat[:5] = [0.1, 0.2, 0.4, 0.55, 1]
    found = with_densities(features, images)
    shares = [1, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2]
    assert found[0] == pytest.approx([0.5, 2.5, *shares])
    assert found[1] == pytest.approx([4.5, 6.5, *[0] * 11])  # all black: nothing is dense
    assert found.dtype == np.float32


def test_a_study_is_the_same_in_one_batch_or_several(tmp_path: Path) -> None:
    tiny_severity_bundle(tmp_path)
    model = Model.load(tmp_path)
    images = np.random.default_rng(1).random((2 * BATCH + 3, SIZE, SIZE), dtype=np.float32)
    whole = model.study(images)
    parts = np.concatenate([model.slices(images[i : i + 1])[0] for i in range(len(images))])
    assert whole.slices == pytest.approx(parts, abs=1e-6)


def test_it_is_known_by_its_manifest(tmp_path: Path) -> None:
    bundle = tiny_severity_bundle(tmp_path, anomalous_from=0.2)
    assert load(tmp_path) == bundle
    assert set(bundle.files) == {"model.onnx", "attention.onnx", "regression.onnx", "anomaly.onnx"}
    assert Model.load(tmp_path).identity["name"] == "tiny-severity"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("patient", {"votes": ["mean"], "decides": "oracle"}, "oracle"),
        ("imputer", "misgan", r"files must name imputer\.onnx"),
        ("preprocess", {"type": "oracle", "size": 32}, "oracle"),
        ("preprocess", {"type": "ct-standard", "size": 32, "colour": 1}, "is not a valid bundle"),
        (
            "preprocess",
            {"type": "ct-standard", "size": 32, "region": "lungs"},
            "outside, margin, slice_mm, hu_low, hu_high, least_lung, mean, std",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, name: str, value: object, says: str
) -> None:
    tiny_severity_bundle(tmp_path)
    manifest = tmp_path / "bundle.json"
    plain = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(plain | {name: value}), encoding="utf-8")
    with pytest.raises(BundleError, match=says):
        load(tmp_path)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    tiny_severity_bundle(tmp_path)
    (tmp_path / "attention.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match="sha256 differs"):
        load(tmp_path)
