"""A recipe trained without one hospital after another; single images are framed once for all."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.datasets.hospitals import check_hospitals, is_of, of, without
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.table import SampleTable
from pulmoscope.recipes import rules, settings
from pulmoscope.recipes.recipe import Recipe, travelling
from pulmoscope.runtime.bundle import is_bundle
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.frame_cache import frame_cache_of
from pulmoscope.training.frames import Frames, frames_of, prepared
from pulmoscope.training.run import fit, settled
from pulmoscope.training.systems import Options, kind_of


class LeaveOut:
    """Trains a recipe without one hospital after another, each time a model that knows all its classes.

    Attributes:
        recipe: resolved, with the classes that all hospitals have together.
        hospitals: those that can be left out.
        skipped: the others → why they can't be.

    Args:
        recipe: with its settings; hospitals in ``left_out`` are learnt from by no model.
        table: all data, hospitals known (see :mod:`pulmoscope.datasets.several`).
        hospitals: the ones to leave out, by name.

    Raises:
        RecipeError: a setting makes no sense.
        DatasetError: the recipe's table of labels makes no sense, or a hospital of ``left_out`` is not there.
    """

    def __init__(self, recipe: Recipe, table: SampleTable, hospitals: Iterable[str]) -> None:
        check_hospitals(table, recipe.left_out)
        self._table = table
        self.recipe, self._all = _settled(recipe, table)
        reasons = {name: self._why_not(name) for name in hospitals}
        self.hospitals = tuple(name for name, reason in reasons.items() if not reason)
        self.skipped: Mapping[str, str] = {name: reason for name, reason in reasons.items() if reason}

    def images_of(self, hospital: str) -> SampleTable:
        """All images of a hospital, from every folder and split, labels in the recipe's words."""
        return mapped_labels(of(self._table, hospital), self.recipe.labels)

    def train(
        self,
        hospital: str,
        run: Path,
        *,
        device: str = "auto",
        resume: bool = False,
        force: bool = False,
        progress: bool = True,
    ) -> None:
        """Train without a hospital and make the run a bundle; one that is finished is taken as it is.

        The arguments and errors are those of :func:`pulmoscope.training.run.fit`.
        """
        left_out = tuple(dict.fromkeys((*self.recipe.left_out, hospital)))
        recipe = dataclasses.replace(self.recipe, left_out=left_out)
        if recipe.slices is not None:
            options = Options(device=device, resume=resume, force=force, progress=progress)
            kind_of(recipe).of(recipe, (self._table,), options).fit(run)
            return
        table = prepared(recipe, self._table)
        files = {sample.file for sample in table}
        indices = np.flatnonzero([file in files for file in self._frames.files])
        frames = self._frames.select(indices)
        fit(
            recipe,
            table,
            run,
            device=device,
            resume=resume,
            force=force,
            progress=progress,
            frames=frames,
        )
        if not is_bundle(run):
            export_bundle(run, table, progress=progress, frames=frames)

    def facts(self) -> dict[str, Any]:
        """Which recipe, for results, without folders of this machine."""
        plain = settings.to_plain(travelling(self.recipe))
        return {"name": self.recipe.name, "title": self.recipe.title, "settings": plain}

    @cached_property
    def _frames(self) -> Frames:
        """All images of train and val, of every hospital."""
        return frames_of(self.recipe, self._all, cache=frame_cache_of(self.recipe, None))

    def _why_not(self, hospital: str) -> str:
        """Why nothing can be learnt without a hospital; empty: it can."""
        kept = [sample for sample in self._all if not is_of(sample, (hospital,))]
        classes = self.recipe.classes
        learnt = {sample.label for sample in kept if sample.split == "train"}
        missing = [name for name in classes if name not in learnt]
        if missing:
            return f"without it {', '.join(missing)} has no training image"
        if not any(sample.split == "val" and sample.label in classes for sample in kept):
            return "without it there is no validation image"
        return ""


def _settled(recipe: Recipe, table: SampleTable) -> tuple[Recipe, SampleTable]:
    """A recipe and a data set made for one another, the classes known."""
    if recipe.slices is None:
        return settled(recipe, table)
    rules.check(recipe)
    table = mapped_labels(without(table, recipe.left_out) if recipe.left_out else table, recipe.labels)
    return dataclasses.replace(recipe, classes=recipe.classes or table.classes), table


def folders_of(hospitals: Iterable[str]) -> dict[str, str]:
    """A folder's name for every hospital: its own, what file systems may not take replaced, no two alike.

    >>> folders_of(["nih", "St. Mary's", "St/ Mary's"])
    {'nih': 'nih', "St. Mary's": 'St._Mary_s', "St/ Mary's": 'St_Mary_s'}
    """
    folders: dict[str, str] = {}
    for name in hospitals:
        plain = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "_"
        taken = {other.lower() for other in folders.values()}
        folder, number = plain, 2
        while folder.lower() in taken:
            folder, number = f"{plain}-{number}", number + 1
        folders[name] = folder
    return folders
