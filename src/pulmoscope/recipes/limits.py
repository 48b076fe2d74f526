"""Is every setting within the limits that stand with its field? Told before anything is read."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.limits import Limits


def check_limits(recipe: Any, path: str = "") -> None:
    """Walk the fields of a recipe, a frozen dataclass, and of all its parts.

    Args:
        path: where the part lies, e.g. ``model.``.

    Raises:
        RecipeError: a setting is beyond its limits; the message names the setting, its limits and the value.
    """
    for name, kind in get_type_hints(type(recipe), include_extras=True).items():
        value = getattr(recipe, name)
        for limits in limits_of(kind):
            _check(f"{path}{name}", value, limits)
        if dataclasses.is_dataclass(value):
            check_limits(value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if dataclasses.is_dataclass(item):
                    check_limits(item, f"{path}{name}.{getattr(item, 'name', index)}.")


def limits_of(kind: Any) -> list[Limits]:
    """The limits in a field's type."""
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return [extra for extra in extras if isinstance(extra, Limits)]


def _check(setting: str, value: Any, limits: Limits) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if not (limits.low <= number <= limits.high and math.isfinite(number)):
            most = "" if limits.high == math.inf else f" and at most {limits.high:.10g}"
            raise RecipeError(f"{setting}={number}: must be at least {limits.low:g}{most}")
