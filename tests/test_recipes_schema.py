"""The schema of recipe.json is made from the types, and the file in docs is what is made."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pulmoscope.recipes import archive, settings
from pulmoscope.recipes.published import named
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.schema import FILE, recipe_schema

DOCS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
DATA = {"counts": {"train": {"a": 1}, "val": {"a": 1}}, "sources": {"x": 2}, "fingerprint": "0" * 64}


def valid(recipe: object) -> bool:
    content = {"schema_version": archive.VERSION, "recipe": recipe, "data": DATA}
    return jsonschema.Draft202012Validator(recipe_schema()).is_valid(json.loads(json.dumps(content)))


def test_the_file_is_what_is_made() -> None:
    made = json.loads(json.dumps(recipe_schema()))
    assert json.loads((DOCS / FILE).read_text(encoding="utf-8")) == made, "make it again: make schemas"


@pytest.mark.parametrize("recipe", named(Recipe).values(), ids=named(Recipe))
def test_every_recipe_is_valid(recipe: Recipe) -> None:
    assert valid(settings.to_plain(recipe))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"dropout": 1.5}),
        ("model", {"width": 3}),
        ("preprocess", {"type": "ct-slice"}),
        ("preprocess", {"size": 8}),
        ("loss", {"kind": "hinge"}),
        ("loss", {"beta": "0.9"}),
        ("slices", {"per_epoch": 3}),
    ],
)
def test_what_the_types_forbid_is_not_valid(part: str, change: dict[str, object]) -> None:
    plain = settings.to_plain(named(Recipe)["xray-covid"])
    assert not valid({**plain, part: {**(plain[part] or {}), **change}})


def test_limits_and_meaning_stand_with_a_setting() -> None:
    size = recipe_schema()["$defs"]["XrayPreprocess"]["properties"]["size"]
    assert (size["type"], size["minimum"], size["maximum"]) == ("integer", 32, 4096)
    assert size["description"]
    deviation = recipe_schema()["$defs"]["CtPreprocess"]["properties"]["std"]
    assert (deviation["minItems"], deviation["maxItems"], deviation["items"]["minimum"]) == (3, 3, 0.001)
