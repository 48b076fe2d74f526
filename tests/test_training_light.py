"""Pruning and distillation: smaller networks that train, export and resume as any other, and learn from no hospital
left out, by whatever way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import drawn
from bundles import PREPROCESS, tiny_bundle
from pulmoscope.core.errors import DatasetError, RecipeError
from pulmoscope.datasets.hospitals import known_to
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import build
from pulmoscope.recipes import rules, settings
from pulmoscope.recipes.published import as_run, find
from pulmoscope.recipes.recipe import Recipe, travelling
from pulmoscope.recipes.specs import ModelSpec
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.network import open_network
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.light.distil import softened, teaching_of
from pulmoscope.training.light.prune import fit_shapes, parameters_of
from pulmoscope.training.run import TrainedRun, fit

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
TINY = settings.apply(
    find("xray-binary-cnn"),
    ["model.filters=16", "preprocess.size=32", "batch_size=8", "phases.train.epochs=2"],
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    """Films of two hospitals."""
    table = drawn.table(tmp_path_factory.mktemp("films"), train=8, val=4, classes=("Normal", "COVID"))
    return table.with_samples(
        dataclasses.replace(own, hospital="north" if number % 2 else "south")
        for number, own in enumerate(table)
    )


def trained(films: SampleTable, run: Path, *changes: str, left_out: tuple[str, ...] = ()) -> TrainedRun:
    recipe = dataclasses.replace(settings.apply(TINY, changes), left_out=left_out)
    rules.check(recipe)
    return fit(recipe, films, run, device="cpu", progress=False, resume=True)


@pytest.fixture(scope="module")
def whole(films: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run on both hospitals, as a bundle."""
    run = trained(films, tmp_path_factory.mktemp("runs") / "whole")
    export_bundle(run.folder, films, progress=False)
    return run


@pytest.fixture(scope="module")
def half(films: SampleTable, whole: TrainedRun) -> TrainedRun:
    """That run, half of its channels pruned, and trained on."""
    pytest.importorskip("torch_pruning")
    run = trained(
        films,
        whole.folder.parent / "half",
        f"light.start={whole.folder}",
        "light.prune=0.5",
        "phases.train.epochs=1",
    )
    export_bundle(run.folder, films, progress=False)
    return run


def test_a_pruned_network_has_half_the_channels_in_every_layer(whole: TrainedRun, half: TrainedRun) -> None:
    before, after = (
        [layer.out_channels for layer in run.network().modules() if isinstance(layer, torch.nn.Conv2d)]
        for run in (whole, half)
    )

    assert after == [width // 2 for width in before]
    assert parameters_of(half.network()) < 0.3 * parameters_of(whole.network())
    assert half.network().head.output.out_features == 1  # the answer is no channel


def test_the_exported_file_is_smaller_and_gives_what_torch_gives(whole: TrainedRun, half: TrainedRun) -> None:
    sizes = [(run.folder / "model.onnx").stat().st_size for run in (whole, half)]
    image = np.random.default_rng(3).standard_normal((2, 1, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        logits, features, gradients = half.network().explainable(torch.from_numpy(image))

    given = open_network(half.folder / "model.onnx")(image)

    assert sizes[1] < 0.5 * sizes[0]
    np.testing.assert_allclose(given["logits"], logits.numpy(), atol=1e-3)  # weights are kept as halves
    np.testing.assert_allclose(given["features"], features.numpy(), atol=1e-3)  # weights are kept as halves
    np.testing.assert_allclose(given["gradients"], gradients.numpy(), atol=1e-3)  # weights are kept as halves


def test_a_pruned_run_can_be_pruned_again_and_loaded(films: SampleTable, half: TrainedRun) -> None:
    changes = [f"light.start={half.folder}", "light.prune=0.5", "phases.train.epochs=1"]
    quarter = trained(films, half.folder.parent / "quarter", *changes)

    widths = [
        layer.out_channels for layer in quarter.network().modules() if isinstance(layer, torch.nn.Conv2d)
    ]
    of_half = [layer.out_channels for layer in half.network().modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths[-1] == of_half[-1] // 2
    assert min(widths) >= 8  # widths are multiples of 8


@pytest.mark.parametrize("backbone", ["mobilenetv2_050", "resnet18", "efficientnet_lite0"])
def test_shapes_are_taken_from_the_weights_of_every_backbone(backbone: str) -> None:
    torch_pruning = pytest.importorskip("torch_pruning")
    assert torch_pruning
    from pulmoscope.training.light.prune import prune

    spec = ModelSpec(backbone, pretrained=False)
    pruned, blank = (build(spec, 3, 1, locate=True).eval() for _ in range(2))
    whole = parameters_of(pruned)
    prune(pruned, 0.5, channels=1)

    fit_shapes(blank, pruned.state_dict())
    blank.load_state_dict(pruned.state_dict())

    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        for one, other in zip(pruned.located(image), blank.located(image), strict=True):
            assert torch.equal(one, other)
    assert parameters_of(pruned) < 0.35 * whole


def test_distillation_is_the_divergence_of_softened_answers() -> None:
    """At temperature 2 the logits (2 ln 3, 0) are the odds 3 : 1, and equal logits 1 : 1."""
    student = torch.tensor([[0.0, 0.0]])
    teacher = torch.tensor([[2 * np.log(3.0), 0.0]], dtype=torch.float32)

    loss = softened(student, teacher, temperature=2.0)

    divergence = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert float(loss) == pytest.approx(4 * divergence, rel=1e-5)
    assert float(softened(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-7)


def test_a_teacher_says_of_an_image_what_its_model_says(films: SampleTable, whole: TrainedRun) -> None:
    """With all the weight on the teacher, a student with the teacher's own logits has nothing to learn."""
    recipe = dataclasses.replace(
        settings.apply(whole.recipe, [f"light.teacher={whole.folder}", "light.weight=1"]),
    )
    teaching = teaching_of(recipe)
    assert teaching is not None
    images = torch.randn(3, 1, 32, 32)
    with torch.inference_mode():
        own = whole.network()(images)

    assert float(teaching(images, own, torch.tensor(7.0))) == pytest.approx(0, abs=1e-6)
    assert float(teaching(images, own + 2, torch.tensor(7.0))) > 0.01
    labels_alone = teaching_of(settings.apply(recipe, ["light.weight=0"]))
    assert labels_alone is not None
    assert float(labels_alone(images, own + 2, torch.tensor(7.0))) == 7


def teacher(folder: Path, *hospitals: str, **more: Any) -> Path:
    """A model that has learnt from these hospitals."""
    known = {"classes_by_hospital": {name: {"COVID": 8} for name in hospitals}, **more}
    preprocess = dataclasses.replace(PREPROCESS, channels=1)
    return tiny_bundle(folder, ("Normal", "COVID"), preprocess=preprocess, training_data=known).folder


def test_a_taught_run_names_its_teacher_and_what_that_knows(films: SampleTable, tmp_path: Path) -> None:
    wise = teacher(tmp_path / "teacher", "north", "west")
    run = trained(
        films, tmp_path / "run", f"light.teacher={wise}", "phases.train.epochs=1", left_out=("south",)
    )

    (parent,) = run.summary["data"]["parents"]
    assert (parent["role"], parent["sha256"]) == ("teacher", load(wise).sha256)
    assert parent["hospitals"] == ["north", "west"]
    assert known_to({"classes_by_hospital": {"north": {}}, **run.summary["data"]}) == {"north", "west"}
    for name, schema in (("run.json", "run"), ("recipe.json", "recipe")):
        content = json.loads((run.folder / name).read_text(encoding="utf-8"))
        jsonschema.validate(
            content, json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
        )

    teacher(tmp_path / "teacher", "north", "east")  # another model in the same folder: another run
    with pytest.raises(RecipeError, match="parents"):
        trained(
            films, tmp_path / "run", f"light.teacher={wise}", "phases.train.epochs=1", left_out=("south",)
        )


@pytest.mark.parametrize(
    "known",
    [
        {"hospitals": ("north", "south")},
        {"hospitals": ("north",), "parents": [{"hospitals": ["south"]}]},
        {"hospitals": ("north",), "parents": [{"hospitals": None}]},
    ],
    ids=["itself", "by its own teacher", "nobody knows"],
)
@pytest.mark.parametrize("role", ["start", "teacher"])
def test_a_model_that_may_know_the_hospital_left_out_is_refused(
    films: SampleTable, tmp_path: Path, role: str, known: dict[str, Any]
) -> None:
    hospitals, more = known["hospitals"], {name: known[name] for name in known if name != "hospitals"}
    model = teacher(tmp_path / "model", *hospitals, **more)
    with pytest.raises(RecipeError, match=f"light.{role}=.*south"):
        trained(films, tmp_path / "run", f"light.{role}={model}", left_out=("south",))
    assert not (tmp_path / "run").exists()


def test_models_that_do_not_fit_are_refused(films: SampleTable, whole: TrainedRun, tmp_path: Path) -> None:
    for changes, said in (
        ((f"light.teacher={whole.folder}", "preprocess.size=64"), "light.teacher"),
        ((f"light.start={whole.folder}", "model.filters=8"), "light.start"),
        (("light.teacher=xray-covid",), "Tuberculosis"),
        ((f"light.start={teacher(tmp_path / 'answers')}",), "light.start"),
    ):
        with pytest.raises(RecipeError, match=said):
            trained(films, tmp_path / "run", *changes)


@pytest.mark.parametrize(
    ("recipe", "changes", "setting"),
    [
        ("xray-covid", ["light.prune=0.5"], "phases.train.frozen"),
        ("xray-covid", ["light.prune=0.95"], "light.prune"),
        ("ct-severity", ["light.prune=0.5"], "light"),
    ],
)
def test_settings_that_make_no_sense_are_refused(recipe: str, changes: list[str], setting: str) -> None:
    with pytest.raises((RecipeError, DatasetError), match=setting):
        rules.check(settings.apply(find(recipe), changes))


def test_a_light_recipe_says_so_and_travels_without_folders() -> None:
    recipe: Recipe = settings.apply(
        find("xray-covid"),
        ["light.start=/home/me/runs/base", "light.prune=0.5", "light.teacher=/home/me/best/"],
    )

    assert all(word in as_run(recipe) for word in ("base", "best", "50%"))
    assert "/" not in as_run(recipe)
    assert (travelling(recipe).light.start, travelling(recipe).light.teacher) == ("base", "best")
    assert recipe.hub_backbone == ""
