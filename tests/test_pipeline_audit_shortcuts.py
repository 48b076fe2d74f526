"""Shortcuts that are planted in simulated radiographs: found and named where a model has learnt them, else not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bundles import tiny_bundle
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.phantoms.xray.draw import draw_xray
from pulmoscope.pipeline.audit import shortcuts
from pulmoscope.pipeline.audit.subject import Subject
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.runtime.model import Model

SIZE, CELLS, TRAIN, TEST = 160, 16, 60, 30
Plant = Callable[[FloatArray], None]


def marker(image: FloatArray) -> None:
    image[8:32, 8:34] = 0.95


def marker_below(image: FloatArray) -> None:
    image[-30:-8, -32:-8] = 0.95


def letter(image: FloatArray) -> None:
    drawn = np.zeros(image.shape, dtype=np.uint8)
    cv2.putText(drawn, "R", (4, 96), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    np.maximum(image, drawn.astype(np.float32) / 255, out=image)


def border(image: FloatArray) -> None:
    image[:6] = image[-6:] = 0.8
    image[:, :6] = image[:, -6:] = 0.8


def nothing(image: FloatArray) -> None:
    """Leave it as it is."""


@cache
def chest(seed: int, *, ill: bool) -> FloatArray:
    return draw_xray(seed, "COVID" if ill else "Normal", SIZE).image


def images(plant: Plant, first: int, count: int) -> tuple[list[FloatArray], np.ndarray]:
    """Half of them ill; the ill ones have what is planted."""
    drawn = [chest(seed, ill=seed % 2 == 0).copy() for seed in range(first, first + count)]
    for image in drawn[::2]:
        plant(image)
    return drawn, np.arange(count) % 2 == 0


def cells(drawn: list[FloatArray]) -> np.ndarray:
    small = [cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for image in drawn]
    return np.stack(small).reshape(len(drawn), -1)


def trained(folder: Path, plant: Plant, only: np.ndarray | None = None) -> Model:
    """A model with one weight a cell of the image, learnt from simulated radiographs.

    Args:
        only: bool (CELLS, CELLS), the cells that it sees; None: all.
    """
    drawn, ill = images(plant, 1000, TRAIN)
    seen = np.ones(CELLS**2) if only is None else only.ravel().astype(float)
    fit = LogisticRegression(C=100, max_iter=2000).fit((cells(drawn) - 0.5) * seen, ill)
    pattern = (fit.coef_[0] * seen).reshape(CELLS, CELLS)
    return Model(tiny_bundle(folder, gain=CELLS**2, pattern=np.stack([pattern, np.zeros_like(pattern)])))


def written(root: Path, plant: Plant) -> SampleTable:
    drawn, ill = images(plant, 0, TEST * 2)
    samples = []
    for number, image in enumerate(drawn):
        cv2.imwrite(str(root / f"{number}.png"), np.rint(image * 255).astype(np.uint8))
        label = "COVID" if ill[number] else "Normal"
        samples.append(Sample(f"{number}.png", label, "test", f"p{number}", "phantom"))
    return SampleTable(root, "manifest", tuple(samples))


def codes(model: Model, table: SampleTable, out: Path) -> dict[str, str]:
    answers, _ = predict_table(model, table)
    found = shortcuts.found(Subject(model, table, out, answers))
    assert found is not None
    return {verdict["code"]: verdict["level"] for verdict in found["verdicts"]}


@pytest.mark.parametrize(
    ("plant", "code"),
    [
        (marker, "corner-top-left"),
        (marker_below, "corner-bottom-right"),
        (letter, "letters"),
        (border, "border"),
    ],
)
def test_what_is_planted_is_found_and_named(tmp_path: Path, plant: Plant, code: str) -> None:
    model = trained(tmp_path / "model", plant)
    found = codes(model, written(tmp_path, plant), tmp_path / "out")
    assert found == {code: "bad"}


def test_without_it_the_audit_is_quiet(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", nothing)
    assert codes(model, written(tmp_path, nothing), tmp_path / "out") == {"shortcuts": "good"}


@pytest.mark.parametrize(
    ("plant", "code"), [(marker, "corner-top-left"), (letter, "letters"), (border, "border")]
)
def test_a_model_that_ignores_it_is_not_blamed_but_the_data_are(
    tmp_path: Path, plant: Plant, code: str
) -> None:
    inner = np.zeros((CELLS, CELLS), dtype=bool)
    inner[4:12, 4:12] = True
    model = trained(tmp_path / "model", plant, inner)
    found = codes(model, written(tmp_path, plant), tmp_path / "out")
    assert found == {"shortcuts": "good", f"data-{code}": "doubtful"}
