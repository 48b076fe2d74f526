"""One phase of a recipe of single images, as a stage of the training loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from pulmoscope.models.backbone import early_layers
from pulmoscope.models.classifier import Classifier
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import Phase
from pulmoscope.training.classification import (
    Batch,
    Classification,
    Groups,
    by_accuracy,
    by_loss,
    loss_for,
)
from pulmoscope.training.data import EpochOrder, Example, FramedImages, Loader, balanced
from pulmoscope.training.frames import Frames
from pulmoscope.training.light.distil import teaching_of
from pulmoscope.training.loop import Stage, Validation, part_of
from pulmoscope.training.opacities import painting_of, where_known
from pulmoscope.training.optimizers import learning_rate, learns, optimizer_of
from pulmoscope.training.state import PhaseState, Row


def image_stage(
    network: Classifier,
    recipe: Recipe,
    number: int,
    epochs: int,
    frames: Frames,
    fabric: Fabric,
    workers: int = 0,
    after: Callable[[PhaseState], None] | None = None,
) -> Stage:
    """The stage of one phase; it freezes what the phase has frozen.

    Args:
        network: with the weights that the phase begins with.
        recipe: resolved.
        number: which of the recipe's phases.
        epochs: how many at most.
        frames: the images of train and val.
        fabric: that will train it.
        workers: processes that prepare data.
        after: called when an epoch is saved.

    Raises:
        BundleError, RecipeError: see :func:`teaching_of`; or ``frozen=early``, and the backbone has no such layers.
    """
    phase = recipe.phases[number]
    network.requires_grad_(True)
    frozen = [layer.requires_grad_(False) for layer in _frozen(network, phase)]

    def prepared(splits: Sequence[str], learn: bool) -> Loader | PooledBatches:
        images = _loader(recipe, number, frames, splits, learn, workers, fabric)
        if not phase.variants:
            return images
        return PooledBatches(network, images, phase.variants if learn else 1, fabric)

    learnt = prepared(phase.train_on, True)
    learning = _learning(recipe, phase, frames)
    validation = None
    if "val" not in phase.train_on:
        held_out = prepared(("val",), False)
        validation = Validation(lambda: _batches(held_out), learning.check, monitor_of(phase))
    return Stage(
        name=phase.name,
        file=f"{number}-{phase.name}",
        epochs=epochs,
        seed=(recipe.seed, number),
        network=network,
        optimizers={"network": optimizer_of(phase, learns(network))},
        batches=lambda epoch: _batches(learnt, epoch),
        steps=len(learnt),
        step=learning.step,
        schedule=lambda done: {"lr": learning_rate(phase, done)},
        validation=validation,
        patience=phase.patience,
        mode=partial(_mode, frozen=frozen),
        average=recipe.average,
        memory=learning.groups,
        methods=("of_pooled",) if phase.variants else ("located",) if recipe.locate else (),
        after=after,
    )


def _learning(recipe: Recipe, phase: Phase, frames: Frames) -> Classification:
    """What a phase makes small."""
    return Classification(
        loss_for(recipe, frames.labels[frames.places(*phase.train_on)], weighted=recipe.class_weights),
        shares=frames.targets is not None,
        mixup=recipe.mixup,
        groups=Groups(frames.groups, recipe.robust) if recipe.robust else None,
        locate=recipe.locate,
        pooled=bool(phase.variants),
        teaching=teaching_of(recipe),
    )


def monitor_of(phase: Phase) -> Callable[[Row], float]:
    """The score of an epoch by what the phase watches."""
    return {"loss": by_loss, "accuracy": by_accuracy}[phase.monitor]


def _loader(
    recipe: Recipe,
    number: int,
    frames: Frames,
    splits: Sequence[str],
    learn: bool,
    workers: int,
    fabric: Fabric,
) -> Loader:
    """Batches of these splits: augmented and shuffled to learn from, else as diagnosis sees them."""
    indices = frames.places(*splits)
    if learn:
        others = indices if recipe.augmentation.mixing else None
        known = where_known(frames, recipe, indices)
        images = FramedImages(
            known, recipe.framing, recipe.augmentation, recipe.seed, others, painting_of(recipe)
        )
    else:
        images = FramedImages(frames, recipe.framing, None, recipe.seed)
    weights = balanced(frames.groups, indices, recipe.balance) if learn and recipe.balance else None
    part = partial(part_of, fabric=fabric)
    order = EpochOrder(indices, recipe.batch_size, number, recipe.seed, learn, weights, part)
    # Beside a network on the CPU more threads would only take its cores.
    threads = 1 if fabric.device.type == "cpu" else min(4, os.cpu_count() or 1)
    return Loader(images, order, workers if learn else 0, threads)  # what is not augmented is soon prepared


class PooledBatches:
    """Batches of what a frozen backbone makes of images, computed when the first one is asked for.

    Args:
        network: whose backbone does not move.
        images: its batches are those that come, with features (batch, maps) in the images' place.
        variants: epoch n has the images of epoch n modulo this number.
        fabric: that trains.
    """

    def __init__(self, network: Classifier, images: Loader, variants: int, fabric: Fabric) -> None:
        self._network, self._images, self._variants, self._fabric = network, images, variants, fabric

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, number: int = 0) -> Iterator[Example]:
        """The batches of this epoch."""
        variant = self._pooled[number % self._variants]
        for keys in self._images.keys(number):
            at = np.searchsorted(variant.place.numpy(), [index for *_, index in keys])
            yield Example(*(field[at] for field in variant))

    @cached_property
    def _pooled(self) -> list[Example]:
        """Of each variant all images, in the order of their places."""
        order = self._images.order
        whole = EpochOrder(np.sort(order.places), order.batch_size, order.phase, order.seed, shuffle=False)
        images = Loader(self._images.images, whole, threads=self._images.threads)
        return [
            Example(
                *map(torch.cat, zip(*(self._features(batch) for batch in images.epoch(variant)), strict=True))
            )
            for variant in range(self._variants)
        ]

    def _features(self, batch: Example) -> Example:
        with torch.no_grad(), self._fabric.autocast():
            image = batch.image.contiguous(memory_format=torch.channels_last)
            features = self._network.pooled(image.to(self._fabric.device))
        return batch._replace(image=features.float().cpu())


def _batches(images: Loader | PooledBatches, epoch: int = 0) -> Iterator[Batch]:
    return map(_batch, images.epoch(epoch))


def _batch(example: Example) -> Batch:
    image = example.image
    if image.ndim == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    return Batch((image,), example.target, example.opacities, example.place)


def _mode(network: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Training mode; what is frozen keeps its BatchNorm statistics too."""
    network.train()
    for layer in frozen:
        layer.eval()


def _frozen(network: Classifier, phase: Phase) -> list[nn.Module]:
    """What does not learn in a phase."""
    if phase.frozen == "early":
        return early_layers(network.backbone)
    return [network.backbone] if phase.frozen == "backbone" else []
