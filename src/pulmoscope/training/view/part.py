"""The view network as a part of a bundle: copied in where it fits the radiographs that the model learnt from."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pulmoscope.core.files import write_bytes
from pulmoscope.datasets.table import SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.runtime.bundle import built_in_view_network
from pulmoscope.runtime.model import find_view
from pulmoscope.runtime.network import open_network
from pulmoscope.training.frames import read_all

PART = "view.onnx"
MOST_REFUSED = 0.1
"""A view network that takes more of a model's own validation images for no frontal radiographs does not fit it."""


def view_network() -> Path:
    """The view network that comes with the package; there may be none."""
    return built_in_view_network() / PART


def add_view(run: Path, table: SampleTable, progress: bool) -> dict[str, Any]:
    """Copy the view network into a bundle's folder, unless it would refuse what the model learnt from.

    Synthetic radiographs, children alone or another view of the chest are such.

    Args:
        table: the model's images; those of its split val are looked at.

    Returns:
        ``views``: how many images of each class it takes for what; where it is left out, ``warnings`` says so.
        Empty where the package has none.

    Raises:
        InputError, DatasetError: images can't be read.
    """
    (run / PART).unlink(missing_ok=True)
    source = view_network()
    if not source.is_file():
        return {}
    network, held_out = open_network(source), table.split("val")
    seen = read_all(held_out, lambda counts: find_view(network, read_pixels(table.path(counts))), progress)
    refused = sum(not view.is_chest for view in seen)
    if refused > MOST_REFUSED * len(seen):
        reason = (
            f"what a picture shows is not checked: the view network takes {refused} of {len(seen)} validation images "
            "for no frontal radiographs"
        )
        return {"warnings": [reason]}
    write_bytes(run / PART, source.read_bytes())
    views: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, view in zip(held_out, seen, strict=True):
        if view.is_chest:
            views[sample.label][view.name] += 1
    return {"views": {label: dict(sorted(counts.items())) for label, counts in sorted(views.items())}}
