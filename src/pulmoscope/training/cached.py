"""What the trials of a search share: framed images, and features of a frozen backbone, read and computed once.

Training a head on such features takes minutes instead of hours for a grid. It is the frozen phase of a recipe with
one difference: an image has :data:`VARIANTS` augmented variants, which the epochs take in turn, instead of a new one
every epoch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes
from pulmoscope.datasets.labels import shares_of
from pulmoscope.models.classifier import Classifier, Head, build
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import LossSpec
from pulmoscope.training.data import EpochOrder, FramedImages, loader
from pulmoscope.training.frames import Frames, Maps
from pulmoscope.training.hardware import find_precision
from pulmoscope.training.learner import class_weights, correct, learning_rate, loss_of, optimizer_of
from pulmoscope.training.loop import logits_of

VARIANTS = 4
FEATURES = "features.npz"
IMAGES = "images.npy"
LABELS = "labels.npz"


def write_frames(frames: Frames, folder: Path) -> None:
    """Keep framed images for other processes; the last file written is the images."""
    kept: dict[str, Any] = {
        name: getattr(frames, name) for name in ("labels", "splits", "files", "hospitals")
    }
    kept |= {} if frames.targets is None else {"targets": frames.targets}
    kept |= {} if frames.maps is None else vars(frames.maps)
    stream = io.BytesIO()
    np.savez(stream, **kept)
    write_bytes(folder / LABELS, stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, frames.images)
    write_bytes(folder / IMAGES, stream.getvalue())


def read_frames(folder: Path) -> Frames:
    """What :func:`write_frames` kept; the images stay on disk, and in memory once for all processes."""
    with np.load(folder / LABELS) as found:
        return Frames(
            np.load(folder / IMAGES, mmap_mode="r"),
            found["labels"],
            tuple(found["splits"].tolist()),
            tuple(found["files"].tolist()),
            found.get("targets"),
            tuple(found["hospitals"].tolist()),
            Maps(found["lungs"], found["opacities"], found["known"]) if "known" in found else None,
        )


def frozen_throughout(recipe: Recipe) -> bool:
    """Whether features can be computed once.

    No phase moves the backbone, no images are mixed, every label is one class, and the loss is plain.
    """
    plain = (
        not (recipe.mixup or recipe.balance or recipe.robust or recipe.locate) and recipe.loss == LossSpec()
    )
    shared = any(len(shares_of(text)) > 1 for text in recipe.labels.values())
    plain = plain and not (
        shared or recipe.unread or recipe.augmentation.opacities or recipe.augmentation.mixing
    )
    return plain and all(phase.frozen == "backbone" for phase in recipe.phases)


def write_features(recipe: Recipe, frames: Frames, folder: Path, progress: bool = True) -> None:
    """Compute ``features.npz``: ``train`` float32 (variants, images, maps), ``val`` (images, maps), and labels.

    Args:
        recipe: resolved; its backbone's pretrained weights are what is computed with.
        frames: the images of train and val.

    Raises:
        RecipeError, ResourceError: the backbone or its weights are not there.
    """
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # decides a backbone without pretrained weights
        network = build(recipe.model, logits_of(recipe), recipe.framing.channels).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stubs miss it
    half = find_precision(recipe.precision, torch.device("cpu")) == "bf16-mixed"  # as in training

    def pooled(split: str, variants: int, augmented: bool) -> np.ndarray[Any, Any]:
        images = FramedImages(frames, recipe.framing, recipe.augmentation if augmented else None, recipe.seed)
        order = EpochOrder(frames.places(split), recipe.batch_size, 0, recipe.seed, shuffle=False)
        passes = []
        for variant in range(variants):
            order.set_epoch(variant)
            batches = track(
                loader(images, order, workers=0),
                description=f"features of {split}, variant {variant + 1} of {variants}",
                console=Console(stderr=True),
                transient=True,
                disable=not progress,
            )
            passes.append(torch.cat([_features(network, batch.image, half) for batch in batches]).numpy())
        return np.stack(passes)

    stream = io.BytesIO()
    np.savez(
        stream,
        train=pooled("train", VARIANTS, augmented=True),
        train_labels=frames.labels[frames.places("train")],
        val=pooled("val", 1, augmented=False)[0],
        val_labels=frames.labels[frames.places("val")],
    )
    write_bytes(folder / FEATURES, stream.getvalue())


def _features(network: Classifier, images: Tensor, half: bool) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return network.pooled(images.contiguous(memory_format=torch.channels_last)).float()


def fit_head(recipe: Recipe, folder: Path, report: Callable[[float], None] | None = None) -> dict[str, Any]:
    """Train the head of the recipe's first phase on :func:`write_features`' file.

    Args:
        report: gets the validation accuracy after every epoch; may raise to end the training.

    Returns:
        ``val_accuracy`` and ``val_loss`` of the best epoch (by the phase's monitor), ``best_epoch`` and ``epochs``.

    Raises:
        RecipeError: the loss is no number any more.
    """
    with np.load(folder / FEATURES) as found:
        train, val = torch.from_numpy(found["train"]), torch.from_numpy(found["val"])
        labels, val_labels = torch.from_numpy(found["train_labels"]), torch.from_numpy(found["val_labels"])
    phase = recipe.phases[0]
    torch.manual_seed(recipe.seed)
    head = Head(train.shape[2], recipe.model.hidden, recipe.model.dropout, logits_of(recipe))
    weights = class_weights(labels.numpy(), len(recipe.classes)) if recipe.class_weights else None
    optimizer = optimizer_of(phase, list(head.parameters()))
    best: dict[str, Any] = {}
    epoch = 0
    while epoch < phase.epochs and not 0 < phase.patience <= epoch - best.get("best_epoch", epoch):
        order = np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(labels))
        head.train()
        batches = np.array_split(order, -(-len(order) // recipe.batch_size))
        for number, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, (epoch + number / len(batches)) / phase.epochs)
            loss = loss_of(
                head(train[epoch % len(train), batch]), labels[batch], weights, recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        epoch += 1
        judged = _judge(head, val, val_labels)
        if not np.isfinite(judged["val_loss"]):
            raise RecipeError(f"the loss is no number any more in epoch {epoch}; try a smaller learning_rate")
        if not best or _better(judged, best, phase.monitor):
            best = {**judged, "best_epoch": epoch}
        if report is not None:
            report(judged["val_accuracy"])
    return {**best, "epochs": epoch}


def _judge(head: Head, features: Tensor, labels: Tensor) -> dict[str, float]:
    head.eval()
    with torch.no_grad():
        logits = head(features)
    return {"val_accuracy": correct(logits, labels) / len(labels), "val_loss": float(loss_of(logits, labels))}


def _better(judged: dict[str, float], best: dict[str, float], monitor: str) -> bool:
    if monitor == "accuracy":
        return judged["val_accuracy"] > best["val_accuracy"]
    return judged["val_loss"] < best["val_loss"]
