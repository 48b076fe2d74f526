"""What files call analytes: by name with a unit behind it, or by a code of LOINC."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from pulmoscope.core.analytes import ANALYTES, Analyte, Form

Forms = tuple[tuple[Analyte, Form], ...]


def named(name: str) -> Forms:
    """The forms of analytes that a table's name may mean; the unit tells which."""
    return _names().get(plain_name(name), ())


def coded(code: str) -> Forms:
    """The form of an analyte that a LOINC code means; empty: none of the catalogue."""
    return _codes().get(code.strip(), ())


def in_a_header(text: str) -> tuple[Forms, str]:
    """The forms and the unit that a column's header names: ``crp_mg_l``, ``crp [mg/L]``, ``crp (mg/L)`` or ``crp``.

    The unit is empty where the header names none; the forms are empty where it names no analyte.
    """
    bracket = re.fullmatch(r"\s*(.+?)\s*[\[(](.*)[\])]\s*", text)
    if bracket and (forms := named(bracket[1])):
        return forms, bracket[2].strip()
    plain = plain_name(text)
    if plain in _names():
        return _names()[plain], ""
    parts = plain.split("_")
    for count in range(len(parts) - 1, 0, -1):
        if forms := _names().get("_".join(parts[:count]), ()):
            return forms, "_".join(parts[count:])
    return (), ""


@cache
def is_unit(text: str) -> bool:
    """Whether a text is a unit of any analyte."""
    return any(
        analyte.conversion(form, text) is not None for analyte in ANALYTES.values() for form in analyte.forms
    )


def plain_name(text: str) -> str:
    """A name in one way of writing: lower case, signs as ``_``."""
    return re.sub(r"[^a-z0-9%]+", "_", text.lower()).strip("_")


@cache
def _names() -> Mapping[str, Forms]:
    return _index((name, (analyte, form)) for analyte, form in _all() for name in form.names)


@cache
def _codes() -> Mapping[str, Forms]:
    return _index((code, (analyte, form)) for analyte, form in _all() for code in form.loinc)


def _all() -> Iterable[tuple[Analyte, Form]]:
    return ((analyte, form) for analyte in ANALYTES.values() for form in analyte.forms)


def _index(pairs: Iterable[tuple[str, tuple[Analyte, Form]]]) -> Mapping[str, Forms]:
    index: dict[str, Forms] = {}
    for key, pair in pairs:
        index[key] = (*index.get(key, ()), pair)
    return index
