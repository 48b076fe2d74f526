from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drawn
from pulmoscope.core.errors import RecipeError
from pulmoscope.preprocess.ct_slice import SlicePreprocess
from pulmoscope.preprocess.kinds import Preprocess
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.recipes import archive, settings
from pulmoscope.recipes.published import as_run, find, named
from pulmoscope.recipes.recipe import Recipe

TRANSFER = find("xray-binary-resnet50v2")
SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "recipe.schema.json"


def test_every_kind_of_setting() -> None:
    changed = settings.apply(
        TRANSFER,
        [
            "model.weights=some/file=1.safetensors",
            "model.backbone_options.pad_type=same",
            "phases.0.epochs=3",
            "phases.fine-tune.learning_rate=1e-4",
            "phases.all-data.train_on=train",
            "phases.frozen.restart=yes",
            "classes=COVID, Viral Pneumonia",
            "preprocess.region=lungs",
            "preprocess.channels=1",
            "augment.flip=0.5",
        ],
    )
    assert changed.model.weights == "some/file=1.safetensors"
    assert changed.model.backbone_options == {"pad_type": "same"}
    assert (changed.phases[0].epochs, changed.phases[2].learning_rate) == (3, 1e-4)
    assert changed.phases[1].train_on == ("train",)
    assert changed.phases[0].restart is True
    assert changed.classes == ("COVID", "Viral Pneumonia")
    assert (changed.preprocess.region, changed.preprocess.channels, changed.augment.flip) == ("lungs", 1, 0.5)
    assert changed.model.hidden == TRANSFER.model.hidden
    assert TRANSFER.phases[0].epochs == 60


def test_an_empty_list_clears() -> None:
    assert settings.apply(TRANSFER, ["classes="]).classes == ()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("batch_size", "key=value"),
        ("batchsize=3", "possible: augment, average, balance, batch_size"),
        ("model.width=3", "possible: backbone, backbone_options"),
        ("phases.3.epochs=3", "possible: 0, 1, 2, all-data, fine-tune, frozen"),
        ("phases.0.epochs=many", "must be of type int"),
        ("phases.0.optimizer=sdg", "one of adam, adamw, sgd"),
        ("class_weights=maybe", "true or false"),
        ("model=resnet50", "group of settings"),
        ("phases=2", "name one of its parts"),
        ("seed.low=2", "below a single value"),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_possible(setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as error:
        settings.apply(TRANSFER, [setting])
    assert "\n" not in str(error.value)


@given(
    rate=st.floats(1e-8, 1e3, allow_nan=False),
    size=st.integers(1, 4096),
    classes=st.lists(st.text("abcXYZ 09-_", min_size=1).map(str.strip).filter(bool), max_size=5),
)
def test_what_is_written_as_a_setting_is_read_back(rate: float, size: int, classes: list[str]) -> None:
    changed = settings.apply(
        TRANSFER,
        [f"phases.1.learning_rate={rate}", f"preprocess.size={size}", f"classes={','.join(classes)}"],
    )
    assert (changed.phases[1].learning_rate, changed.preprocess.size) == (rate, size)
    assert changed.classes == tuple(classes)


@pytest.mark.parametrize("recipe", named(Recipe).values(), ids=named(Recipe))
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    plain = json.loads(json.dumps(settings.to_plain(recipe)))
    assert settings.from_plain(plain) == recipe
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    data = {"counts": {"train": {"a": 1}, "val": {"a": 1}}, "sources": {"x": 2}, "fingerprint": "0" * 64}
    jsonschema.validate({"schema_version": archive.VERSION, "recipe": plain, "data": data}, schema)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": 1}, "no setting colour"),
        ({"batch_size": "8"}, "recipe.batch_size: must be of type int"),
        ({"precision": "int8"}, "recipe.precision: must be one of auto, 32, bf16"),
        ({"model": 3}, "recipe.model: must be a group"),
        ({"phases": [{"epochs": 2}]}, "recipe.phases: .*name"),
    ],
)
def test_a_damaged_recipe_file_is_told(change: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        settings.from_plain({**settings.to_plain(TRANSFER), **change})


@pytest.mark.parametrize(
    ("name", "kind", "literal"),
    [
        ("xray", XrayPreprocess, {"region", "contrast", "channels"}),
        ("ct-slice", SlicePreprocess, {"region", "shape", "channels", "others"}),
    ],
)
def test_a_bundles_schema_knows_every_choice_of_preprocessing(
    name: str, kind: type[Preprocess], literal: set[str]
) -> None:
    known = json.loads((SCHEMA.parent / "bundle.schema.json").read_text(encoding="utf-8"))
    said = known["$defs"][name]["properties"]
    assert said.keys() == {"type", *(field.name for field in dataclasses.fields(kind))}
    choices = {name: own for name, own in get_type_hints(kind).items() if get_origin(own) is Literal}
    assert choices.keys() == literal
    for setting, own in choices.items():
        assert said[setting]["enum"] == list(get_args(own))


def test_a_slices_recipe_is_set_and_read_by_its_own_preprocessing() -> None:
    changed = settings.apply(find("ct-slice-covid"), ["preprocess.hidden=0.2", "preprocess.shape=keep"])
    assert changed.preprocess == dataclasses.replace(
        find("ct-slice-covid").preprocess, hidden=0.2, shape="keep"
    )
    assert settings.from_plain(settings.to_plain(changed)) == changed
    plain = settings.to_plain(changed)
    with pytest.raises(
        RecipeError, match=r"recipe\.preprocess: no setting (room|shape|hidden|others|window)"
    ):
        settings.from_plain({**plain, "preprocess": {**plain["preprocess"], "type": "xray"}})
    with pytest.raises(
        RecipeError, match=r"preprocess\.type: must be one of xray, ct-slice, ct-body, ct-standard"
    ):
        settings.from_plain({**plain, "preprocess": {"type": "mri"}})
    with pytest.raises(RecipeError, match="no setting clahe_clip"):
        settings.apply(changed, ["preprocess.clahe_clip=3"])
    with pytest.raises(RecipeError, match="preprocess: is a group of settings"):
        settings.apply(changed, ["preprocess=lungs"])


def test_a_part_that_a_recipe_lacks_cannot_be_set() -> None:
    with pytest.raises(RecipeError, match="no such part"):
        settings.apply(find("xray-covid"), ["quality.imputer=linear"])


def test_a_list_of_fixed_length_keeps_it() -> None:
    changed = settings.apply(find("ct-three-level"), ["preprocess.mean=0.1,0.2,0.3"])
    assert changed.preprocess.mean == (0.1, 0.2, 0.3)
    with pytest.raises(RecipeError, match="must be 3 values"):
        settings.apply(changed, ["preprocess.mean=0.1,0.2"])


def test_what_differs_from_the_published_recipe_makes_it_again() -> None:
    changes = ["quality.imputer=linear", "phases.0.epochs=3", "classes=CT-0,CT-1", "augment.flip=0.0"]
    severity = find("ct-severity-resnet18")
    changed = settings.apply(severity, changes)
    assert sorted(settings.changed(changed, severity)) == sorted(changes)
    assert settings.apply(severity, settings.changed(changed, severity)) == changed


def test_an_unknown_recipe_is_told_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"xray-binary-cnn, .*xray-covid"):
        find("xray")


def test_another_backbone_is_said_so() -> None:
    assert as_run(TRANSFER) == ""
    other = settings.apply(TRANSFER, ["model.backbone=mobilenetv2_100", "model.pretrained=false"])
    assert as_run(other) == (
        "run on mobilenetv2_100 instead of the published resnetv2_50; "
        "trained from scratch instead of from ImageNet weights"
    )


def test_the_hubs_weights_with_other_padding_are_said_so() -> None:
    ours = find("xray-covid-1")
    assert "hub's weights, which were trained with symmetric padding" in as_run(ours)
    for change in ("model.weights=w.safetensors", "model.backbone_options.pad_type="):
        assert as_run(settings.apply(ours, [change])) == ""
    assert as_run(settings.apply(ours, ["model.pretrained=false"])) == (
        "trained from scratch instead of from ImageNet weights"
    )


def test_leaves_are_settings_by_name_or_number() -> None:
    plain = {
        "size": 3,
        "none": {},
        "phases": [{"name": "a", "epochs": 2}, {"name": "b", "epochs": 4}],
        "to": ["x"],
    }
    assert dict(settings.leaves(plain)) == {
        "size": 3,
        "phases.a.epochs": 2,
        "phases.b.epochs": 4,
        "to": ["x"],
    }
    numbered = dict(settings.leaves(plain, numbered=True))
    assert numbered["phases.1.name"] == "b"
    assert numbered["phases.1.epochs"] == 4
    assert [settings.as_text(value) for value in (True, 1e-5, "x", ["a", "b"], [])] == [
        "true",
        "1e-05",
        "x",
        "a,b",
        "",
    ]


@pytest.mark.parametrize("recipe", drawn.IMAGES.values(), ids=drawn.IMAGES)
def test_every_grid_names_settings_there_are(recipe: Recipe) -> None:
    for path, values in recipe.grid.items():
        for value in values:
            settings.apply(recipe, [f"{path}={value}"])


def test_published_grids_are_whole() -> None:
    def points(name: str) -> int:
        total = 1
        for values in find(name).grid.values():
            total *= len(values)
        return total

    assert points("xray-binary-cnn") == 54
    assert points("xray-binary-resnet50v2") == 27
