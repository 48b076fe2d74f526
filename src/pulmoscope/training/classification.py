"""What is learnt of classes, by any network that gives logits: losses, mixed batches, groups, places of opacities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.models.losses import GroupRisk, Loss, build_loss
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import LossSpec
from pulmoscope.training.loop import Outcome
from pulmoscope.training.opacities import location_loss
from pulmoscope.training.state import Row

Teaching = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images (batch, channels, size, size), logits (batch, logits), the labels' loss → the loss with a teacher's."""


class Batch(NamedTuple):
    """What a network is called with, and what it is to say.

    Attributes:
        inputs: the network's arguments.
        target: the labels, int64 (batch,), or the fraction of each class, float32 (batch, classes).
        opacities: where they are, float32 (batch, side, side), NaN where nobody knows; None where nobody asks.
        sample: which one each is, int64 (batch,); None where nobody asks.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    opacities: Tensor | None = None
    sample: Tensor | None = None


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, a number; of a softmax (batch, classes), or of a single logit (batch, 1), that of class 1.

    Args:
        logits: float (batch, logits).
        labels: int64 (batch,), or float (batch, classes): the fraction of each class.
        weights: per class, or None for equal ones; the mean is weighted.
        smoothing: fraction of the target that is spread over all classes.
    """
    return functional.cross_entropy(both(logits.float()), labels, weight=weights, label_smoothing=smoothing)


def both(logits: Tensor) -> Tensor:
    """Logits of all classes: a single logit (batch, 1) is that of the second, and the first one's is 0."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def cross_entropy(weights: Tensor | None = None, smoothing: float = 0.0) -> Loss:
    """:func:`loss_of` with these weights of classes and this smoothing."""

    def loss(logits: Tensor, labels: Tensor, done: float) -> Tensor:
        on_device = None if weights is None else weights.to(logits.device)
        return loss_of(logits, labels, on_device, smoothing)

    return loss


def loss_for(recipe: Recipe, labels: npt.NDArray[np.int64], *, weighted: bool) -> Loss:
    """The recipe's loss, for the classes as often as they are among these labels.

    Args:
        weighted: whether the plain cross-entropy weighs classes by their inverse frequency.
    """
    classes = len(recipe.classes)
    if recipe.loss != LossSpec():
        loss = build_loss(recipe.loss, np.maximum(np.bincount(labels, minlength=classes), 1).tolist())
        return lambda logits, labels, done: loss(both(logits), labels, done)
    return cross_entropy(class_weights(labels, classes) if weighted else None, recipe.label_smoothing)


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Inverse frequency per class, float32 (classes,); the mean over the samples is 1."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy((len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32))


def correct(logits: Tensor, labels: Tensor) -> int:
    """How many are right (a tie between two classes goes to the first)."""
    guesses = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    return int((guesses.long() == labels).sum())


def mixing_fraction(mixup: float) -> float:
    """How much of a batch is itself, 0.5 … 1, the rest being the same batch in reverse; 1 without ``mixup``.

    A draw from Beta(mixup, mixup), turned over where it is below one half: reversing a reversed batch changes nothing.
    """
    if not mixup:
        return 1.0
    fraction = float(torch.distributions.Beta(mixup, mixup).sample())
    return max(fraction, 1 - fraction)


class Groups(nn.Module):
    """Group DRO: each sample's loss, weighted by how badly its group is learnt (see :class:`GroupRisk`).

    Args:
        groups: the group of every sample that a batch may name by its index.
        step: how quickly weights follow losses.
    """

    def __init__(self, groups: Sequence[str], step: float) -> None:
        super().__init__()
        names = sorted(set(groups))
        self._members = torch.tensor([names.index(group) for group in groups])
        self.risk = GroupRisk(len(names), step)

    def forward(self, each: Tensor, sample: Tensor) -> Tensor:
        """The weighted loss, a number, of losses (batch,) of the samples with these indices (batch,)."""
        loss: Tensor = self.risk(each, self._members[sample.cpu()].to(each.device))
        return loss


@dataclass(frozen=True)
class Classification:
    """Step and check of a stage whose network tells classes apart.

    Attributes:
        loss: what is lowered.
        shares: learn from fractions of classes, where a batch has them, not from the largest.
        mixup: of inputs and targets (see :func:`mixing_fraction`); 0: none.
        groups: group DRO with the plain cross-entropy instead of ``loss``.
        locate: weight of the second task, where opacities are; 0: none.
        pooled: batches have what a frozen backbone made of the images, not the images.
        teaching: what a teacher makes of the loss (see :mod:`pulmoscope.training.light.distil`); None: there is none.
    """

    loss: Loss
    shares: bool = False
    mixup: float = 0.0
    groups: Groups | None = None
    locate: float = 0.0
    pooled: bool = False
    teaching: Teaching | None = None

    def step(self, network: Any, batch: Batch, done: float) -> Outcome:
        """The loss of one batch, and the figures train_loss and train_accuracy.

        Args:
            network: with ``located`` where opacities are to be found.
        """
        fraction = mixing_fraction(self.mixup)
        inputs = (
            [fraction * one + (1 - fraction) * one.flip(0) for one in batch.inputs]
            if fraction < 1
            else batch.inputs
        )
        logits, opacity = network.located(*inputs) if self.locate else (self._logits(network, inputs), None)
        labels = _labels(batch)
        loss = self._mixed(logits, batch.target if self.shares else labels, batch.sample, fraction, done)
        if self.teaching is not None:
            loss = self.teaching(inputs[0], logits, loss)
        count = len(labels)
        figures = {
            "train_loss": float(loss.detach()) * count,
            "train_accuracy": correct(logits.detach(), labels),
        }
        if opacity is not None:
            assert batch.opacities is not None
            loss = loss + self.locate * location_loss(opacity, batch.opacities, fraction)
        return Outcome(figures, count, loss)

    def check(self, network: nn.Module, batch: Batch) -> Outcome:
        """The figures val_loss, all classes weighted alike, and val_accuracy."""
        labels = _labels(batch)
        logits, count = self._logits(network, batch.inputs), len(labels)
        figures = {
            "val_loss": float(loss_of(logits, labels)) * count,
            "val_accuracy": correct(logits, labels),
        }
        return Outcome(figures, count)

    def _logits(self, network: Any, inputs: Sequence[Tensor]) -> Tensor:
        logits: Tensor = network.of_pooled(*inputs) if self.pooled else network(*inputs)
        return logits

    def _mixed(
        self, logits: Tensor, targets: Tensor, sample: Tensor | None, fraction: float, done: float
    ) -> Tensor:
        """The classes' loss, of both samples that were mixed."""
        if self.groups is not None:
            assert sample is not None
            each = functional.cross_entropy(logits.float(), targets, reduction="none")
            if fraction < 1:
                other = functional.cross_entropy(logits.float(), targets.flip(0), reduction="none")
                each = fraction * each + (1 - fraction) * other
            loss: Tensor = self.groups(each, sample)
            return loss
        loss = self.loss(logits, targets, done)
        if fraction < 1:
            loss = fraction * loss + (1 - fraction) * self.loss(logits, targets.flip(0), done)
        return loss


def _labels(batch: Batch) -> Tensor:
    return batch.target if batch.target.ndim == 1 else batch.target.argmax(dim=1)


def by_loss(row: Row) -> float:
    """Score of an epoch: the least loss on what is held out is the best."""
    return float(row["val_loss"])


def by_accuracy(row: Row) -> float:
    """Score of an epoch: the most accurate on what is held out is the best."""
    return -float(row["val_accuracy"])


def by_accuracy_then_loss(row: Row) -> float:
    """Score of an epoch: of equally accurate ones, that of the least loss is the best."""
    loss = float(row["val_loss"])
    return -float(row["val_accuracy"]) + 1e-7 * loss / (1 + loss)
