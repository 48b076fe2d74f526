"""The one training loop, on Lightning: phases in order, resumable after a kill to the same weights.

A run is a folder::

    recipe.json            the resolved recipe: classes in order of the logits, measured mean and s.d., settings
    run.json               phases, epochs, best epoch, seconds, data, versions (written last: the run is whole)
    weights.safetensors    the network that was kept
    outputs.npz            what it says of train and val without augmentation (see :func:`save_outputs`)
    curves.csv, curves.png, tensorboard/, checkpoints/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import Classifier
from pulmoscope.training.data import Frames
from pulmoscope.training.recipe import Recipe


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: where its files are.
        recipe: the resolved recipe (``recipe.classes`` is in order of the logits).
        summary: the contents of ``run.json``.
    """

    folder: Path
    recipe: Recipe
    summary: Mapping[str, Any]

    def network(self) -> Classifier:
        """The kept network, on the CPU in eval mode."""
        raise NotImplementedError


def load_run(folder: Path) -> TrainedRun:
    """Open a finished run (RecipeError where the folder holds none)."""
    raise NotImplementedError


def fit(
    recipe: Recipe,
    table: SampleTable,
    run: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    frames: Frames | None = None,
) -> TrainedRun:
    """Train. ``frames``: the table's images, framed already (several runs on the same images share them)."""
    raise NotImplementedError
