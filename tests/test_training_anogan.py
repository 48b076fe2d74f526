from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from discs import discs
from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.core.types import FloatArray
from pulmoscope.recipes.gan_specs import AnoGanSettings
from pulmoscope.training.anogan.fit import AnoGan, fit_anogan
from pulmoscope.training.progress import Reporter

CPU = torch.device("cpu")
TINY = AnoGanSettings(latent=6, width=4, epochs=6, encoder_epochs=6, batches=2, batch_size=4)


def weights(anogan: AnoGan) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value
        for part in ("generator", "discriminator", "encoder")
        for name, value in getattr(anogan, part).state_dict().items()
    }


class StoppedError(Exception):
    pass


class Stopping(Reporter):
    """Ends the training as a kill would, when it tells of this epoch."""

    def __init__(self, at: str) -> None:
        super().__init__()
        object.__setattr__(self, "at", at)

    def line(self, text: str) -> None:
        if text.startswith(self.at):  # type: ignore[attr-defined]
            raise StoppedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnoGan, Path]:
    """Trained at a stretch, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return fit_anogan(discs(9), TINY, folder, CPU, Reporter()), folder


@pytest.mark.parametrize("at", ["gan 3/6", "gan 6/6", "encoder 6/6"])
def test_it_goes_on_to_the_same_weights(whole: tuple[AnoGan, Path], tmp_path: Path, at: str) -> None:
    with pytest.raises(StoppedError):
        fit_anogan(discs(9), TINY, tmp_path, CPU, Stopping(at))
    parts = fit_anogan(discs(9), TINY, tmp_path, CPU, Reporter())
    expected, found = weights(whole[0]), weights(parts)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_what_lies_in_the_folder(whole: tuple[AnoGan, Path]) -> None:
    anogan, folder = whole
    assert anogan.size == 32
    assert not anogan.generator.training
    assert not any(weight.requires_grad for weight in anogan.network().parameters())
    with (folder / "gan.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert all(0 < float(row["real_taken_for_real"]) < 1 for row in rows)
    with (folder / "encoder.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 6
    for name, slices in (("drawn-006.png", 8), ("rebuilt-006.png", 8)):
        sheet = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        assert sheet.shape[1] == slices * (32 + 2) + 2
        assert len(np.unique(sheet)) > 5


def test_a_finished_folder_is_read_not_trained_again(tmp_path: Path) -> None:
    images = discs(9)
    first = fit_anogan(images, TINY, tmp_path, CPU, Reporter())
    again = fit_anogan(images, TINY, tmp_path, CPU, Stopping(""))
    assert all(torch.equal(value, weights(first)[name]) for name, value in weights(again).items())
    asked = fit_anogan(images, replace(TINY, steps=3, weight=0.5), tmp_path, CPU, Stopping(""))
    assert asked.settings.steps == 3


def test_larger_slices_are_averaged_first(whole: tuple[AnoGan, Path], tmp_path: Path) -> None:
    images = discs(9)
    large = np.kron(
        images, np.ones((1, 2, 2), dtype=np.float32)
    )  # the mean of each square is the pixel again
    small, found = whole[0], fit_anogan(large, TINY, tmp_path, CPU, Reporter())
    assert (found.size, found.factor) == (64, 2)
    assert all(torch.equal(value, weights(small)[name]) for name, value in weights(found).items())


def test_other_slices_or_settings_are_refused(whole: tuple[AnoGan, Path]) -> None:
    with pytest.raises(RecipeError, match="other settings"):
        fit_anogan(discs(9), replace(TINY, width=5), whole[1], CPU, Reporter())
    with pytest.raises(RecipeError, match="other sha256"):
        fit_anogan(discs(9, seed=1), TINY, whole[1], CPU, Reporter())


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (discs(1), r"at least 2 normal slices are needed \(found: 1\)"),
        (discs(3).astype(np.float64), "found: float64"),
        (discs(3)[:, :31], r"size a multiple of 32 \(found: float32 \(3, 31, 32\)\)"),
        (discs(3)[:, :16, :16], r"\(3, 16, 16\)"),
        (2 * discs(3), r"values in \[0, 1\] \(found: 0.4 to 1.6\)"),
        (discs(3)[0], r"\(32, 32\)"),
    ],
)
def test_other_slices_are_refused(tmp_path: Path, images: FloatArray, told: str) -> None:
    with pytest.raises(DatasetError, match=told):
        fit_anogan(images, TINY, tmp_path, CPU, Reporter())


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="NaN in epoch"):
        fit_anogan(discs(9), replace(TINY, learning_rate=1e38), tmp_path, CPU, Reporter())
