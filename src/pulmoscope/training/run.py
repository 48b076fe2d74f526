"""A run of a recipe of single images: its phases in order, resumable after a kill to the same weights.

A run is a folder::

    recipe.json            the resolved recipe: classes in order of the logits, measured mean and s.d., settings
    images.csv             the images it had, with splits, labels and hospitals as it took them: a data set itself
    run.json               phases, epochs, best epoch, seconds, data, versions (written last: the run is whole)
    weights.safetensors    the network that was kept
    curves.csv, curves.png, tensorboard/
    checkpoints/, prepared/  while it is under way

``images.csv``, and ``predictions.csv`` where a hospital was left out, name files and patients as the data do. They are
no part of the model: whoever hands it on leaves them out.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.tensorboard import SummaryWriter

from pulmoscope.core.errors import OutputExistsError, RecipeError, ResourceError
from pulmoscope.core.files import check_folder, write_json
from pulmoscope.datasets import manifest
from pulmoscope.datasets.labels import fitted, fitted_labels, soft_labels
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import Classifier, build
from pulmoscope.recipes import archive, rules, settings
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import CARD, MANIFEST, PARTS
from pulmoscope.training import curves
from pulmoscope.training.frame_cache import frame_cache_of
from pulmoscope.training.frames import Frames, frames_of, prepared, read_frames, write_frames
from pulmoscope.training.hardware import (
    clear_about_resources,
    fabric_of,
    find_device,
    find_precision,
    keep_freed_memory,
    told_precision,
)
from pulmoscope.training.image_stage import image_stage
from pulmoscope.training.light.parents import parents_of
from pulmoscope.training.light.start import begun as begun_with
from pulmoscope.training.light.start import load_state, without_weights
from pulmoscope.training.loop import fit as fit_stage
from pulmoscope.training.parallel.launch import Launch
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState, Row, read_json, save_weights
from pulmoscope.training.summary import NEEDED, SUMMARY, describe_data, finish

RECIPE = "recipe.json"
SHARED = "checkpoints/frames"
"""Framed images that several processes share."""
PREPARED = "prepared"
"""Images that were framed; or standardised slices and networks of quality control, until the run is exported."""
TEMPORARY = ("checkpoints", "cache", PREPARED)
"""Folders of a run under way; they hold patients' slices."""
SHEETS = "sheets"
"""What generative networks draw, beside the patients' slices that they redraw."""
DATA = "images.csv"
"""The images that a run had, with their splits, labels and hospitals as it took them; a data set itself."""
RESULTS = ("run.json", RECIPE, "weights.safetensors", "curves.csv", "curves.png")


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
        """The kept network, on the CPU in eval mode.

        Raises:
            RecipeError: its weights are damaged or gone.
        """
        network = network_of(without_weights(self.recipe))
        file = self.folder / "weights.safetensors"
        load = load_state if self.recipe.light.reshapes else Classifier.load_state_dict
        try:
            load(network, load_file(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RecipeError(f"{file}: is damaged ({reason}); start anew with --force") from error
        return network.eval()


def network_of(recipe: Recipe) -> Classifier:
    """The network of a resolved recipe, as training begins with it (errors: see :func:`build`)."""
    channels = recipe.framing.channels
    return build(recipe.model, logits_of(recipe), channels, recipe.loss, locate=bool(recipe.locate))


def logits_of(recipe: Recipe) -> int:
    """Number of logits of a resolved recipe."""
    return 1 if recipe.model.output == "sigmoid" else len(recipe.classes)


def load_run(folder: Path) -> TrainedRun:
    """Open a finished run.

    Raises:
        RecipeError: the folder holds none, its files are damaged, or its recipe is of another version.
    """
    if not (folder / "run.json").is_file():
        raise RecipeError(f"{folder}: holds no finished training run (no run.json)")
    recipe = read_json(folder / "recipe.json", "recipe")["recipe"]
    # Runs of studies did not always say all of it.
    summary = dict.fromkeys(SUMMARY) | {"val_held_out": True} | read_json(folder / "run.json", *NEEDED)
    return TrainedRun(folder, settings.from_plain(recipe), summary)


def check_free(run: Path, resume: bool, force: bool) -> None:
    """Refuse a folder that holds a run already; cheap, so that it is reported before images are read.

    Raises:
        OutputExistsError: it does, and neither ``resume`` nor ``force`` is given.
        ResourceError: it is no folder, or a file of somebody else's is where the run's images are to be listed.
    """
    if run.exists() and not run.is_dir():
        raise ResourceError(f"{run}: a run needs a folder (found: a file)")
    if (run / RECIPE).exists() and not resume and not force:
        raise OutputExistsError(run / RECIPE, resumable=True)
    if (run / DATA).exists() and not (run / RECIPE).exists():
        raise ResourceError(f"{run / DATA}: a run writes a file of this name; give another folder")


def fit(
    recipe: Recipe,
    table: SampleTable,
    run: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    launch: Launch | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    frames: Frames | None = None,
    after_epoch: Callable[[Row], None] | None = None,
) -> TrainedRun:
    """Train a recipe on a table's splits train and val.

    The same recipe, data, seed, device and number of threads give the same weights on a CPU, interrupted or not.

    Args:
        recipe, run: with its settings (see :func:`resolve`); the folder of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: processes that prepare data; 0: a thread of the training process.
        launch: starts processes that share every batch, on one GPU each or on the CPU; None: this one has it whole.
        resume: go on where the run in this folder stopped; a finished one is returned as it is.
        force, progress: replace a run that is in this folder; show bars and figures on standard error.
        frames: the images of train and val, framed already (several runs on the same images share them).
        after_epoch: gets the figures of the best epoch so far after each, in one process; may raise to end the run.

    Raises:
        OutputExistsError: a run is in this folder, and neither ``resume`` nor ``force`` is given.
        RecipeError: a setting makes no sense, the run to resume had other settings, or the loss became NaN.
        DatasetError, InputError, BundleError: the data, or a model that it builds on (``light``), are not complete.
        ResourceError: no such device, or memory or disk ran out, or the pretrained weights can't be fetched.
    """
    check_free(run, resume, force)
    where = find_device(device)
    keep_freed_memory()
    separate_seeds = torch.random.fork_rng([where] if where.type == "cuda" else [])
    with clear_about_resources(f"training {run}"), separate_seeds:
        recipe, table = settled(recipe, table)
        table.split("train").with_labels(recipe.classes)
        table.split("val")
        network, precision = _untrained(recipe), find_precision(recipe.precision, where)
        frames = _framed(recipe, table, run, force, progress) if frames is None else frames
        recipe = measured(recipe, frames)
        data = describe_data(frames, table, recipe.classes) | parents_of(recipe)
        begun = {"schema_version": archive.VERSION, "recipe": settings.to_plain(recipe), "data": data}
        if claim(run, begun, force):
            return load_run(run)
        manifest.write_table(run / DATA, table)
        if launch is not None:
            write_frames(frames, run / SHARED)
            part = partial(_run_part, recipe=recipe, run=run, workers=workers, progress=progress)
            launch(part, device, recipe.precision)
        fabric, reporter = fabric_of(where, precision), Reporter.of(progress, after_epoch)
        states = _run_phases(network, recipe, frames, run, fabric, workers, reporter)
        save_weights(network, run / "weights.safetensors")
        _remove(run, PREPARED)
        finish(run, recipe, states, where, data)
    return load_run(run)


def settled(recipe: Recipe, table: SampleTable) -> tuple[Recipe, SampleTable]:
    """A recipe and a data set made for one another: prepared and resolved; doing it twice changes nothing.

    The table's warnings say which fractions of classes that the data don't have went to the others.

    Raises:
        DatasetError, RecipeError: see :func:`prepared` and :func:`resolve`.
    """
    table = prepared(recipe, table)
    resolved = resolve(recipe, table)
    warnings = [
        f"labels.{label}: {text} has classes that these data don't have; learnt as {resolved.labels[label]}"
        for label, text in recipe.labels.items()
        if text != resolved.labels.get(label, text) and any(sample.label == label for sample in table)
    ]
    gone = [name for name in recipe.unread if name not in resolved.unread]
    if gone and any(sample.unread for sample in table):
        warnings.append(f"unread: {', '.join(gone)} is no class of these data; its share goes to the others")
    return resolved, prepared(resolved, table.with_samples(table, *warnings))


def resolve(recipe: Recipe, table: SampleTable) -> Recipe:
    """Fill in what depends on the data, and check what the types can't say.

    An empty class list becomes the table's classes; with a single logit ``positive`` goes to second place. A single
    logit tells two classes apart: with more, the output becomes a softmax. Shares of classes that the data don't have
    go to the others (see :func:`pulmoscope.datasets.labels.fitted_labels`).

    Raises:
        RecipeError: a setting is beyond its limits (see :mod:`pulmoscope.recipes.rules`), or there is one class.
    """
    rules.check(recipe)
    classes = recipe.classes or tuple(
        name for name in table.classes if name not in soft_labels(recipe.labels)
    )
    if len(classes) < 2:
        raise RecipeError(f"classes: at least two are needed (found: {', '.join(classes) or 'none'})")
    if len(classes) == 2 and recipe.positive in classes:
        classes = (*(name for name in classes if name != recipe.positive), recipe.positive)
    missing = [name for name in recipe.opacity_classes if name not in classes]
    if recipe.augmentation.opacities and (missing or len(recipe.opacity_classes) != 2):
        raise RecipeError(
            "opacity_classes: simulated opacities in both lungs and in one are two of the classes "
            f"(found: {', '.join(recipe.opacity_classes)}; classes: {', '.join(classes)})"
        )
    model = recipe.model
    if model.output == "sigmoid" and len(classes) != 2:
        model = dataclasses.replace(model, output="softmax")
    labels, unread = fitted_labels(recipe.labels, classes), fitted(recipe.unread, classes)
    return dataclasses.replace(recipe, classes=classes, model=model, labels=labels, unread=unread)


def measured(recipe: Recipe, frames: Frames) -> Recipe:
    """With the mean and standard deviation of train and val, where the recipe normalises so."""
    if recipe.normalise == "fixed":
        return recipe
    mean, std = frames.statistics()
    return dataclasses.replace(recipe, preprocess=dataclasses.replace(recipe.framing, mean=mean, std=std))


def claim(run: Path, begun: Mapping[str, Any], force: bool) -> bool:
    """Make the folder this run's; ``begun``: its ``recipe`` and ``data``. True: the run is finished already.

    Raises:
        RecipeError: a run with other settings or data is in it.
        OutputExistsError: files of such names lie there that are no run's, and ``force`` is not given.
    """
    marker = run / RECIPE
    if marker.exists() and not force:
        before = read_json(marker, "recipe", "data")
        # Earlier versions name some settings otherwise; those that they had not yet have their defaults.
        before["recipe"] = settings.to_plain(settings.from_plain(before["recipe"]))
        changed = _difference(_deciding(before), _deciding(begun))
        if changed:
            raise RecipeError(f"{run}: was begun with another {changed}; give another folder, or --force")
        if not (run / "run.json").is_file():
            return False
        _remove(run, *TEMPORARY)  # what this call has prepared in vain
        return True
    written = (MANIFEST, CARD, *RESULTS, *PARTS)
    if marker.exists():  # else it is no run's
        (run / DATA).unlink(missing_ok=True)
    else:
        check_folder(run, RECIPE, force, written)
    for name in written:
        (run / name).unlink(missing_ok=True)
    _remove(run, *(name for name in TEMPORARY if name != PREPARED), "tensorboard", SHEETS)
    write_json(marker, begun)
    return False


def _remove(run: Path, *folders: str) -> None:
    for name in folders:
        shutil.rmtree(run / name, ignore_errors=True)


def _deciding(begun: Mapping[str, Any]) -> Any:
    """What a run is as JSON holds it, without what only describes the recipe."""
    leaves = {
        key: value for key, value in begun["recipe"].items() if key not in (*settings.DESCRIPTION, "cache")
    }
    leaves = dict(settings.leaves(leaves))
    return json.loads(json.dumps({"name": begun["recipe"]["name"], "recipe": leaves, "data": begun["data"]}))


def _difference(one: Any, other: Any, path: str = "") -> str:
    """Where two JSON values first differ, with both values; empty where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            difference = _difference(one.get(key), other.get(key), f"{path}.{key}" if path else key)
            if difference:
                return difference
        return ""
    return "" if one == other else f"{path} ({one}, now {other})"


def _framed(recipe: Recipe, table: SampleTable, run: Path, force: bool, progress: bool) -> Frames:
    """The images; kept in the run's folder, unless it is finished, where none may stay."""
    own = run / PREPARED if force or not (run / "run.json").is_file() else None
    return frames_of(recipe, table, progress, frame_cache_of(recipe, own))


def _untrained(recipe: Recipe) -> Classifier:
    torch.manual_seed(recipe.seed)
    network = begun_with(network_of(without_weights(recipe) if recipe.light.start else recipe), recipe)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _run_part(fabric: Fabric, recipe: Recipe, run: Path, workers: int, progress: bool) -> None:
    """What one of several processes does; the first process's state files say how it went."""
    keep_freed_memory()
    reporter = Reporter.of(progress and fabric.is_global_zero)
    with clear_about_resources(f"training {run}"):
        _run_phases(_untrained(recipe), recipe, read_frames(run / SHARED), run, fabric, workers, reporter)


def _run_phases(
    network: Classifier,
    recipe: Recipe,
    frames: Frames,
    run: Path,
    fabric: Fabric,
    workers: int,
    reporter: Reporter,
) -> dict[str, PhaseState]:
    """Train ``network`` through all phases; phase name → how it went."""
    reporter.line(
        f"computing in {told_precision(find_precision(recipe.precision, fabric.device), fabric.device)}"
    )
    initial = {name: value.clone() for name, value in network.state_dict().items()}
    states: dict[str, PhaseState] = {}
    for number, phase in enumerate(recipe.phases):
        epochs = states[phase.epochs_of].best_epoch if phase.epochs_of else phase.epochs
        if phase.restart:
            network.load_state_dict(initial)
        with _Records(run, [row for state in states.values() for row in state.rows]) as records:
            stage = image_stage(network, recipe, number, epochs, frames, fabric, workers, records.write)
            states[phase.name] = fit_stage(stage, run / "checkpoints", fabric, reporter)
        network.requires_grad_(True)
    return states


class _Records:
    """What a run shows of itself while it is under way: TensorBoard's events and the curves as a table.

    Args:
        before: the figures of the phases before.
    """

    def __init__(self, run: Path, before: Sequence[Row]) -> None:
        self.run, self.before = run, before
        self._board: SummaryWriter | None = None

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, state: PhaseState) -> None:
        """Add the epoch that has just been saved."""
        rows = [*self.before, *state.rows]
        self._board = self._board or SummaryWriter(str(self.run / "tensorboard"))
        for name, value in rows[-1].items():
            if isinstance(value, float):
                self._board.add_scalar(name.replace("_", "/", 1), value, len(rows))
        self._board.flush()
        curves.write_table(rows, self.run / "curves.csv")
