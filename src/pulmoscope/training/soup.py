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

from pulmoscope.core.errors import OutputExistsError, RecipeError
from pulmoscope.core.files import sha256_of_file, write_json
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import Classifier
from pulmoscope.training import settings
from pulmoscope.training.card import changed_settings
from pulmoscope.training.data import EpochOrder, FramedImages, Frames, load_frames, loader
from pulmoscope.training.export import without_folders
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.learner import correct, loss_of
from pulmoscope.training.loop import RECIPE, SCHEMA_VERSION, TrainedRun, clear, load_run
from pulmoscope.training.recipe import Recipe
from pulmoscope.training.state import save_weights
from pulmoscope.training.summary import describe_data


def average_runs(
    folders: Sequence[Path], table: SampleTable, out: Path, *, force: bool = False, progress: bool = True
) -> TrainedRun:
    """Average the weights of finished runs and make the result a run of its own.

    BatchNorm's statistics are no weights: those of the mean network are measured anew, over one training epoch of the
    first run's recipe.

    Args:
        folders: of the runs, at least two: of the same network, classes and preprocessing, on the same images.
        table: what they were trained on.
        out: the new run's folder. Its recipe is the first run's; ``run.json`` names all under ``averaged``.

    Raises:
        OutputExistsError: ``out`` holds a run already, and ``force`` is not given.
        RecipeError: the runs can't be averaged, are damaged, or were trained on other images than the table's.
        DatasetError, InputError: the images can't be read.
        ResourceError: memory or disk ran out.
    """
    if (out / RECIPE).exists() and not force:
        raise OutputExistsError(out / RECIPE)
    with clear_about_resources(f"averaging into {out}", go_on="--force"), torch.random.fork_rng([]):
        runs = [load_run(folder) for folder in folders]
        _check_alike(runs)
        recipe = runs[0].recipe
        frames = load_frames(table.split("train", "val"), recipe.preprocess, recipe.classes, progress)
        data = describe_data(frames, table, recipe.classes)
        if data["fingerprint"] != runs[0].summary["data"]["fingerprint"]:
            raise RecipeError(f"{table.root}: must hold the images that {folders[0]} was trained on")
        network = runs[0].network()
        network.load_state_dict(mean_weights([run.network().state_dict() for run in runs]))
        _measure_batch_norm(network, recipe, frames, progress)
        summary = {**_summary(runs), **_judged(network, recipe, frames)}
        clear(out)
        begun = {"schema_version": SCHEMA_VERSION, "recipe": settings.to_plain(recipe), "data": data}
        write_json(out / RECIPE, begun)
        save_weights(network, out / "weights.safetensors")
        write_json(out / "run.json", summary)
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
    """Refuse runs whose weights do not mean the same."""
    if len(runs) < 2:
        raise RecipeError(f"averaging: at least two runs are needed (found: {len(runs)})")
    first = runs[0]
    for other in runs[1:]:
        for what, one, own in (
            ("network", _network_of(first.recipe), _network_of(other.recipe)),
            ("classes", first.recipe.classes, other.recipe.classes),
            ("preprocessing", first.recipe.preprocess, other.recipe.preprocess),
            ("images", first.summary["data"]["fingerprint"], other.summary["data"]["fingerprint"]),
        ):
            if one != own:
                raise RecipeError(f"{other.folder}: must have the same {what} as {first.folder}")


def _network_of(recipe: Recipe) -> Any:
    """What the weights mean: the network without its start."""
    return dataclasses.replace(recipe.model, pretrained=False, weights="", dropout=0.0)


def _measure_batch_norm(network: Classifier, recipe: Recipe, frames: Frames, progress: bool) -> None:
    """Give BatchNorm the statistics that this network has, over one epoch as training sees it."""
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


def _judged(network: Classifier, recipe: Recipe, frames: Frames) -> dict[str, float]:
    """Loss and accuracy on the validation split."""
    images = FramedImages(frames, recipe.preprocess, None, recipe.seed)
    order = EpochOrder(frames.places("val"), recipe.batch_size, 0, recipe.seed, shuffle=False)
    with torch.no_grad():
        answers = [(network(batch), labels) for batch, labels in loader(images, order, 0)]
    logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return {"val_loss": float(loss_of(logits, labels)), "val_accuracy": correct(logits, labels) / len(labels)}


def _summary(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """The contents of ``run.json``: the first run's, with the work of all."""
    return {
        **runs[0].summary,
        "best_epoch": None,
        "epochs": sum(run.summary["epochs"] for run in runs),
        "seconds": round(sum(run.summary["seconds"] for run in runs), 1),
        "val_held_out": all(run.summary["val_held_out"] for run in runs),
        "phases": [phase for run in runs for phase in run.summary["phases"]],
        "averaged": [
            {
                "settings": changed_settings(without_folders(run.recipe)),
                "weights_sha256": sha256_of_file(run.folder / "weights.safetensors"),
                "val_loss": run.summary["val_loss"],
                "val_accuracy": run.summary["val_accuracy"],
            }
            for run in runs
        ],
    }
