"""The model that comes with the package, from file to diagnosis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmoscope import diagnose
from pulmoscope.io import entries, read_pixels, studies
from pulmoscope.io.studies import paths
from pulmoscope.phantoms.xray.draw import xray_phantom
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Run
from pulmoscope.runtime.bundle import built_in, load
from pulmoscope.runtime.model import Model
from radiographs import dicom_bytes, dicom_dataset, encoded
from slices import slice_hu, windowed

CUT, FLIPPED, EMPTY, HUGE = range(4)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load("xray-covid")


def phantom(seed: int, finding: str = "Normal") -> np.ndarray:
    return np.rint(xray_phantom(seed, finding, 256) * 255).astype(np.uint8)


def test_it_is_whole_small_and_says_whose_terms_it_is_under() -> None:
    bundle = load("xray-covid")
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 8 * 2**20
    card = (bundle.folder / "MODEL_CARD.md").read_text()
    assert "Terms: research use only" in card
    assert {"val", "test", "left-out"} <= set(bundle.metrics)
    assert {"xray-covid", "xray-covid-1.2", "ct-slice-covid"} <= set(built_in())


def test_the_slice_model_is_whole_small_and_does_not_see_what_lies_beside_the_lungs() -> None:
    model = Model.load("ct-slice-covid")
    folder = model.bundle.folder
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8 * 2**20
    assert "Terms: research use only" in (folder / "MODEL_CARD.md").read_text()
    assert {"val", "test", "sars", "ucsd"} <= set(model.bundle.metrics)
    plain = windowed(slice_hu(lesion=True), -600, 1500)
    marked = np.pad(plain, 7, constant_values=1.0)
    marked[10:24, 10:14] = 1.0  # a letter beside the body
    prepared = [model.prepare(picture) for picture in (plain, marked)]
    assert all(own.framed.lungs_found for own in prepared)
    answers = model.predict(np.stack([own.tensor for own in prepared])).probabilities
    np.testing.assert_allclose(answers[0], answers[1], atol=0.02)


def test_a_film_is_the_same_in_every_format(model: Model, tmp_path: Path) -> None:
    film = phantom(3, "COVID")
    negative = dicom_dataset(255 - film, PhotometricInterpretation="MONOCHROME1")
    files = {
        "film.png": encoded(film, "PNG"),
        "film.tif": encoded(film, "TIFF"),
        "film.dcm": dicom_bytes(dicom_dataset(film)),
        "negative.dcm": dicom_bytes(negative),
    }
    answers = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        answers.append(diagnose(tmp_path / name, model).prediction.probabilities)
    for other in answers[1:]:
        assert other == pytest.approx(answers[0], abs=0.02)


def test_what_shows_no_lungs_is_referred(model: Model, tmp_path: Path) -> None:
    grain = np.random.default_rng(5).integers(0, 256, (300, 300)).astype(np.uint8)
    film = phantom(4)
    film[28:228, 28:228] = 0
    for name, image in {"grain.png": grain, "black.png": film}.items():
        (tmp_path / name).write_bytes(encoded(image, "PNG"))
        assert diagnose(tmp_path / name, model).prediction.decision == "refer"


def damaged(content: bytes, how: int, rng: np.random.Generator) -> bytes:
    if how == EMPTY:
        return b""
    if how == CUT:
        return content[: int(rng.integers(1, len(content) - 64))]
    if how == HUGE:
        return content[:16] + b"\xff" * 8 + content[24:]
    broken = bytearray(content)
    for place in rng.integers(0, len(content), int(rng.integers(1, 20))):
        broken[place] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def check(films: dict[str, bytes], model: Model, folder: Path) -> None:
    """200 damaged variants: each is refused in one line, referred, or was read to much the same film."""
    rng = np.random.default_rng(2020)
    origins: dict[str, np.ndarray] = {}
    for name, content in films.items():
        (folder / name).write_bytes(content)
        origins[name] = read_pixels(folder / name)
        (folder / name).unlink()
    whose = {}
    for number in range(200):
        name = list(films)[number % len(films)]
        suffix = (
            Path(name).suffix if number % 5 else ".jpg"
        )  # every fifth has the wrong one, or by chance its own
        path = folder / f"{number:03}{suffix}"
        path.write_bytes(damaged(films[name], number // len(films) % 4, rng))
        whose[str(path)] = name
    refused = 0
    listed = list(entries([folder]))
    job = Run(Models.only(model), folder.parent / "out", reports="none")
    for outcome in diagnose_many(studies(listed), job, paths(listed)):
        if outcome.error is not None:
            refused += 1
            assert "\n" not in str(outcome.error)
            assert "Traceback" not in str(outcome.error)
            continue
        assert outcome.plain is not None
        if outcome.plain["prediction"]["decision"] == "report":
            film, origin = read_pixels(Path(outcome.path)), origins[whose[outcome.path]]
            assert film.shape == origin.shape
            assert np.corrcoef(film.ravel(), origin.ravel())[0, 1] > 0.85
    assert refused >= 100


def test_200_damaged_phantoms_give_no_diagnosis_of_rubbish(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    films = {
        "a.png": encoded(phantom(11, "COVID"), "PNG"),
        "b.jpg": encoded(phantom(12), "JPEG", quality=92),
        "c.tif": encoded(phantom(13), "TIFF"),
        "d.dcm": dicom_bytes(dicom_dataset(phantom(14))),
    }
    check(films, model, tmp_path / "in")


def test_200_damaged_real_films_give_no_diagnosis_of_rubbish(
    model: Model, tmp_path: Path, shared: Path
) -> None:
    (tmp_path / "in").mkdir()
    pictures = sorted((shared / "data/xray4").glob("*/images/*-0010.jpg"))
    radiographs = sorted((shared / "data/xray_dicom").rglob("*.dcm"))
    films = {
        f"{number}{path.suffix}": path.read_bytes()
        for number, path in enumerate((*pictures, *radiographs[:2]))
    }
    check(films, model, tmp_path / "in")
