"""The page of a comparison, and its sentence, from the content of ``compare.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulmoscope.report.html import data_uri, render
from pulmoscope.report.names import FIGURES

OVERALL = {key: FIGURES[key] for key in ("macro_auroc", "accuracy", "balanced_accuracy", "mcc")}
"""The figures over all classes, in their order."""


def compare_page(comparison: Mapping[str, Any], curves: bytes) -> str:
    """The page ``compare.html``.

    Args:
        comparison: the content of ``compare.json``.
        curves: the ROC curves of both models, PNG.
    """
    sides = {"A": comparison["first"], "B": comparison["second"]}
    pair = comparison["pair"]
    rows = [] if pair is None else [(f"{pair['positive']} against {pair['negative']}", pair)]
    # Of the pair's classes alone, each against the rest is the pair once more.
    if len(comparison["compared"]["classes"]) > len(rows) + 1:
        rows += [(f"{label} against the rest", held) for label, held in comparison["by_class"].items()]
    return render(
        "compare.html",
        found=comparison,
        sides=sides,
        overall=OVERALL,
        aurocs=rows,
        curves=data_uri(curves),
    )


def names_of(comparison: Mapping[str, Any]) -> dict[str, str]:
    """What both models are called, ``first`` and ``second``: by letters, too, where their names are the same."""
    names = {
        side: f"{comparison[side]['name']} {comparison[side]['version']}" for side in ("first", "second")
    }
    if len(set(names.values())) == 1:
        return {side: f"{letter} ({names[side]})" for side, letter in (("first", "A"), ("second", "B"))}
    return names


def conclusion(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """What can be concluded: ``better`` (``first``, ``second``, ``mixed`` or ``none``) and a plain sentence.

    A model is better in a figure where the 95 % interval of the difference lies on one side of 0.

    Args:
        comparison: the content of ``compare.json`` but for this.
    """
    names = names_of(comparison)
    sides: dict[str, list[str]] = {"first": [], "second": [], "neither": []}
    for name in OVERALL:
        gap = comparison["figures"][name]["difference"]
        if gap["low"] is not None and gap["high"] is not None:
            sides["first" if gap["low"] > 0 else "second" if gap["high"] < 0 else "neither"].append(name)
    where = _where(comparison)
    parts = [f"{model} is better in {_listed(sides[side])}" for side, model in names.items() if sides[side]]
    if not parts:
        text = (
            f"No difference between {' and '.join(names.values())} can be shown {where}: no interval of a difference "
            "lies on one side of 0. That does not mean that they are equally good."
        )
        return {"better": "none", "first": [], "second": [], "sentence": text}
    others = sides.pop("neither")
    rest = f"; in {_listed(others)} chance may explain the difference" if others else ""
    better = "mixed" if len(parts) > 1 else "first" if sides["first"] else "second"
    text = f"{where[0].upper()}{where[1:]}, {' and '.join(parts)}{rest}. Other hospitals may show otherwise."
    return {"better": better, **sides, "sentence": text}


def _where(comparison: Mapping[str, Any]) -> str:
    data, classes = comparison["data"], comparison["compared"]["classes"]
    of = f" of {' or '.join(sorted(classes))}" if len(classes) == 2 else ""
    patients = "" if data["units"] == data["images"] else f" from {data['units']} patients"
    return f"on these {data['images']} images{of}{patients}"


def _listed(figures: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    titles = [OVERALL[name].title for name in figures]
    names = [title if title.isupper() else title[0].lower() + title[1:] for title in titles]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
