"""A recipe's settings: changed by dotted path (``phases.0.epochs=3``), and to and from plain data.

Everything follows from the fields' types, of :class:`pulmoscope.recipes.recipe.Recipe` or of any other frozen
dataclass; nothing is listed twice. Where a field can be of several classes, plain data name the class by its ``TYPE``.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes.archive import upgraded
from pulmoscope.recipes.recipe import Named, Recipe

R = TypeVar("R")

TYPE = "type"
"""The key that names a part's class in plain data."""
DESCRIPTION = ("name", "title", "paper", "deviations", "published", "grid")
"""Fields that say what a recipe is, and change nothing about its training."""
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def apply(recipe: R, settings: Sequence[str]) -> R:
    """Change settings of a recipe, a frozen dataclass of any type; each ``dotted.path=value``.

    A phase is named or numbered from 0; a list's items are separated by commas; an empty value is an empty list or
    text. Examples: ``phases.0.epochs=3``, ``phases.tune.learning_rate=1e-4``, ``classes=COVID,Normal``,
    ``model.weights=PATH``, ``model.backbone_options.pad_type=same``.

    Raises:
        RecipeError: no such setting (the message names those there are), or a value of the wrong type.
    """
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: must be of the form key=value")
        recipe = _changed(recipe, type(recipe), path.strip().split("."), value.strip(), path.strip())
    return recipe


def to_plain(recipe: Any) -> dict[str, Any]:
    """The recipe as data that JSON holds: tuples become lists."""
    plain = _plain(recipe)
    assert isinstance(plain, dict)
    return plain


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """The inverse of :func:`to_plain`; recipes that earlier versions wrote are read, too.

    Raises:
        RecipeError: an unknown setting, or a value of the wrong type.
    """
    try:
        today = upgraded(plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            "recipe: must be a group of settings, as this or an earlier version writes it"
        ) from error
    recipe = _typed(today, Recipe, "recipe")
    assert isinstance(recipe, Recipe)
    return recipe


def of_tool(recipe: Named) -> dict[str, Any]:
    """A tool's name, title and settings as data that JSON holds."""
    untold = ("paper", "deviations", "published", "grid")
    return {name: value for name, value in to_plain(recipe).items() if name not in untold}


def shown(recipe: Named, *, numbered: bool = False) -> dict[str, Any]:
    """Dotted path and value of all settings that ``--set`` takes."""
    hidden = {*DESCRIPTION, "modality", *recipe.idle}
    plain = {name: value for name, value in to_plain(recipe).items() if name not in hidden}
    return {
        path: value
        for path, value in leaves(plain, numbered=numbered)
        if value is not None and path.rpartition(".")[2] != TYPE
    }


def changed(recipe: Named, published: Named | None) -> list[str]:
    """How a recipe differs from the published one, as ``train --set`` takes it; nothing where there is none."""
    if published is None:
        return []
    before = json.loads(json.dumps(shown(published, numbered=True)))
    return [
        f"{path}={as_text(value)}"
        for path, value in shown(recipe, numbered=True).items()
        if before.get(path) != value
    ]


def leaves(plain: Any, path: str = "", *, numbered: bool = False) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of all settings in plain data; groups are gone into.

    Args:
        plain: what :func:`to_plain` gives, or a part of it.
        path: where that part lies.
        numbered: name phases by their place, not by their name (which is a setting itself then).
    """
    if isinstance(plain, Mapping):
        parts = [(str(key), value) for key, value in plain.items()]
    elif isinstance(plain, list) and plain and isinstance(plain[0], Mapping):
        parts = [
            (str(index), phase)
            if numbered or "name" not in phase
            else (phase["name"], {key: value for key, value in phase.items() if key != "name"})
            for index, phase in enumerate(plain)
        ]
    else:
        yield path, plain
        return
    for key, value in parts:
        yield from leaves(value, f"{path}.{key}" if path else key, numbered=numbered)


def as_text(value: Any) -> str:
    """A value of :func:`leaves` as ``--set`` takes it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _changed(node: Any, kind: Any, path: list[str], text: str, whole: str) -> Any:
    """``node``, of type ``kind``, with what lies at ``path`` replaced by the value that ``text`` means."""
    if not path:
        return _parsed(text, kind, whole)
    key, rest = path[0], path[1:]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        kinds = _fields(type(node))
        _one_of(key, kinds, whole)
        return dataclasses.replace(node, **{key: _changed(getattr(node, key), kinds[key], rest, text, whole)})
    if isinstance(node, Mapping):
        return {**node, key: _changed(node.get(key), get_args(kind)[1], rest, text, whole)}
    if isinstance(node, tuple) and node and dataclasses.is_dataclass(node[0]):
        names = [getattr(phase, "name", "") for phase in node]
        _one_of(key, [*filter(None, names), *map(str, range(len(node)))], whole)
        index = names.index(key) if key in names else int(key)
        phase = node[index]
        return (*node[:index], _changed(phase, type(phase), rest, text, whole), *node[index + 1 :])
    if node is None and _classes(kind):
        raise RecipeError(f"--set {whole}: there is no setting {key}, as this recipe has no such part")
    raise RecipeError(f"--set {whole}: {key} lies below a single value")


def _one_of(key: str, possible: Any, whole: str) -> None:
    if key not in possible:
        raise RecipeError(f"--set {whole}: no setting {key} (possible: {', '.join(sorted(possible))})")


def _parsed(text: str, kind: Any, whole: str) -> Any:
    """The value of type ``kind`` that ``text`` means."""
    origin = get_origin(kind)
    if origin is Literal:
        for choice in get_args(kind):
            if text == str(choice):
                return choice
        raise RecipeError(f"--set {whole}={text}: must be one of {', '.join(map(str, get_args(kind)))}")
    if origin in (Union, types.UnionType) and not _classes(kind):
        return _first_that_parses(text, get_args(kind), whole)
    if origin is tuple:
        item = get_args(kind)[0]
        if dataclasses.is_dataclass(item):
            raise RecipeError(f"--set {whole}: name one of its parts, as {whole}.0.epochs")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if Ellipsis not in get_args(kind) and len(parts) != len(get_args(kind)):
            raise RecipeError(f"--set {whole}={text}: must be {len(get_args(kind))} values")
        return tuple(_parsed(part, item, whole) for part in parts)
    if dataclasses.is_dataclass(kind) or origin is not None:
        raise RecipeError(f"--set {whole}: is a group of settings; name one of them")
    if kind is bool:
        if text.lower() not in _YES:
            raise RecipeError(f"--set {whole}={text}: must be true or false")
        return _YES[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise RecipeError(f"--set {whole}={text}: must be of type {kind.__name__}") from error


def _first_that_parses(text: str, kinds: Sequence[Any], whole: str) -> Any:
    """For a union such as ``float | None`` or ``int | float | str``: the narrowest type that fits."""
    if types.NoneType in kinds and text.lower() in ("", "none"):
        return None
    for kind in (k for k in (int, float, str) if k in kinds):
        try:
            return kind(text)
        except ValueError:
            continue
    raise RecipeError(f"--set {whole}={text}: must be one of the types {', '.join(map(str, kinds))}")


def _fields(kind: type[Any]) -> dict[str, Any]:
    """Field → type."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _classes(kind: Any) -> list[type[Any]]:
    """The dataclasses that a value of this type can be of."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [part for part in kinds if dataclasses.is_dataclass(part) and isinstance(part, type)]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        tag = {TYPE: value.TYPE} if hasattr(value, "TYPE") else {}
        return tag | {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _group(value: Any, classes: Sequence[type[Any]], where: str) -> Any:
    """``value``, a group of settings as JSON gives it, as an object of one of these classes."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where}: must be a group of settings")
    kind = classes[0]
    if hasattr(kind, "TYPE"):
        known = {str(option.TYPE): option for option in classes}
        if value.get(TYPE) not in known:
            raise RecipeError(f"{where}.{TYPE}: must be one of {', '.join(known)} (found: {value.get(TYPE)})")
        kind, value = known[value[TYPE]], {key: item for key, item in value.items() if key != TYPE}
    fields = _fields(kind)
    for key in value:
        if key not in fields:
            raise RecipeError(f"{where}: no setting {key} (possible: {', '.join(sorted(fields))})")
    try:
        return kind(**{key: _typed(item, fields[key], f"{where}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _typed(value: Any, kind: Any, where: str) -> Any:
    """``value``, as JSON gives it, as an object of type ``kind``."""
    origin = get_origin(kind)
    if value is None and types.NoneType in get_args(kind):
        return None
    if classes := _classes(kind):
        return _group(value, classes, where)
    if origin is tuple and isinstance(value, list):
        if Ellipsis not in get_args(kind) and len(value) != len(get_args(kind)):
            raise RecipeError(f"{where}: must be {len(get_args(kind))} values (found: {len(value)})")
        return tuple(_typed(item, get_args(kind)[0], where) for item in value)
    if origin is not None and isinstance(value, Mapping):
        return {key: _typed(item, get_args(kind)[1], where) for key, item in value.items()}
    if origin is Literal and value not in get_args(kind):
        raise RecipeError(f"{where}: must be one of {', '.join(map(str, get_args(kind)))} (found: {value})")
    if kind is float and isinstance(value, int):
        return float(value)
    if kind in (str, int, float, bool) and type(value) is not kind:
        raise RecipeError(f"{where}: must be of type {kind.__name__} (found: {value})")
    return value
