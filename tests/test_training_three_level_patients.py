from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import volumes
from pulmoscope.core.errors import RecipeError
from pulmoscope.models.patient import weighted
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.rules import check
from pulmoscope.training.progress import Reporter
from pulmoscope.training.three_level.features import StudyFeatures
from pulmoscope.training.three_level.patient_level import PatientTraining, fit_patients, folds


def studies(count: int, seed: int) -> list[StudyFeatures]:
    """Patients whose class shows in one dimension of some of their slices."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label, slices = number % 3, int(rng.integers(4, 9))
        vectors = rng.random((slices, 12), dtype=np.float32)
        vectors[1:3, label] += 4
        shares = torch.softmax(torch.from_numpy(vectors[:, :3]), dim=1)
        plain = torch.from_numpy(vectors)
        found.append(StudyFeatures(label, plain, weighted(plain, shares)))
    return found


@pytest.mark.parametrize("scores", ["train", "folds"])
def test_classifiers_and_ensemble_learn_what_is_plain(scores: str, tmp_path: Path) -> None:
    recipe = volumes.recipe(
        "classes=CAP,COVID,Normal", f"ensemble.scores={scores}", "ensemble.folds=2", "patient.epochs=10",
        "patient.batch_size=8", "patient.learning_rate=0.003", "ensemble.epochs=40", "ensemble.learning_rate=0.03",
        "ensemble.of=maxpool,bilstm", "patient.votes=maxpool,maxpool-weighted,bilstm,attention",
    )  # fmt: skip
    training = PatientTraining(
        recipe, studies(24, 1), studies(9, 2), tmp_path, torch.device("cpu"), Reporter()
    )

    found = fit_patients(training)

    assert list(found.classifiers) == list(recipe.patient.votes)
    assert {name for name in found.states if "fold" in name} == set()
    assert len(list(tmp_path.glob("*fold*.ckpt"))) == (4 if scores == "folds" else 0)
    for name in ("2-maxpool", "2-maxpool-weighted", "2-attention", "3-ensemble"):
        state = found.states[name]
        assert state.rows[state.best_epoch - 1]["val_accuracy"] == 1, name


def test_folds_share_out_every_class() -> None:
    labels = np.array([0] * 7 + [1] * 10 + [2] * 3)
    found = folds(labels, 3, seed=1)
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=3)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(found, folds(labels, 3, seed=1))
    assert not np.array_equal(found, folds(labels, 3, seed=2))


@pytest.mark.parametrize("recipe", [find("ct-three-level"), find("ct-three-level-light")])
def test_recipes_are_whole(recipe: Recipe) -> None:
    check(recipe)
    assert settings.from_plain(settings.to_plain(recipe)) == recipe
    assert recipe.ensemble.of == ("maxpool", "maxpool-weighted", "bilstm", "bilstm-weighted")
    assert (recipe.patient.epochs, recipe.patient.l1, recipe.patient.l2) == (25, 1e-5, 1e-4)
    assert (recipe.ensemble.epochs, recipe.ensemble.hidden) == (200, 10)


def test_published_numbers_of_system_b() -> None:
    recipe = find("ct-three-level")
    phases = [(own.learn, own.epochs, own.learning_rate, own.frozen) for own in recipe.phases]
    assert phases == [
        ("pretrain", 10, 1e-3, "none"),
        ("labelled", 10, 1e-4, "backbone"),
        ("labelled", 10, 1e-5, "norm"),
        ("picked", 25, 1e-5, "norm"),
    ]
    assert (recipe.batch_size, recipe.slices.per_epoch, recipe.preprocess.size) == (64, 0, 224)
    assert (recipe.model.backbone, recipe.model.hidden) == ("resnet50", 1024)
    assert (recipe.augment.rotate_deg, recipe.augment.zoom, recipe.augment.shear) == (25, 0.2, 0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("phases.tune.frozen=early", "phases.tune.frozen=early: must be one of none, norm, backbone"),
        ("model.hidden=0", "model.hidden=0: must be at least 1"),
        ("phases.tune.epochs=0", "phases.tune.epochs=0"),
        ("patient.votes=maxpool,best", "best"),
        ("ensemble.of=", "ensemble.of"),
        ("patient.votes=maxpool", "ensemble.of: must be of patient.votes"),
        ("patient.l1=-1", "patient.l1=-1.0"),
        ("phases.tune.frozen=all", "none, norm, early, backbone"),
        ("slices.depth=3", "no setting depth"),
    ],
)
def test_settings_that_make_no_sense_are_told(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check(settings.apply(find("ct-three-level"), [change]))
