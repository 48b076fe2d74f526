"""``pulmoscope train xray-view``: the view network, from one data set or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from pulmoscope.apps.cli.data import load_data


def train_view_network(
    data: Sequence[Path], layout: str | None, out: Path, changes: Sequence[str], force: bool
) -> None:
    """Train the view network on data sets, and tell what it refuses.

    Args:
        changes: settings, ``key=value``; only whole numbers and ``weights`` can be set.

    Raises:
        RecipeError: a setting is none, or no number. For the rest see :func:`pulmoscope.training.view.fit.train_view`.
    """
    from pulmoscope.core.files import claim_folder
    from pulmoscope.recipes.published.xray_view import RECIPE, changed

    recipe = changed(RECIPE, changes)
    from pulmoscope.training.view.fit import MARKER, train_view

    claim_folder(out, MARKER, force)
    found = train_view(recipe, [load_data([folder], layout) for folder in data], out, force=force)
    for group, counts in found["unseen"].items():
        typer.echo(f"{group}, not learnt from: {counts['refused']} of {counts['pictures']} refused")
    for split, kinds in found["passed"].items():
        for kind, counts in kinds.items():
            typer.echo(f"{split}, {kind}: {counts['passed']} of {counts['pictures']} taken for a chest's")
    typer.echo(f"View network: {out / 'view.onnx'}")
