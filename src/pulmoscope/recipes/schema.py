"""JSON Schemas of recipes, made from the types: fields, limits, and what the docstrings say of each attribute.

python -m pulmoscope.recipes.schema docs/schemas     writes recipe.schema.json
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pulmoscope.core.files import write_json
from pulmoscope.recipes import archive
from pulmoscope.recipes.limits import limits_of
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.settings import TYPE

FILE = "recipe.schema.json"
Schema = dict[str, Any]

_PLAIN: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
_PARENTS: Schema = {
    "description": "The models that the run began with or was taught by, and what hospitals these have learnt from.",
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["role", "name", "version", "sha256", "hospitals"],
        "properties": {
            "role": {"enum": ["start", "teacher"]},
            "name": {"type": "string"},
            "version": {"type": "string"},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "hospitals": {"type": ["array", "null"], "items": {"type": "string"}},
        },
    },
}
_DATA: Schema = {
    "description": "What was learnt from.",
    "type": "object",
    "required": ["counts", "sources", "fingerprint"],
    "properties": {
        "counts": {
            "description": "Images, or patients where studies are learnt from, per split and class.",
            "type": "object",
            "required": ["train", "val"],
            "additionalProperties": _COUNTS,
        },
        "sources": {"description": "The same per hospital or collection.", **_COUNTS},
        "fingerprint": {
            "description": "SHA-256 over all images or slices as they are learnt from, their splits and labels.",
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
        },
        "parents": _PARENTS,
    },
}


def recipe_schema() -> Schema:
    """The schema of ``recipe.json``."""
    parts: dict[str, Schema] = {}
    recipe = _group(Recipe, parts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "recipe.json",
        "description": "The resolved recipe of a training run; written when it begins.",
        "type": "object",
        "additionalProperties": False,
        "required": ["schema_version", "recipe", "data"],
        "properties": {
            "schema_version": {"type": "string", "pattern": rf"^{archive.VERSION.split('.')[0]}\.[0-9]+$"},
            "recipe": recipe,
            "data": _DATA,
        },
        "$defs": dict(sorted(parts.items())),
    }


def _group(kind: type[Any], parts: dict[str, Schema]) -> Schema:
    """A reference to a dataclass's schema, which is put among ``parts``."""
    name = kind.__name__
    if name not in parts:
        parts[name] = {}  # before its fields, as they may refer to it
        hints = get_type_hints(kind, include_extras=True)
        descriptions = _attributes(kind)
        tag = {TYPE: {"const": kind.TYPE}} if hasattr(kind, "TYPE") else {}
        properties = tag | {
            field.name: _described(_value(hints[field.name], parts), descriptions.get(field.name, ""))
            for field in dataclasses.fields(kind)
        }
        parts[name] = {
            "description": _plainly((inspect.getdoc(kind) or "").partition("\n")[0]),
            "type": "object",
            "additionalProperties": False,
            "required": list(properties),
            "properties": properties,
        }
    return {"$ref": f"#/$defs/{name}"}


def _described(schema: Schema, text: str) -> Schema:
    return {"description": text, **schema} if text else schema


def _value(kind: Any, parts: dict[str, Schema]) -> Schema:
    """The schema of a field's type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bounded(_value(inner[0], parts), kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return _one_of([_value(option, parts) for option in inner])
    if origin is tuple:
        items = _value(inner[0], parts)
        count = {} if Ellipsis in inner else {"minItems": len(inner), "maxItems": len(inner)}
        return {"type": "array", "items": items, **count}
    if origin is not None:
        return {"type": "object", "additionalProperties": _value(inner[1], parts)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _group(kind, parts)
    return {"type": "null" if kind is types.NoneType else _PLAIN[kind]}


def _one_of(schemas: list[Schema]) -> Schema:
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"oneOf": schemas}


def _bounded(schema: Schema, kind: Any) -> Schema:
    """With the field's limits, which are those of each item of a list."""
    for limits in limits_of(kind):
        bounds: Schema = {"minimum": limits.low}
        if limits.high != math.inf:
            bounds["maximum"] = limits.high
        schema = {**schema, "items": schema["items"] | bounds} if "items" in schema else schema | bounds
    return schema


def _attributes(kind: type[Any]) -> dict[str, str]:
    """Attribute → what the docstrings of the class and its bases say of it."""
    descriptions: dict[str, str] = {}
    for ancestor in kind.__mro__:
        _, _, text = inspect.cleandoc(ancestor.__doc__ or "").partition("Attributes:\n")
        names: list[str] = []
        for line in text.splitlines():
            entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
            if entry:
                names = [name for name in entry[1].split(", ") if name not in descriptions]
                descriptions |= dict.fromkeys(names, entry[2])
            elif line.startswith("        "):
                descriptions |= {name: f"{descriptions[name]} {line.strip()}" for name in names}
            else:
                break
    return {name: _plainly(text) for name, text in descriptions.items()}


def _plainly(text: str) -> str:
    """Without marks of reStructuredText."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "")


if __name__ == "__main__":
    write_json(Path(sys.argv[1]) / FILE, recipe_schema())
