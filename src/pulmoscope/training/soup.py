"""A model soup: the weights of several runs of one network, averaged into one network.

Wortsman et al., «Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time», ICML 2022. Runs that began with the same pretrained weights lie in one valley of the loss: their mean
is often better than each of them, most of all on other hospitals' images, and costs no more than one of them to run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.optim.swa_utils import update_bn

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import Classifier
from pulmoscope.training import settings
from pulmoscope.training.card import changed_settings
from pulmoscope.training.data import EpochOrder, FramedImages, Frames, load_frames, loader
from pulmoscope.training.export import without_folders
from pulmoscope.training.hardware import clear_about_resources, keep_freed_memory
from pulmoscope.training.learner import correct, loss_of
from pulmoscope.training.loop import RECIPE, SCHEMA_VERSION, TrainedRun, check_free, clear, load_run
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.state import save_weights
from pulmoscope.training.summary import describe_data

_WHY = {
    "start": " (the same pretrained weights, or one seed where layers are drawn): else their mean means nothing"
}


def open_runs(folders: Sequence[Path], out: Path, *, force: bool = False) -> list[TrainedRun]:
    """Open finished runs and check that they can be averaged into ``out``; cheap, before any image is read.

    Raises:
        OutputExistsError: ``out`` holds a run already, and ``force`` is not given.
        RecipeError: the runs are too few, damaged, or not of one network that began with the same weights.
        ResourceError: ``out`` is no folder.
    """
    check_free(out, resume=False, force=force, resumable=False)
    if len(folders) < 2:
        raise RecipeError(f"averaging: at least two runs are needed (found: {len(folders)})")
    if out.resolve() in [folder.resolve() for folder in folders]:
        raise RecipeError(f"{out}: is one of the runs; the average needs a folder of its own")
    runs = [load_run(folder) for folder in folders]
    _check_alike(runs)
    return runs


def average_runs(
    runs: Sequence[TrainedRun], table: SampleTable, out: Path, *, progress: bool = True
) -> TrainedRun:
    """Average the weights of runs and make the result a run of its own.

    BatchNorm's statistics are no weights: those of the mean network are measured anew, on the training split, augmented
    and in batches as in the first run's first epoch (but not mixed).

    Args:
        runs: from :func:`open_runs`.
        table: what they were trained on.
        out: the new run's folder; an older run in it is replaced. Its recipe is the first run's, and its
            ``recipe.json`` and ``run.json`` name all runs under ``averaged``.

    Raises:
        RecipeError: a run's weights are damaged, or it was trained on other images than the table's.
        DatasetError, InputError: the images can't be read.
        ResourceError: memory or disk ran out.
    """
    keep_freed_memory()
    relief = "fewer other programs at the same time"
    with clear_about_resources(f"averaging into {out}", "--force", relief), torch.random.fork_rng([]):
        recipe = runs[0].recipe
        frames = load_frames(table.split("train", "val"), recipe.preprocess, recipe.classes, progress)
        data = describe_data(frames, table, recipe.classes)
        if data["fingerprint"] != runs[0].summary["data"]["fingerprint"]:
            raise RecipeError(f"{table.root}: must hold the images that {runs[0].folder} was trained on")
        network = runs[0].network()
        network.load_state_dict(mean_weights([run.network().state_dict() for run in runs]))
        if (
            recipe.phases[-1].frozen != "backbone"
        ):  # else its statistics are the pretrained ones, in every run
            _measure_batch_norm(network, recipe, frames, progress)
        begun = {"schema_version": SCHEMA_VERSION, "recipe": settings.to_plain(recipe), "data": data}
        members = [_member(run) for run in runs]
        summary = {**_summary(runs), **_judged(network, recipe, frames, _held_out(runs))}
        clear(out)
        write_json(out / RECIPE, {**begun, "averaged": members})
        save_weights(network, out / "weights.safetensors")
        write_json(out / "run.json", {**summary, "averaged": members})
    return load_run(out)


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several state dicts, computed in double precision; counters are the first one's."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(first.dtype)
        if first.is_floating_point()
        else first.clone()
        for name, first in states[0].items()
    }


def _check_alike(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs whose weights do not mean the same, or have nothing in common."""
    first = runs[0]
    seen: dict[str, Path] = {}
    for run in runs:
        if "averaged" in run.summary:
            raise RecipeError(f"{run.folder}: is an average itself; give the runs that it is made of")
        weights = sha256_of_file(run.folder / "weights.safetensors")
        if weights in seen:
            raise RecipeError(f"{run.folder}: must have weights of its own (found: those of {seen[weights]})")
        seen[weights] = run.folder
        for what, one, own in (
            ("network", _network_of(first.recipe), _network_of(run.recipe)),
            ("start", _start_of(first.recipe), _start_of(run.recipe)),
            ("classes", first.recipe.classes, run.recipe.classes),
            ("preprocessing", first.recipe.preprocess, run.recipe.preprocess),
            ("images", first.summary["data"]["fingerprint"], run.summary["data"]["fingerprint"]),
        ):
            if one != own:
                raise RecipeError(
                    f"{run.folder}: must have the same {what} as {first.folder}{_WHY.get(what, '')}"
                )


def _network_of(recipe: Recipe) -> Any:
    """What the weights mean: the network without its start."""
    return dataclasses.replace(recipe.model, pretrained=False, weights="", dropout=0.0)


def _start_of(recipe: Recipe) -> tuple[bool, str, int | None]:
    """What the weights began as. Another seed draws another start, but for a single layer on a pretrained backbone."""
    model = recipe.model
    drawn = model.hidden > 0 or not (model.from_hub or model.weights)
    return model.pretrained, Path(model.weights).name, recipe.seed if drawn else None


def _measure_batch_norm(network: Classifier, recipe: Recipe, frames: Frames, progress: bool) -> None:
    """Give BatchNorm the statistics that this network has on augmented training images."""
    images = FramedImages(frames, recipe.preprocess, recipe.augment, recipe.seed)
    order = EpochOrder(frames.places("train"), recipe.batch_size, 0, recipe.seed, shuffle=True)
    torch.manual_seed(recipe.seed)
    batches = track(
        loader(images, order, 0),
        description="measuring BatchNorm",
        total=len(order),
        console=Console(stderr=True),
        transient=True,
        disable=not progress,
    )
    update_bn(batches, network)
    network.eval()


def _held_out(runs: Sequence[TrainedRun]) -> bool:
    return all(run.summary["val_held_out"] for run in runs)


def _judged(network: Classifier, recipe: Recipe, frames: Frames, held_out: bool) -> dict[str, float | None]:
    """Loss and accuracy on the validation split, where it was held out."""
    if not held_out:
        return {"val_loss": None, "val_accuracy": None}
    images = FramedImages(frames, recipe.preprocess, None, recipe.seed)
    order = EpochOrder(frames.places("val"), recipe.batch_size, 0, recipe.seed, shuffle=False)
    with torch.no_grad():
        answers = [(network(batch), labels) for batch, labels in loader(images, order, 0)]
    logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return {"val_loss": float(loss_of(logits, labels)), "val_accuracy": correct(logits, labels) / len(labels)}


def _member(run: TrainedRun) -> dict[str, Any]:
    """How a run can be made again, and what it is worth alone: null where its last phase held nothing out."""
    held_out = run.summary["val_held_out"]
    return {
        "settings": changed_settings(without_folders(run.recipe)),
        "weights_sha256": sha256_of_file(run.folder / "weights.safetensors"),
        "val_loss": run.summary["val_loss"] if held_out else None,
        "val_accuracy": run.summary["val_accuracy"] if held_out else None,
    }


def _summary(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """What ``run.json`` says of the runs: the first one's facts, with the work of all."""
    return {
        **runs[0].summary,
        "best_epoch": None,
        "epochs": sum(run.summary["epochs"] for run in runs),
        "seconds": round(sum(run.summary["seconds"] for run in runs), 1),
        "val_held_out": _held_out(runs),
        "phases": [phase for run in runs for phase in run.summary["phases"]],
    }
