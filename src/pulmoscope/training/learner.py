"""What every recipe's training has in common, as a LightningModule: one phase of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.backbone import early_layers
from pulmoscope.models.classifier import Classifier
from pulmoscope.models.losses import GroupRisk, Loss, build_loss
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import LossSpec, Phase
from pulmoscope.training.data import EpochOrder, Example, FramedImages, balanced, loader
from pulmoscope.training.frames import Frames
from pulmoscope.training.opacities import location_loss, painting_of, where_known
from pulmoscope.training.state import PhaseState, Row, save_weights

import lightning.pytorch as lightning  # isort: skip  (torchvision, which it imports, is seen to by models.classifier)


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, a number; of a softmax (batch, classes), or of a single logit (batch, 1), that of class 1.

    Args:
        logits: float (batch, logits).
        labels: int64 (batch,), or float (batch, classes): the share of each class.
        weights: per class, or None for equal ones; the mean is weighted.
        smoothing: share of the target that is spread over all classes.
    """
    return functional.cross_entropy(both(logits.float()), labels, weight=weights, label_smoothing=smoothing)


def both(logits: Tensor) -> Tensor:
    """Logits of all classes: a single logit (batch, 1) is that of the second, and the first one's is 0."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def mixing_share(mixup: float) -> float:
    """How much of a batch is itself, 0.5 … 1, the rest being the same batch in reverse; 1 without ``mixup``.

    A draw from Beta(mixup, mixup), turned over where it is below one half: reversing a reversed batch changes nothing.
    """
    if not mixup:
        return 1.0
    drawn = float(torch.distributions.Beta(mixup, mixup).sample())
    return max(drawn, 1 - drawn)


def correct(logits: Tensor, labels: Tensor) -> int:
    """How many are right (a tie between two classes goes to the first)."""
    guesses = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    return int((guesses.long() == labels).sum())


def learning_rate(phase: Phase, done: float) -> float:
    """The learning rate when this share of the phase is done: ``cosine`` warms up over the first tenth."""
    if phase.schedule == "constant":
        return phase.learning_rate
    if done < 0.1:
        return phase.learning_rate * max(done, 0.001) / 0.1
    return phase.learning_rate * (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2


def optimizer_of(phase: Phase, weights: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The phase's optimiser for these weights."""
    if phase.optimizer == "sgd":
        return torch.optim.SGD(
            weights, phase.learning_rate, momentum=phase.momentum, weight_decay=phase.weight_decay
        )
    kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, phase.learning_rate, weight_decay=phase.weight_decay)


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Inverse frequency per class, float32 (classes,); the mean over the samples is 1."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy((len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32))


@dataclass(frozen=True)
class Job:
    """One phase's work.

    Attributes:
        recipe: resolved.
        place: which of the recipe's phases.
        epochs: how many at most.
        frames: the images of train and val.
        folder: where the state and the kept weights go.
        workers: processes that prepare data.
    """

    recipe: Recipe
    place: int
    epochs: int
    frames: Frames
    folder: Path
    workers: int = 0

    @property
    def phase(self) -> Phase:
        """The phase itself."""
        return self.recipe.phases[self.place]

    @property
    def held_out(self) -> bool:
        """Whether the validation split is not learnt from, so that the best epoch can be told."""
        return "val" not in self.phase.train_on

    @property
    def state_file(self) -> Path:
        """Where the state is saved after every epoch."""
        return self.folder / f"{self.place}-{self.phase.name}.ckpt"

    @property
    def weights_file(self) -> Path:
        """Where the weights are that the phase keeps."""
        return self.folder / f"{self.place}-{self.phase.name}.safetensors"

    def loader(self, *splits: str, learn: bool) -> DataLoader[Any]:
        """Batches of these splits: augmented and shuffled to learn from, else as diagnosis sees them."""
        recipe, places = self.recipe, self.frames.places(*splits)
        if learn:
            others = places if recipe.augmentation.mixing else None
            images = FramedImages(
                where_known(self.frames, recipe, places),
                recipe.framing,
                recipe.augmentation,
                recipe.seed,
                others,
                painting_of(recipe),
            )
        else:
            images = FramedImages(self.frames, recipe.framing, None, recipe.seed)
        weights = balanced(self.frames.groups, places, recipe.balance) if learn and recipe.balance else None
        order = EpochOrder(places, recipe.batch_size, self.place, recipe.seed, shuffle=learn, weights=weights)
        return loader(images, order, self.workers)


class Learner(lightning.LightningModule):
    """One phase. Lightning runs the epochs, moves the data and casts; this says what is learnt and what is kept.

    Args:
        network: with the weights that the phase begins with.
        job: what is to be done.
        state: how far it has come; it goes on from there.

    Attributes:
        after_epoch: called when an epoch is over and saved.
    """

    after_epoch: Callable[[Learner], None]

    def __init__(self, network: Classifier, job: Job, state: PhaseState) -> None:
        super().__init__()
        self.network, self.job, self.state = network, job, state
        self.average = average_of(network, job.recipe.average) if job.recipe.average else None
        if state.network:
            network.load_state_dict(state.network)
        if self.average is not None and state.average:
            self.average.load_state_dict(state.average)
        network.backbone.requires_grad_(True)
        self._frozen = _frozen(network, job.phase)
        for layer in self._frozen:
            layer.requires_grad_(False)
        self._loss = _loss_of(job)
        self._shared = job.frames.targets is not None
        self._groups = _Groups(job.recipe, job.frames, state) if job.recipe.robust else None
        self._loader = job.loader(*job.phase.train_on, learn=True)
        self._draw_order()  # at once: worker processes begin to prepare images before the epoch starts
        self._began = 0.0
        self._losses: list[Tensor] = []
        self._right = self._seen = 0
        self._said: list[tuple[Tensor, Tensor]] = []

    @property
    def kept(self) -> Classifier:
        """The network that is judged and kept: the average where there is one."""
        kept = self.network if self.average is None else self.average.module
        assert isinstance(kept, Classifier)
        return kept

    def train_dataloader(self) -> DataLoader[Any]:
        """What is learnt from."""
        return self._loader

    def val_dataloader(self) -> DataLoader[Any]:
        """What is held out."""
        return self.job.loader("val", learn=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The phase's optimiser, with the momenta of the epochs before."""
        free = [weight for weight in self.network.parameters() if weight.requires_grad]
        optimizer = optimizer_of(self.job.phase, free)
        if self.state.optimizer:
            optimizer.load_state_dict(self.state.optimizer)
        return optimizer

    def _draw_order(self) -> None:
        order = self._loader.batch_sampler
        assert isinstance(order, EpochOrder)
        order.set_epoch(self.state.epochs)

    def on_train_epoch_start(self) -> None:
        """Draw the epoch's order; what is frozen keeps its BatchNorm statistics too."""
        self._draw_order()
        for layer in self._frozen:
            layer.eval()
        self._began = time.perf_counter()
        self._losses, self._right, self._seen, self._said = [], 0, 0, []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate, and what dropout draws: a function of seed, phase, epoch and batch."""
        place = [self.job.recipe.seed, self.job.place, self.state.epochs, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        done = (self.state.epochs + batch_idx / len(self._loader)) / self.job.epochs
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self.job.phase, done)

    def training_step(self, batch: Example, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, recipe = batch.image, self.job.recipe
        share = mixing_share(recipe.mixup)
        if share < 1:
            images = share * images + (1 - share) * images.flip(0)
        images = images.contiguous(memory_format=torch.channels_last)
        logits, opacity = self.network.located(images) if recipe.locate else (self.network(images), None)
        labels = batch.target.argmax(dim=1)
        targets = batch.target if self._shared else labels
        loss = self._mixed_loss(logits, targets, batch.place, share, batch_idx)
        self._losses.append(loss.detach() * len(labels))
        self._right += correct(logits.detach(), labels)
        self._seen += len(labels)
        if opacity is None:
            return loss
        return loss + recipe.locate * location_loss(opacity, batch.opacities, share)

    def _mixed_loss(
        self, logits: Tensor, targets: Tensor, places: Tensor, share: float, batch_idx: int
    ) -> Tensor:
        """The classes' loss, of both images that were mixed."""
        if self._groups is not None:
            each = functional.cross_entropy(logits.float(), targets, reduction="none")
            if share < 1:
                other = functional.cross_entropy(logits.float(), targets.flip(0), reduction="none")
                each = share * each + (1 - share) * other
            return self._groups(each, places)
        done = (self.state.epochs + batch_idx / len(self._loader)) / self.job.epochs
        loss = self._loss(logits, targets, done)
        if share < 1:
            loss = share * loss + (1 - share) * self._loss(logits, targets.flip(0), done)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average after the weights."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validation_step(self, batch: Example, batch_idx: int) -> None:
        """Remember what the kept network says."""
        self.kept.eval()
        logits = self.kept(batch.image.contiguous(memory_format=torch.channels_last))
        self._said.append((logits.float(), batch.target.argmax(dim=1)))

    def on_train_epoch_end(self) -> None:
        """Judge the epoch; save what is best, then how far the phase has come; stop when nothing more comes."""
        row, state, phase = self._row(), self.state, self.job.phase
        score = {"loss": "val_loss", "accuracy": "val_accuracy"}[phase.monitor]
        value = (
            row[score] * (-1 if phase.monitor == "accuracy" else 1) if self.job.held_out else -row["epoch"]
        )
        state.epochs += 1
        state.rows.append(row)
        if value < state.best_score:
            state.best_score, state.best_epoch = value, state.epochs
            save_weights(self.kept, self.job.weights_file)
        waited = state.epochs - state.best_epoch
        state.finished = state.epochs >= self.job.epochs or 0 < phase.patience <= waited
        state.network = self.network.state_dict()
        state.average = {} if self.average is None else self.average.state_dict()
        state.optimizer = self.trainer.optimizers[0].state_dict()
        state.groups = [] if self._groups is None else self._groups.risk.log_weights.tolist()
        state.save(self.job.state_file)
        self.trainer.should_stop = state.finished
        self.after_epoch(self)

    def _row(self) -> Row:
        loss = float(torch.stack(self._losses).sum()) / self._seen
        row: Row = {
            "phase": self.job.phase.name,
            "epoch": self.state.epochs + 1,
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": loss,
            "train_accuracy": self._right / self._seen,
            "val_loss": None,
            "val_accuracy": None,
            "seconds": round(time.perf_counter() - self._began, 3),
        }
        if self._said:
            logits, labels = (torch.cat(parts) for parts in zip(*self._said, strict=True))
            row |= {
                "val_loss": float(loss_of(logits, labels)),
                "val_accuracy": correct(logits, labels) / len(labels),
            }
        if not all(math.isfinite(row[name] or 0) for name in ("train_loss", "val_loss")):
            raise RecipeError(
                f"phase {row['phase']}: the loss is no number any more in epoch {row['epoch']}; "
                "try a smaller learning_rate"
            )
        return row


def _frozen(network: Classifier, phase: Phase) -> list[nn.Module]:
    """What does not learn in a phase."""
    if phase.frozen == "early":
        return early_layers(network.backbone)
    return [network.backbone] if phase.frozen == "backbone" else []


def average_of(network: Classifier, decay: float) -> AveragedModel:
    """An exponential moving average of weights and BatchNorm statistics; its decay grows to ``decay``.

    The decay after n steps is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    """

    def move(averages: Any, weights: Any, steps: Any) -> None:
        share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)
            else:
                average.copy_(weight)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)


class _Groups:
    """Group DRO over hospitals and classes, going on where the phase stands."""

    def __init__(self, recipe: Recipe, frames: Frames, state: PhaseState) -> None:
        names = sorted(set(frames.groups))
        self._members = torch.tensor([names.index(group) for group in frames.groups])
        self.risk = GroupRisk(len(names), recipe.robust)
        if state.groups:
            self.risk.log_weights = torch.tensor(state.groups)

    def __call__(self, each: Tensor, places: Tensor) -> Tensor:
        members = self._members[places.cpu()].to(each.device)
        return self.risk(each, members)


def _loss_of(job: Job) -> Loss:
    """The recipe's loss, for the classes as often as they are in what is learnt from."""
    recipe, classes = job.recipe, len(job.recipe.classes)
    labels = job.frames.labels[job.frames.places(*job.phase.train_on)]
    if recipe.loss != LossSpec():
        own = build_loss(recipe.loss, np.maximum(np.bincount(labels, minlength=classes), 1).tolist())
        return lambda logits, labels, done: own(both(logits), labels, done)
    weights = class_weights(labels, classes) if recipe.class_weights else None

    def cross_entropy(logits: Tensor, labels: Tensor, done: float) -> Tensor:
        own = None if weights is None else weights.to(logits.device)
        return loss_of(logits, labels, own, recipe.label_smoothing)

    return cross_entropy
