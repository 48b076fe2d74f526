"""Audits of a model that is known to look at brightness: within the lungs' place, or in a corner."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.pipeline.audit.run import PARTS, audit
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.runtime.model import Model

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "audit.schema.json"
CODES = [
    "clean",
    "blackout",
    "lungs_grey",
    "lungs_noise",
    "lungs_only",
    "centre_grey",
    "centre_noise",
    "centre_blurred",
    "border_removed",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tiny_bundle(tmp_path_factory.mktemp("bundle"), gain=10))


def draw(root: Path, where: tuple[slice, slice]) -> SampleTable:
    """Six images that differ only in a patch of the upper left quadrant, which is bright in COVID."""
    samples = []
    for number in range(6):
        label = "COVID" if number < 3 else "Normal"
        image = np.tile(np.linspace(60, 120, 96), (96, 1))
        image[where] = (220 if label == "COVID" else 40) + number
        cv2.imwrite(str(root / f"{number}.png"), image.astype(np.uint8))
        samples.append(Sample(f"{number}.png", label, "test"))
    cv2.imwrite(str(root / "x.png"), image.astype(np.uint8))
    return SampleTable(root, "manifest", (*samples, Sample("x.png", "Pneumonia", "test")))


def test_a_model_that_reads_the_centre(model: Model, tmp_path: Path) -> None:
    table = draw(tmp_path, (slice(20, 40), slice(20, 40)))
    seen: list[tuple[int, int]] = []
    found = audit(model, table, tmp_path / "out", bootstrap=100, progress=lambda *at: seen.append(at))
    assert json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8")) == found
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    results = {result["code"]: result for result in found["parts"]["erasure"]["results"]}
    assert list(results) == CODES
    assert results["clean"]["auroc"]["value"] == 1
    for code in ("blackout", "centre_grey", "centre_noise"):
        # Nothing is left that differs: all images tie.
        assert results[code]["auroc"]["value"] == 0.5
        assert results[code]["verdict"] == "good"
    assert results["border_removed"]["auroc"]["value"] == 1
    assert results["border_removed"]["verdict"] == "good"
    network = (model.bundle.folder / "model.onnx").read_bytes()
    assert found["model"]["weights_sha256"] == hashlib.sha256(network).hexdigest()
    assert found["parts"]["erasure"]["auroc"] == "COVID against Normal"
    assert found["data"]["images"] == 6
    assert seen == [(done, len(PARTS)) for done in range(len(PARTS))]


def test_a_model_that_reads_a_mark_in_the_corner(model: Model, tmp_path: Path) -> None:
    table = draw(tmp_path, (slice(0, 9), slice(0, 40)))
    found = audit(model, table, tmp_path / "out", bootstrap=100)
    results = {result["code"]: result for result in found["parts"]["erasure"]["results"]}
    for code in ("blackout", "centre_grey", "centre_noise"):
        assert results[code]["auroc"]["value"] == 1
        assert results[code]["verdict"] == "bad"
        assert results[code]["says"] == "reads the surroundings"
    assert results["border_removed"]["auroc"]["value"] == 0.5
    assert results["border_removed"]["verdict"] == "bad"


def test_a_frame_around_the_lungs_hides_nothing_that_is_kept_in_it(tmp_path: Path) -> None:
    """A mark between lungs and border: the finder, asked first, frames it; that the centre is black hides no mark."""
    model = Model(tiny_bundle(tmp_path / "bundle", gain=10, preprocess=lung_preprocess()))
    samples = []
    for number in range(6):
        label = "COVID" if number < 3 else "Normal"
        film = np.full((96, 96), 200 + number, dtype=np.uint8)
        film[10:86, 5:40] = film[10:86, 56:91] = 40
        film[5:10, 10:30] = 255 if label == "COVID" else 180
        cv2.imwrite(str(tmp_path / f"{number}.png"), film)
        samples.append(Sample(f"{number}.png", label, "test"))
    found = audit(model, SampleTable(tmp_path, "manifest", tuple(samples)), tmp_path / "out", bootstrap=0)
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    results = {result["code"]: result for result in found["parts"]["erasure"]["results"]}
    assert list(results) == [*CODES[:2], "blackout_framed", *CODES[2:]]
    assert results["blackout_framed"]["auroc"]["value"] == 1
    assert results["blackout_framed"]["verdict"] == "bad"
    for code in ("blackout", "centre_grey", "centre_noise"):
        assert results[code]["says"] == "for comparison: the model may find no lungs"


def test_lungs_are_erased_where_they_are_and_the_figures_are_told_per_hospital(tmp_path: Path) -> None:
    """What differs lies in a lung, so that nothing is told apart without the lungs, and all with them alone."""
    model = Model(tiny_bundle(tmp_path / "bundle", gain=10, preprocess=lung_preprocess()))
    samples = []
    for number in range(24):
        label, hospital = ("COVID", "Normal")[number % 2], ("here", "there")[number >= 21]
        film = np.full((96, 96), 200, dtype=np.uint8)
        film[10:86, 5:40] = film[10:86, 56:91] = 40
        film[20:34, 10:30] = (100 if label == "COVID" else 50) + number // 4
        cv2.imwrite(str(tmp_path / f"{number}.png"), film)
        samples.append(Sample(f"{number}.png", label, "test", source=hospital))
    found = audit(model, SampleTable(tmp_path, "manifest", tuple(samples)), tmp_path / "out", bootstrap=0)
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(found))
    results = {result["code"]: result for result in found["parts"]["erasure"]["results"]}
    values = {code: result["auroc"]["value"] for code, result in results.items()}
    assert values["clean"] == values["lungs_only"] == 1
    assert values["lungs_grey"] == values["lungs_noise"] == 0.5
    assert {code: results[code]["verdict"] for code in ("lungs_grey", "lungs_only")} == {
        "lungs_grey": "good",
        "lungs_only": "good",
    }
    # 11 and 10 images here, 3 there: too few for a figure
    assert {hospital: auroc["value"] for hospital, auroc in results["lungs_grey"]["within"].items()} == {
        "here": 0.5
    }


def test_framed_takes_the_lungs_of_the_image_as_it_was(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path / "bundle", gain=10, preprocess=lung_preprocess()))
    film = np.full((96, 96), 200, dtype=np.uint8)
    film[10:80, 5:30] = film[10:80, 40:65] = 40
    film[:, 80:] = 255
    cv2.imwrite(str(tmp_path / "a.png"), film)
    table = SampleTable(tmp_path, "manifest", (Sample("a.png", "COVID", "test"),))
    pixels = read_pixels(tmp_path / "a.png")
    mirrored = np.ascontiguousarray(pixels[:, ::-1])

    def turn(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[:, ::-1])

    framed = predict_table(model, table, turn, framed=True)[0].logits
    sought = predict_table(model, table, turn)[0].logits
    expected = model.predict(model.prepare(mirrored, model.lung_map(pixels)).tensor[None]).logits
    np.testing.assert_allclose(framed, expected, rtol=1e-6)
    assert np.abs(framed - sought).max() > 0.1


def test_page_and_predictions(model: Model, tmp_path: Path) -> None:
    table = draw(tmp_path, (slice(20, 40), slice(20, 40)))
    out = tmp_path / "out"
    audit(model, table, out, split="test", bootstrap=10)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://", page)
    assert all(address.startswith("data:") for address in re.findall(r'src="([^"]*)"', page))
    assert page.count("data:image/jpeg") >= 2 * len(CODES)
    assert "the surroundings say next to nothing" in page
    for code in CODES:
        with (out / f"predictions-{code}.csv").open(encoding="utf-8", newline="") as stream:
            assert [row["file"] for row in csv.DictReader(stream)] == [f"{n}.png" for n in range(6)]
    with pytest.raises(OutputExistsError):
        audit(model, table, out)


def test_a_file_that_can_not_be_read_is_named_once(model: Model, tmp_path: Path) -> None:
    table = draw(tmp_path, (slice(20, 40), slice(20, 40)))
    (tmp_path / "5.png").write_bytes(b"no image")
    found = audit(model, table, tmp_path / "out", bootstrap=0)
    assert [failure["file"] for failure in found["data"]["failures"]] == ["5.png"]
    assert (found["data"]["images"], found["data"]["predicted"]) == (6, 5)


def test_unknown_labels_are_an_error(model: Model, tmp_path: Path) -> None:
    table = draw(tmp_path, (slice(20, 40), slice(20, 40)))
    strange = SampleTable(table.root, "manifest", table.samples[-1:])
    with pytest.raises(DatasetError, match="Pneumonia"):
        audit(model, strange, tmp_path / "out")
