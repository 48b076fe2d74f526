from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import Imputer
from pulmoscope.quality.imputation import NetworkImputer, impute, imputer
from pulmoscope.recipes.gan_specs import MisGanSettings
from pulmoscope.training.misgan import fit as training
from pulmoscope.training.misgan.export import Filling
from pulmoscope.training.misgan.fit import MisGan, fit_misgan
from pulmoscope.training.progress import Reporter

CPU = torch.device("cpu")
SIDE = 32
TINY = MisGanSettings(
    latent=6,
    width=2,
    imputer_width=4,
    batch=4,
    critic_steps=2,
    steps=3,
    imputing_steps=4,
    adversarial_every=2,
    seed=5,
)


def stripes(count: int, seed: int) -> tuple[FloatArray, npt.NDArray[np.bool_], list[int]]:
    """Studies of four slices with level stripes: a hole's rows say what is in it, its neighbours do not."""
    rng = np.random.default_rng(seed)
    rows = cv2.resize(rng.random((4 * count, 6), dtype=np.float32), (SIDE, 4 * count)).clip(0, 1)
    images = np.repeat(rows[:, :, None], SIDE, axis=2)
    missing = np.zeros(images.shape, dtype=np.bool_)
    for one in missing[::2]:
        top, left = rng.integers(0, SIDE - 8, 2)
        one[top : top + 8, left : left + 4] = True
    return images, missing, [index // 4 for index in range(4 * count)]


def fit(folder: Path, settings: MisGanSettings = TINY, reporter: Reporter | None = None) -> MisGan:
    images, missing, study = stripes(3, 0)
    return fit_misgan(
        np.where(missing, 0, images), missing, study, settings, folder, CPU, reporter or Reporter()
    )


class Direct:
    """The trained imputer itself in the place of its file."""

    inputs = ("slices", "observed")

    def __init__(self, network: Imputer) -> None:
        self.filling = Filling(network)

    def __call__(self, *batches: FloatArray) -> dict[str, FloatArray]:
        with torch.no_grad():
            return {"filled": self.filling(*map(torch.from_numpy, batches)).numpy()}


class StoppedError(Exception):
    pass


class Stopping(Reporter):
    """Ends the training as a kill would, when it tells of this step."""

    def __init__(self, at: str) -> None:
        super().__init__()
        object.__setattr__(self, "at", at)

    def line(self, text: str) -> None:
        if text.startswith(self.at):  # type: ignore[attr-defined]
            raise StoppedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> MisGan:
    """Trained at a stretch, its state saved every other step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "INTERVAL", 2)
        return fit(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "at", ["misgan generate 1/2", "misgan generate 2/2", "misgan impute 1/2", "misgan impute 2/2"]
)
def test_it_goes_on_to_the_same_weights(
    whole: MisGan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(training, "INTERVAL", 2)
    with pytest.raises(StoppedError):
        fit(tmp_path, reporter=Stopping(at))
    parts = fit(tmp_path)
    for name in ("data", "masks", "imputer"):
        expected, found = getattr(whole, name).state_dict(), getattr(parts, name).state_dict()
        assert all(torch.equal(expected[key], found[key]) for key in expected), name
    assert [row["step"] for row in parts.rows] == [2, 3, 2, 4]


def test_what_lies_in_the_folder(tmp_path: Path) -> None:
    misgan = fit(tmp_path)
    with (tmp_path / "curves.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["stage"], row["step"]) for row in rows] == [("generate", "3"), ("impute", "4")]
    assert rows[0]["reconstruction"] == rows[0]["imputer_distance"] == ""
    assert float(rows[1]["reconstruction"]) > 0
    assert len(misgan.rows) == 2
    for name, lines in (("generated.png", 4), ("imputed.png", 5)):
        sheet = cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE)
        assert sheet is not None
        assert sheet.shape == (lines * (SIDE + 2) + 2, 10 * (SIDE + 2) + 2)
        assert sheet.std() > 10


def test_other_settings_or_a_foreign_file_are_refused(tmp_path: Path) -> None:
    fit(tmp_path)
    with pytest.raises(RecipeError, match=r"misgan\.json: training began with other settings"):
        fit(tmp_path, replace(TINY, seed=6))
    (tmp_path / "misgan-impute.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(RecipeError, match=r"misgan-impute\.ckpt: is not a checkpoint"):
        fit(tmp_path)


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="NaN in epoch 1"):
        fit(tmp_path, replace(TINY, learning_rate=1e38))


def test_the_paper_alone_trains_without_a_reconstruction_term(tmp_path: Path) -> None:
    misgan = fit(tmp_path, replace(TINY, reconstruction=0, adversarial_every=1, settle=0))
    assert misgan.rows[-1]["reconstruction"] is None
    assert misgan.rows[-1]["imputer_distance"] is not None


def test_a_short_training_lowers_the_error(tmp_path: Path) -> None:
    settings = replace(
        TINY, batch=8, steps=1, imputing_steps=60, adversarial_every=20, imputer_learning_rate=5e-3
    )
    misgan = fit(tmp_path, settings)
    images, missing, _ = stripes(1, 99)
    learnt = NetworkImputer("misgan", Direct(misgan.imputer))

    def error(own: object) -> float:
        apart = (impute(images, missing, own) - images)[missing]  # type: ignore[arg-type]
        return float(np.sqrt(np.mean(apart**2)))

    assert error(learnt) < 0.6 * error(imputer("linear"))
