"""Predictions of a table: by hand from quadrants, tied to their files, in constant memory."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

import drawn
from bundles import quadrants, tiny_bundle
from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.predict import predict_table, write_predictions
from pulmoscope.runtime.model import Model

GAIN = 40.0
SIZE = 96


def draw(path: Path, brightness: tuple[float, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.rint(quadrants(brightness, SIZE) * 255).astype(np.uint8))


def table_of(root: Path, samples: list[Sample]) -> SampleTable:
    return SampleTable(root, "test", tuple(samples))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tiny_bundle(tmp_path_factory.mktemp("bundle"), gain=GAIN))


def test_every_row_belongs_to_its_file(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    levels = {f"{number:03}.png": tuple(rng.integers(20, 235, 2) / 255) for number in range(90)}
    samples = []
    for name in rng.permutation(list(levels)):
        draw(tmp_path / name, levels[name])
        samples.append(
            Sample(str(name), f"label of {name}", patient=f"patient of {name}", source=f"from {name}")
        )
    (tmp_path / "rubbish.png").write_bytes(b"no image")
    samples.insert(40, Sample("rubbish.png", "x"))
    samples.insert(70, Sample("absent.png", "x"))
    seen: list[tuple[int, int]] = []

    found, failures = predict_table(model, table_of(tmp_path, samples), progress=lambda *at: seen.append(at))

    assert {failure.file for failure in failures} == {"rubbish.png", "absent.png"}
    assert all(failure.reason and str(tmp_path) not in failure.reason for failure in failures)
    assert found.files == tuple(s.file for s in samples if s.file in levels)
    assert found.labels == tuple(f"label of {name}" for name in found.files)
    assert found.patients == tuple(f"patient of {name}" for name in found.files)
    assert found.sources == tuple(f"from {name}" for name in found.files)
    first, second = np.array([levels[name] for name in found.files]).T
    expected = 1 / (1 + np.exp(-GAIN / 4 * (first - second)))
    np.testing.assert_allclose(found.probabilities[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, GAIN / 4 * np.stack([first, second], axis=1), atol=1e-2)
    assert seen == [(done, 92) for done in (16, 32, 48, 64, 80, 92)]


def test_transform_sees_the_raw_image(model: Model, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (0.8, 0.2))
    shapes = []

    def mirrored(pixels: FloatArray) -> FloatArray:
        shapes.append((pixels.shape, pixels.dtype))
        return np.ascontiguousarray(pixels[:, ::-1])

    table = table_of(tmp_path, [Sample("a.png", "COVID")])
    plain, _ = predict_table(model, table)
    turned, _ = predict_table(model, table, mirrored)
    assert shapes == [((SIZE, SIZE), np.float32)]
    assert (plain.predicted, turned.predicted) == (("COVID",), ("Normal",))


def test_memory_is_bounded(model: Model, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (0.8, 0.2))
    prepared = 0
    at_first_batch: list[int] = []

    def counting(pixels: FloatArray) -> FloatArray:
        nonlocal prepared
        prepared += 1
        return pixels

    table = table_of(tmp_path, [Sample("a.png", "COVID")] * 300)
    predict_table(model, table, counting, lambda done, total: at_first_batch.append(prepared))
    assert at_first_batch[0] <= 80 < 300
    assert prepared == 300


def test_nothing_readable_is_an_error(model: Model, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image could be read"):
        predict_table(model, table_of(tmp_path, [Sample("absent.png", "COVID")]))


def test_predictions_file_holds_everything(model: Model, tmp_path: Path) -> None:
    samples = []
    for number, name in enumerate(["with, comma.png", "ümlaut.png", "sub/plain.png"]):
        draw(tmp_path / name, (0.2 + 0.3 * number, 0.4))
        samples.append(Sample(name, "COVID", patient=f"p{number}", source="here"))
    found, _ = predict_table(model, table_of(tmp_path, samples))
    write_predictions(tmp_path / "predictions.csv", found)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "file",
        "patient",
        "source",
        "label",
        "predicted",
        "p_COVID",
        "p_Normal",
        "decision",
        "hospital",
    ]
    assert [row["file"] for row in rows] == [sample.file for sample in samples]
    assert [row["predicted"] for row in rows] == ["Normal", "COVID", "COVID"]
    shares = np.array([[row["p_COVID"], row["p_Normal"]] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(shares, found.probabilities.astype(np.float32))
    assert [row["decision"] for row in rows] == list(found.decisions)
    assert [row["hospital"] for row in rows] == ["here", "here", "here"]


def test_decisions_are_those_of_a_diagnosis(tmp_path: Path) -> None:
    careful = Model(tiny_bundle(tmp_path / "bundle", gain=GAIN, confidence=0.54))
    rng = np.random.default_rng(1)
    # A drawn film's upper left quadrant is brighter with this mark, so it is surer; in the dark nothing can be judged.
    marked, plain = (drawn.film(label, rng, 256) for label in ("Tuberculosis", "Normal"))
    for name, image in (("sure", marked), ("unsure", plain), ("dark", marked * 0.2)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.rint(image * 255).astype(np.uint8))
    samples = [Sample(f"{name}.png", "COVID") for name in ("sure", "unsure", "dark")]
    found, _ = predict_table(careful, table_of(tmp_path, samples))
    assert found.decisions == ("report", "refer", "refer")
    diagnoses = [diagnose(tmp_path / sample.file, careful, explain=False) for sample in samples]
    assert found.decisions == tuple(own.prediction.decision.value for own in diagnoses)


SEEN = {"frontal": 8, "child": 2}
"""What a view network says of a class's images, children among them."""


@pytest.mark.parametrize(
    ("mean", "learnt", "decision", "code"),
    [
        (0.3, {}, "report", None),
        (0.8, {}, "refer", "not-frontal"),
        (0.1, {}, "refer", "looks-like-child"),
        (0.1, {"COVID": SEEN}, "refer", "looks-like-child"),
        (0.1, {"COVID": SEEN, "Normal": SEEN}, "report", "looks-like-child"),
    ],
    ids=["frontal", "ct", "child", "child of one class", "known child"],
)
def test_what_a_picture_shows_decides_alike_alone_and_in_a_table(
    mean: float, learnt: dict[str, dict[str, int]], decision: str, code: str | None, tmp_path: Path
) -> None:
    """The view network of a tiny bundle goes by how much of the picture is bright."""
    bundle = tiny_bundle(tmp_path / "bundle", view=True, confidence=0.0, training_data={"views": learnt})
    model = Model(bundle)
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[:, : round(mean * SIZE)] = 240
    cv2.imwrite(str(tmp_path / "picture.png"), pixels)
    found, _ = predict_table(model, table_of(tmp_path, [Sample("picture.png", "COVID")]))
    alone = diagnose(tmp_path / "picture.png", model, explain=False)
    assert found.decisions == (alone.prediction.decision.value,) == (decision,)
    codes = {flag.code for flag in alone.quality.flags} - {"low-resolution"}
    assert codes == ({code} if code else set())
