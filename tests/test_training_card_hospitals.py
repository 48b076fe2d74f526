"""Hospitals left out of training, on the model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundles import tiny_bundle
from pulmoscope.core.errors import BundleError
from pulmoscope.pipeline.calibrate import BY_REFERRAL
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import Bundle, load
from pulmoscope.training.card.hospitals import ROLE, TITLE
from pulmoscope.training.card.record import add_metrics
from pulmoscope.training.card.text import model_card

NONE = "None is recorded: how it does at a hospital that it has not learnt from is not known."


@pytest.fixture
def recipe() -> Recipe:
    return settings.apply(find("xray-binary-cnn"), ["model.filters=8", "left_out=east"])


@pytest.fixture
def bundle(recipe: Recipe, tmp_path: Path) -> Bundle:
    measured = replace(recipe, preprocess=replace(recipe.preprocess, mean=0.41, std=0.2))
    return replace(tiny_bundle(tmp_path / "bundle"), recipe=settings.to_plain(measured)).save()


def estimate(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": value and value - 0.1, "high": value and value + 0.1, "usable": 20}


def row(hospital: str, normals: int, value: float, counts: bool = True) -> dict[str, Any]:
    shares = {"COVID": estimate(value / 2), "Normal": estimate(0.5)}
    normal = {"images": normals, "called": shares, "reported_as": shares, "right": estimate(0.5)}
    return {
        "hospital": hospital,
        "counts": counts,
        "images": 1000 + normals,
        "by_label": {"Normal": normal} if normals else {},
        "auroc_within": estimate(value if normals >= 10 else None),
        "reported": estimate(0.75),
    }


def found(recipe: Recipe | None, bundle: Bundle) -> dict[str, Any]:
    """The content of a hospitals.json; ``recipe`` None: of the bundle itself."""
    model = {
        "name": bundle.name,
        "version": bundle.version,
        "weights_sha256": bundle.files["model.onnx"],
        "classes": list(bundle.classes),
        "temperature": 1.0,
    }
    nothing = {"hospitals": 0, "mean": None, "worst": None}
    return {
        "recipe": recipe and {"name": recipe.name, "settings": settings.to_plain(recipe)},
        "model": None if recipe else model,
        "runs": [{"data": {"sha256": "0" * 64}}, {"data": {"sha256": "1" * 64}}],
        "rows": [row("nih", 20, 0.625), row("few", 5, 0.5), row("learnt", 20, 0.9, counts=False)],
        "summary": {
            "auroc_within": {"hospitals": 1, "mean": 0.625, "worst": {"hospital": "nih", **estimate(0.625)}},
            "normals_called_covid": {
                "hospitals": 1,
                "mean": 0.3125,
                "worst": {"hospital": "nih", **estimate(0.3125)},
            },
            "normals_reported_covid": nothing,
            "wrongly_called": nothing,
            "wrongly_reported": nothing,
        },
        "command": "pulmoscope leave-out",
    }


def card_of(bundle: Bundle) -> str:
    """The card's section."""
    text = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    return text.split(f"## {TITLE}")[1].split("\n## ")[0]


def test_a_card_says_that_nothing_is_recorded(bundle: Bundle) -> None:
    assert f"## {TITLE}\n\n{NONE}\n" in model_card(bundle)


def test_the_table_with_means_and_worst(recipe: Recipe, bundle: Bundle) -> None:
    made = add_metrics(bundle.folder, "left-out", found(replace(recipe, left_out=()), bundle))
    own = made.metrics["left-out"]
    assert own["role"] == ROLE
    assert own["images"] == 1020 + 1005
    assert own["figures"]["AUROC_within_worst"]["hospital"] == "nih"
    assert load(bundle.folder) == made
    section = card_of(bundle)
    for line in (
        "| hospital | images | AUROC within | normals called COVID | normals reported as COVID | reported at all |",
        "| nih | 1,020 | 0.625 (0.525–0.725) | 0.312 (0.212–0.412) | 0.312 (0.212–0.412) | 0.750 (0.650–0.850) |",
        "| few | 1,005 | – | – | – | 0.750 (0.650–0.850) |",
        "- AUROC of COVID against Normal within a hospital: mean 0.625, worst 0.625 (0.525–0.725) (nih)",
    ):
        assert line in section
    assert "learnt" not in section.replace("not learnt", "")
    assert "reported as COVID: mean" not in section
    assert NONE not in section
    text = model_card(made)
    assert "No figure from another hospital is recorded." not in text
    assert "left-out (left out)" not in text  # it is no column of the other figures
    assert "None recorded." in text


def test_figures_of_the_model_itself(bundle: Bundle) -> None:
    made = add_metrics(bundle.folder, "left-out", found(None, bundle))
    assert (
        "this model, at hospitals that it has not learnt from: nih, few" in made.metrics["left-out"]["what"]
    )
    other = found(None, bundle)
    other["model"]["version"] = "0.2"
    with pytest.raises(BundleError, match=r"only figures of this bundle.*0\.2"):
        add_metrics(bundle.folder, "left-out", other)


def test_another_recipe_is_refused(recipe: Recipe, bundle: Bundle) -> None:
    other = settings.apply(recipe, ["mixup=0.3"])
    with pytest.raises(BundleError, match=r"same recipe can be recorded \(mixup: 0\.0, found: 0\.3\)"):
        add_metrics(bundle.folder, "left-out", found(other, bundle))
    assert "left-out" not in load(bundle.folder).metrics


def test_a_shorter_schedule_is_told(recipe: Recipe, bundle: Bundle) -> None:
    shorter = settings.apply(recipe, ["phases.train.epochs=3"])
    made = add_metrics(bundle.folder, "left-out", found(shorter, bundle))
    assert "for 3 epochs, where the model has 60" in made.metrics["left-out"]["what"]


def test_only_hospitals_that_count_can_be_recorded(bundle: Bundle) -> None:
    learnt = found(None, bundle)
    learnt["rows"] = [own for own in learnt["rows"] if not own["counts"]]
    with pytest.raises(BundleError, match="that no training has seen"):
        add_metrics(bundle.folder, "left-out", learnt)


def test_what_is_no_hospitals_json_is_refused_in_a_line(bundle: Bundle) -> None:
    broken = found(None, bundle)
    del broken["summary"]
    with pytest.raises(BundleError, match=r"hospitals\.json of this version can be recorded"):
        add_metrics(bundle.folder, "left-out", broken)


def test_the_section_outlives_a_calibration_without_what_that_changes(bundle: Bundle) -> None:
    from pulmoscope.pipeline.calibrate import _without

    made = add_metrics(bundle.folder, "left-out", found(None, bundle))
    kept = _without(made.metrics["left-out"], has_bias=False)
    assert kept["hospitals"]["nih"].keys() == {"images", "AUROC_within", "normals_called_COVID"}
    assert not any(name.startswith(BY_REFERRAL) for name in kept["figures"])
    biased = _without(made.metrics["left-out"], has_bias=True)
    assert biased["hospitals"]["nih"].keys() == {"images", "AUROC_within"}
    text = model_card(replace(made, metrics={"left-out": kept}))
    assert "| nih | 1,020 | 0.625 (0.525–0.725) | 0.312 (0.212–0.412) | – | – |" in text
