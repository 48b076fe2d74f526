"""What the trials of a search share: framed images, and features of a frozen backbone, read and computed once.

Training a head on such features takes minutes instead of hours for a grid. It is the frozen phase of a recipe with
``variants`` = :data:`VARIANTS`: the augmented variants of an image, which the epochs take in turn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulmoscope.core.files import write_bytes
from pulmoscope.datasets.labels import shares_of
from pulmoscope.models.classifier import Classifier, Head, build
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import LightSpec, LossSpec
from pulmoscope.training.classification import (
    Batch,
    Classification,
    by_accuracy_then_loss,
    class_weights,
    cross_entropy,
)
from pulmoscope.training.data import EpochOrder, FramedImages, Loader
from pulmoscope.training.frames import Frames
from pulmoscope.training.hardware import fabric_of, find_precision
from pulmoscope.training.image_stage import monitor_of
from pulmoscope.training.loop import Stage, Validation, fit
from pulmoscope.training.optimizers import learning_rate, optimizer_of
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import logits_of

VARIANTS = 4
FEATURES = "features.npz"


def frozen_throughout(recipe: Recipe) -> bool:
    """Whether features can be computed once.

    No phase moves the backbone, no images are mixed, every label is one class, the loss is plain, and the network is
    as the recipe's backbone has it.
    """
    plain = (
        not (recipe.mixup or recipe.balance or recipe.robust or recipe.locate) and recipe.loss == LossSpec()
    ) and recipe.light == LightSpec()
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
        prepared, passes = Loader(images, order), []
        for variant in range(variants):
            title = f"features of {split}, variant {variant + 1} of {variants}"
            batches = Reporter.of(progress).track(prepared.epoch(variant), title, len(order))
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
        report: gets the best epoch's validation accuracy after every epoch, less a trace of its loss, so that none are
            equal; may raise to end the training.

    Returns:
        ``val_accuracy`` and ``val_loss`` of the best epoch (by the phase's monitor), ``best_epoch`` and ``epochs``.

    Raises:
        RecipeError: the loss became NaN.
    """
    with np.load(folder / FEATURES) as features:
        train, val = torch.from_numpy(features["train"]), torch.from_numpy(features["val"])
        labels, val_labels = (
            torch.from_numpy(features["train_labels"]),
            torch.from_numpy(features["val_labels"]),
        )
    phase = recipe.phases[0]
    torch.manual_seed(recipe.seed)
    head = Head(train.shape[2], recipe.model.hidden, recipe.model.dropout, logits_of(recipe))
    weights = class_weights(labels.numpy(), len(recipe.classes)) if recipe.class_weights else None
    learning = Classification(cross_entropy(weights, recipe.label_smoothing))
    steps = -(-len(labels) // recipe.batch_size)

    def batches(epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(labels))
        for chosen in np.array_split(order, steps):
            yield Batch((train[epoch % len(train), chosen],), labels[chosen])

    stage = Stage(
        name=phase.name,
        epochs=phase.epochs,
        seed=(recipe.seed, 0),
        network=head,
        optimizers={"head": optimizer_of(phase, list(head.parameters()))},
        batches=batches,
        steps=steps,
        step=learning.step,
        schedule=lambda done: {"lr": learning_rate(phase, done)},
        validation=Validation(lambda: [Batch((val,), val_labels)], learning.check, monitor_of(phase)),
        patience=phase.patience,
    )
    after = None if report is None else lambda row: report(-by_accuracy_then_loss(row))
    state = fit(stage, None, fabric_of(torch.device("cpu")), Reporter(after_epoch=after))
    best = state.rows[state.best_epoch - 1]
    kept = {name: best[name] for name in ("val_accuracy", "val_loss")}
    return {**kept, "best_epoch": state.best_epoch, "epochs": state.epochs}
