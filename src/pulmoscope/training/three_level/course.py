"""One course of training: a network, an optimiser, epochs, resumable after every one of them.

The best epoch on the validation split is kept; where nothing is held out, the last. The networks of system B's levels 2
and 3 take seconds an epoch and sequences instead of images, its level 1 changes what it learns from as it goes, and
system A draws slices anew for each epoch; so this loop is a plain one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.losses import Loss
from pulmoscope.training.learner import correct, loss_of
from pulmoscope.training.state import PhaseState, Row, save_weights

T = TypeVar("T")

Batch = tuple[tuple[Tensor, ...], Tensor]
"""What the network is called with, and the labels, int64 (batch,)."""


@dataclass(frozen=True)
class Course:
    """What is to be done.

    Attributes:
        name: of its files and of its rows in the curves.
        epochs, learning_rate: with Adam, or with ``optimizer``.
        seed: of dropout; with the epoch's and the batch's number it decides what is drawn.
        learn: an epoch's number from 0 -> its batches.
        judge: the validation batches; None: nothing is held out.
        weights: of the classes in the loss; None: equal.
        loss: instead of the cross-entropy with ``weights``.
        optimizer: weights -> the optimiser, instead of Adam.
        schedule: the share of the course that is done, by whole epochs -> what the learning rate is multiplied by.
        l1, l2: times the sum of absolute values and of squares of all weight matrices, added to the loss.
        half: compute in bf16 where that is safe.
        mode: sets the network's mode before an epoch; what it freezes stays.
    """

    name: str
    epochs: int
    learning_rate: float
    seed: tuple[int, ...]
    learn: Callable[[int], Sequence[Batch] | Iterable[Batch]]
    judge: Callable[[], Iterable[Batch]] | None
    weights: Tensor | None = None
    loss: Loss | None = None
    optimizer: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer] | None = None
    schedule: Callable[[float], float] | None = None
    l1: float = 0.0
    l2: float = 0.0
    half: bool = False
    mode: Callable[[nn.Module], object] = nn.Module.train


@dataclass(frozen=True)
class Teller:
    """Bars and lines on standard error; silent where ``console`` is None.

    Attributes:
        after_epoch: gets the figures of every epoch when it is saved; may raise to end the run.
    """

    console: Console | None = None
    after_epoch: Callable[[Row], None] | None = None

    @classmethod
    def of(cls, shown: bool, after_epoch: Callable[[Row], None] | None = None) -> Teller:
        """One that tells, or one that does not."""
        return cls(Console(stderr=True, highlight=False) if shown else None, after_epoch)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """The items, with a bar on a terminal."""
        if self.console is None or not self.console.is_terminal:
            yield from items
            return
        yield from track(items, title, total=total, console=self.console, transient=True)

    def line(self, text: str) -> None:
        """One line that stays."""
        if self.console is not None:
            self.console.print(text, soft_wrap=True, markup=False)


def follow(
    network: nn.Module, course: Course, folder: Path, device: torch.device, teller: Teller
) -> PhaseState:
    """Train ``network`` from where the course's state file says it stands; it ends with the best epoch's weights.

    Args:
        network: with the weights that the course begins with; what must not learn does not require gradients.
        folder: of ``<name>.ckpt``, the state after each epoch, and ``<name>.safetensors``, the best weights.

    Raises:
        RecipeError: the loss is no number any more.
    """
    kept = folder / f"{course.name}.safetensors"
    state = PhaseState.load(folder / f"{course.name}.ckpt")
    network.to(device)
    if not state.finished:
        free = [weight for weight in network.parameters() if weight.requires_grad]
        optimizer = (
            course.optimizer(free) if course.optimizer else torch.optim.Adam(free, course.learning_rate)
        )
        if state.epochs:
            network.load_state_dict(state.network)
            optimizer.load_state_dict(state.optimizer)
        while not state.finished:
            row = _epoch(network, course, state.epochs, optimizer, device, teller)
            _keep(network, course, state, row, kept)
            state.optimizer = optimizer.state_dict()
            state.save(folder / f"{course.name}.ckpt")
            _tell(course, state, teller)
            if teller.after_epoch is not None:
                teller.after_epoch(row)
    network.load_state_dict(load_file(kept))
    network.eval()
    return state


def _epoch(
    network: nn.Module,
    course: Course,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    teller: Teller,
) -> Row:
    began = time.perf_counter()
    weights = None if course.weights is None else course.weights.to(device)
    done = epoch / course.epochs
    rate = course.learning_rate * (course.schedule(done) if course.schedule else 1)
    for group in optimizer.param_groups:
        group["lr"] = rate
    matrices = [weight for weight in network.parameters() if weight.requires_grad and weight.ndim >= 2]
    course.mode(network)
    total, right, seen = 0.0, 0, 0
    for number, (inputs, labels) in enumerate(
        teller.track(course.learn(epoch), f"{course.name} {epoch + 1}/{course.epochs}")
    ):
        torch.manual_seed(int(np.random.SeedSequence([*course.seed, epoch, number]).generate_state(1)[0]))
        labels = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=course.half):
            logits = network(*(value.to(device) for value in inputs))
        loss = course.loss(logits, labels, done) if course.loss else loss_of(logits, labels, weights)
        penalised = loss
        if course.l1 or course.l2:
            penalised = loss + sum(
                course.l1 * weight.abs().sum() + course.l2 * weight.square().sum() for weight in matrices
            )
        optimizer.zero_grad()
        penalised.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * len(labels)
        right += correct(logits.detach(), labels)
        seen += len(labels)
    if not np.isfinite(total):
        raise RecipeError(
            f"{course.name}: the loss is no number any more in epoch {epoch + 1}; try a smaller learning_rate"
        )
    val_loss: float | None = None
    val_accuracy: float | None = None
    if course.judge is not None:
        val_loss, val_accuracy = judged(network, course.judge(), device, half=course.half)
    return {
        "phase": course.name,
        "epoch": epoch + 1,
        "learning_rate": rate,
        "train_loss": total / seen,
        "train_accuracy": right / seen,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "seconds": round(time.perf_counter() - began, 2),
    }


def judged(
    network: nn.Module, batches: Iterable[Batch], device: torch.device, *, half: bool = False
) -> tuple[float, float]:
    """Mean loss, classes unweighted, and accuracy of a network in eval mode."""
    network.eval()
    total, right, seen = 0.0, 0, 0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for inputs, labels in batches:
            labels = labels.to(device)
            logits = network(*(value.to(device) for value in inputs))
            total += float(loss_of(logits, labels)) * len(labels)
            right += correct(logits, labels)
            seen += len(labels)
    return total / seen, right / seen


def _keep(network: nn.Module, course: Course, state: PhaseState, row: Row, kept: Path) -> None:
    """Keep the weights of the most accurate epoch; of equally accurate ones those with the least loss."""
    score = -float(row["epoch"])  # nothing is held out: the later, the better
    if course.judge is not None:
        score = -row["val_accuracy"] + 1e-7 * row["val_loss"] / (1 + row["val_loss"])
    state.epochs += 1
    state.rows.append(row)
    if score < state.best_score:
        state.best_score, state.best_epoch = score, state.epochs
        save_weights(network, kept)
    state.finished = state.epochs >= course.epochs
    state.network = network.state_dict()


def _tell(course: Course, state: PhaseState, teller: Teller) -> None:
    row = state.rows[-1]
    if course.epochs > 50 and not state.finished and state.epochs % 20:
        return  # a line for each of 200 epochs of a second hides the others
    held_out = ""
    if row["val_accuracy"] is not None:
        held_out = f" | held out: loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}"
    best = "  best" if held_out and state.best_epoch == row["epoch"] else ""
    teller.line(
        f"{course.name} {row['epoch']}/{course.epochs}: loss {row['train_loss']:.4f}, accuracy "
        f"{row['train_accuracy']:.4f}{held_out}  ({row['seconds']:.0f} s){best}"
    )
