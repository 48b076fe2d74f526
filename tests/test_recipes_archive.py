"""Recipes of earlier versions, as archived and shipped bundles hold them, are read as this version's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pulmoscope.core.errors import RecipeError
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes import settings
from pulmoscope.recipes.archive import upgraded
from pulmoscope.recipes.published import changed_settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.rules import check

ARCHIVE = Path(__file__).parent / "data" / "old_bundles" / "0.1"
SHIPPED = Path(settings.__file__).parents[1] / "bundles"


def plain(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["recipe"]
    return found


def read(name: str) -> Recipe:
    return settings.from_plain(plain(ARCHIVE / name))


@pytest.mark.parametrize("folder", [*ARCHIVE.iterdir(), *SHIPPED.glob("*covid*")], ids=lambda own: own.name)
def test_it_is_read_checked_and_stays_as_it_is(folder: Path) -> None:
    recipe = settings.from_plain(plain(folder))
    check(recipe)
    again = settings.to_plain(recipe)
    assert upgraded(again) == again
    assert settings.from_plain(again) == recipe


@pytest.mark.parametrize(
    ("name", "kind"),
    [("xray", XrayPreprocess), ("xray-one-logit", XrayPreprocess), ("ct-slice", SlicePreprocess)],
)
def test_single_images(name: str, kind: type) -> None:
    recipe = read(name)
    assert isinstance(recipe.preprocess, kind)
    assert recipe.preprocess.size == 64
    assert (recipe.slices, recipe.quality, recipe.patient, recipe.ensemble) == (None, None, None, None)
    assert recipe.phases[0].learn == "labelled"


def test_one_logit_keeps_what_was_measured() -> None:
    recipe = read("xray-one-logit")
    assert recipe.framing.mean == 0.44255285371779524
    assert (recipe.model.output, recipe.phases[0].train_on) == ("sigmoid", ("train", "val"))


def test_three_levels() -> None:
    recipe = read("ct-three-level")
    assert isinstance(recipe.preprocess, CtPreprocess)
    assert recipe.preprocess.mean == (0.5, 0.5, 0.5)
    assert recipe.model.hidden == 12
    assert [(own.name, own.learn, own.epochs, own.frozen) for own in recipe.phases] == [
        ("pretrain", "pretrain", 2, "none"),
        ("head", "labelled", 1, "none"),
        ("tune", "labelled", 8, "none"),
        ("picked", "picked", 3, "none"),
    ]
    assert recipe.slices is not None
    assert recipe.patient is not None
    assert recipe.ensemble is not None
    assert (recipe.slices.per_epoch, recipe.batch_size, recipe.normal) == (144, 16, "Normal")
    assert (recipe.patient.epochs, recipe.patient.lstm_units, recipe.patient.decides) == (30, 6, "ensemble")
    assert recipe.patient.votes[-1] == "attention"
    assert (recipe.ensemble.epochs, recipe.ensemble.learning_rate) == (100, 0.01)
    assert "slices.per_epoch=144" in changed_settings(recipe)


def test_grades() -> None:
    recipe = read("ct-severity")
    assert isinstance(recipe.preprocess, Standardisation)
    assert (recipe.preprocess.size, recipe.preprocess.slice_mm) == (32, 20.0)
    (phase,) = recipe.phases
    assert (phase.epochs, phase.optimizer, phase.momentum, phase.learning_rate) == (8, "sgd", 0.9, 0.01)
    assert recipe.slices is not None
    assert recipe.patient is not None
    assert (recipe.slices.per_study, recipe.batch_size, recipe.drop) == (6, 16, ("CT-4",))
    assert (recipe.patient.decides, recipe.patient.epochs) == ("regression", 60)
    assert recipe.quality is not None
    assert (recipe.quality.imputer, recipe.quality.anomalies) == ("misgan", True)
    assert (recipe.quality.misgan.imputing_steps, recipe.quality.anogan.batches) == (60, 6)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("xray", {"preprocess": 3}),
        ("ct-three-level", {"slice": 3}),
        ("ct-three-level", {"slice": {}}),
        ("ct-severity", {"slices": 3}),
    ],
)
def test_a_damaged_one_is_told(name: str, change: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="must be a group"):
        settings.from_plain({**plain(ARCHIVE / name), **change})


def test_settings_that_a_version_had_not_yet_have_their_defaults() -> None:
    first = settings.from_plain(plain(SHIPPED / "xray-covid-1.2"))  # knew neither labels nor loss
    assert (first.labels, first.locate, first.loss.kind) == ({}, 0.0, "cross-entropy")
