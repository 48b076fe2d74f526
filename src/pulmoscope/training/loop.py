"""The training loop: one stage of training, resumable after every epoch to the same weights.

Every network of the package goes through it: image networks, heads on cached features, slices and patients of a CT,
generative networks, the lung finder and the view network. A :class:`Stage` says what is learnt; devices, precision and
several processes are Lightning Fabric's.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from pulmoscope.core.errors import RecipeError
from pulmoscope.training.hardware import gpu_busy
from pulmoscope.training.optimizers import average_of
from pulmoscope.training.parallel.whole_batches import WholeBatches
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState, Row

Random = torch.Generator | np.random.Generator


class Outcome(NamedTuple):
    """What one batch gave.

    Attributes:
        figures: name → sum over the batch; an epoch's figure is the mean over all that has it.
        samples: how many samples these are sums of.
        loss: what the stage's one optimiser is to lower; None where the step has moved the weights itself.
    """

    figures: Mapping[str, float]
    samples: int = 1
    loss: Tensor | None = None


@dataclass(frozen=True)
class Validation:
    """What tells the best epoch.

    Attributes:
        batches: those held out.
        check: network in eval mode, batch → its figures.
        monitor: an epoch's figures → its score, the smaller the better.
    """

    batches: Callable[[], Iterable[Any]]
    check: Callable[[nn.Module, Any], Outcome]
    monitor: Callable[[Row], float]


@dataclass(frozen=True)
class Stage:
    """What is learnt, by what, and from what.

    Attributes:
        name: in its figures, in messages and, where ``file`` is empty, of its state's file.
        epochs: how many at most.
        seed: with the numbers of epoch and batch it decides what torch draws, from the making of the batch on.
        network: with the weights that the stage begins with. What must not learn requires no gradients.
        optimizers: by name, of the network's weights. Where there is one, it lowers the loss of the step.
        batches: an epoch's number from 0 → its batches.
        step: network, batch, fraction of the stage that is done → what came of it. The network is the wrapped one: in
            the stage's precision, its gradients shared by all processes.
        steps: batches of an epoch, where the fraction done moves with every batch; None: with every epoch.
        schedule: fraction done → settings of the optimisers, as ``{"lr": 0.1}``; None: they stay.
        validation: None where nothing is held out: the last epoch is the best.
        patience: epochs without a better one after which the stage ends; 0: never.
        mode: sets the network's mode before an epoch.
        average: decay of a running average of the weights, which is what is validated and kept; 0: none.
        l1, l2: times the sum of absolute values and of squares of all weight matrices, added to the loss.
        memory: what a loss remembers from batch to batch, as buffers.
        random: what the batches are drawn with, where they depend on more than seed, epoch and number.
        methods: of the network, besides ``forward``, that the step calls.
        after: called when an epoch is saved; files of the stage's own.
        file: name of its state's file, without suffix.
    """

    name: str
    epochs: int
    seed: tuple[int, ...]
    network: nn.Module
    optimizers: Mapping[str, Optimizer]
    batches: Callable[[int], Iterable[Any]]
    step: Callable[[nn.Module, Any, float], Outcome]
    steps: int | None = None
    schedule: Callable[[float], Mapping[str, Any]] | None = None
    validation: Validation | None = None
    patience: int = 0
    mode: Callable[[nn.Module], object] = nn.Module.train
    average: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    memory: nn.Module | None = None
    random: Random | None = None
    methods: tuple[str, ...] = ()
    after: Callable[[PhaseState], None] | None = None
    file: str = ""

    def done(self, epoch: int, batch: int) -> float:
        """The fraction of the stage that is done before this batch."""
        within = batch / self.steps if self.steps else 0
        return (epoch + within) / self.epochs


def fit(stage: Stage, folder: Path | None, fabric: Fabric, reporter: Reporter) -> PhaseState:
    """Train from where the stage's state file says it stands; the network ends with the best epoch's weights.

    It ends on the fabric's device in eval mode, the optimisers as the last epoch left them. With several processes
    each learns from its part of every batch, and only the first writes.

    Args:
        folder: of the state, ``<name>.ckpt``, saved after every epoch; None: nothing is saved.

    Returns:
        How it went.

    Raises:
        RecipeError: a figure became NaN or infinite, or the state file is damaged.
    """
    return _Fit(stage, folder, fabric, reporter).run()


class _Fit:
    """One call of :func:`fit`."""

    def __init__(self, stage: Stage, folder: Path | None, fabric: Fabric, reporter: Reporter) -> None:
        self.stage, self.fabric, self.reporter = stage, fabric, reporter
        self.file = None if folder is None else folder / f"{stage.file or stage.name}.ckpt"
        state = PhaseState.load(self.file) if self.file and fabric.is_global_zero else PhaseState()
        self.state = fabric.broadcast(state)
        stage.network.to(fabric.device)
        self.average = average_of(stage.network, stage.average) if stage.average else None
        self.whole_batches = WholeBatches() if fabric.world_size > 1 else nullcontext()
        self.waited = 0.0  # for batches, in this epoch; s
        if self.state.epochs:
            self._restore(self.average)

    def _restore(self, average: AveragedModel | None) -> None:
        stage, state = self.stage, self.state
        stage.network.load_state_dict(state.network)
        for name, optimizer in stage.optimizers.items():
            optimizer.load_state_dict(state.optimizers[name])
        if average is not None:
            average.load_state_dict(state.average)
        if stage.memory is not None:
            stage.memory.load_state_dict(state.memory)
        if isinstance(stage.random, torch.Generator):
            stage.random.set_state(state.random)
        elif stage.random is not None:
            stage.random.bit_generator.state = state.random

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        kept = self.stage.network if self.average is None else self.average.module
        assert isinstance(kept, nn.Module)
        return kept

    def run(self) -> PhaseState:
        stage, state = self.stage, self.state
        if not state.finished:
            module = self.fabric.setup_module(stage.network)
            for name in stage.methods:
                module.mark_forward_method(name)
            while not state.finished:
                self._keep(self._epoch(module))
        stage.network.load_state_dict(state.kept or self.kept.state_dict())
        stage.network.eval()
        return state

    def _epoch(self, module: nn.Module) -> Row:
        stage, epoch, began = self.stage, self.state.epochs, time.perf_counter()
        self._schedule(stage.done(epoch, 0))  # also of an epoch without a batch
        stage.mode(stage.network)
        title = f"{stage.name} {epoch + 1}/{stage.epochs}"
        figures, self.waited, busy = _Means(), 0.0, list[float]()
        batches = self._seeded(stage.batches(epoch), epoch)
        for number, batch in enumerate(self.reporter.track(batches, title, stage.steps)):
            done = stage.done(epoch, number)
            self._schedule(done)
            with self.whole_batches:
                outcome = stage.step(module, self.fabric.to_device(batch), done)
            if outcome.loss is not None:
                self._descend(outcome.loss, outcome.samples)
            if self.average is not None:
                self.average.update_parameters(stage.network)
            if stage.memory is not None and self.fabric.world_size > 1:
                for value in stage.memory.buffers():
                    value.copy_(_reduced(value, self.fabric, "mean"))
            figures.add(outcome)
            if number % 10 == 0 and (now := gpu_busy(self.fabric.device)) is not None:
                busy.append(now)
        row: Row = {"phase": stage.name, "epoch": epoch + 1}
        if stage.schedule is not None:
            row["learning_rate"] = next(iter(stage.optimizers.values())).param_groups[0]["lr"]
        row |= figures.of_all(self.fabric)
        row["waited"] = round(self.waited / (time.perf_counter() - began), 4)
        if busy:
            row["gpu_busy"] = round(sum(busy) / len(busy), 4)
        if stage.validation is not None:
            row |= self._validate(stage.validation)
        return row | {"seconds": round(time.perf_counter() - began, 3)}

    def _seeded(self, batches: Iterable[Any], epoch: int) -> Iterator[Any]:
        """The batches; torch is seeded before each is made, for it and for what is done with it."""
        rank = self.fabric.global_rank
        iterator = iter(batches)
        for number in itertools.count():
            parts = [*self.stage.seed, epoch, number, *([rank] if rank else [])]
            torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))
            began = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - began
            yield batch

    def _schedule(self, done: float) -> None:
        if self.stage.schedule is not None:
            settings = self.stage.schedule(done)
            for optimizer in self.stage.optimizers.values():
                for group in optimizer.param_groups:
                    group.update(settings)

    def _descend(self, loss: Tensor, count: int) -> None:
        """One step of the stage's one optimiser, on the loss and the penalties."""
        stage, fabric = self.stage, self.fabric
        (optimizer,) = stage.optimizers.values()
        if fabric.world_size > 1:  # parts differ by a sample; gradients are averaged as if they did not
            total = _reduced(torch.tensor(float(count)), fabric, "sum")
            loss = loss * (count * fabric.world_size / float(total))
        if stage.l1 or stage.l2:
            free = (weight for weight in stage.network.parameters() if weight.requires_grad)
            loss = loss + sum(
                stage.l1 * weight.abs().sum() + stage.l2 * weight.square().sum()
                for weight in free
                if weight.ndim >= 2
            )
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()

    def _validate(self, validation: Validation) -> dict[str, float]:
        network, fabric, figures = self.kept.eval(), self.fabric, _Means()
        with torch.inference_mode(), fabric.autocast():
            for batch in validation.batches():
                figures.add(validation.check(network, fabric.to_device(batch)))
        return figures.of_all(fabric)

    def _keep(self, row: Row) -> None:
        """Count the epoch, keep what is best, save, and tell of it."""
        stage, state = self.stage, self.state
        if not all(math.isfinite(value) for value in row.values() if isinstance(value, float)):
            raise RecipeError(
                f"{stage.name}: the loss became NaN in epoch {row['epoch']}; try a smaller learning_rate"
            )
        state.epochs += 1
        state.rows.append(row)
        score = -float(state.epochs) if stage.validation is None else stage.validation.monitor(row)
        if score < state.best_score:
            state.best_score, state.best_epoch = score, state.epochs
            if stage.validation is not None:
                state.kept = {name: value.clone() for name, value in self.kept.state_dict().items()}
        state.finished = state.epochs >= stage.epochs or 0 < stage.patience <= state.epochs - state.best_epoch
        if not self.fabric.is_global_zero:
            return
        if self.file is not None:
            self._save(self.file)
        if stage.after is not None:
            stage.after(state)
        self.reporter.epoch(state, stage.epochs, best=stage.validation is not None)

    def _save(self, file: Path) -> None:
        stage, state = self.stage, self.state
        state.network = stage.network.state_dict()
        state.optimizers = {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()}
        state.average = {} if self.average is None else self.average.state_dict()
        state.memory = {} if stage.memory is None else stage.memory.state_dict()
        if isinstance(stage.random, torch.Generator):
            state.random = stage.random.get_state()
        elif stage.random is not None:
            state.random = stage.random.bit_generator.state
        state.save(file)


class _Means:
    """Means of figures over batches."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, outcome: Outcome) -> None:
        for name, value in outcome.figures.items():
            self.sums[name] += value
            self.counts[name] += outcome.samples

    def of_all(self, fabric: Fabric) -> dict[str, float]:
        """Over the batches of all processes."""
        pairs = {name: (total, self.counts[name]) for name, total in self.sums.items()}
        if fabric.world_size > 1:
            values = torch.tensor(list(pairs.values()), dtype=torch.float64)
            pairs = dict(zip(pairs, _reduced(values, fabric, "sum").tolist(), strict=True))
        return {name: total / count for name, (total, count) in pairs.items()}


def _reduced(value: Tensor, fabric: Fabric, how: str) -> Tensor:
    """The sum or the mean of all processes' values."""
    reduced = fabric.all_reduce(value.to(fabric.device), reduce_op=how)
    assert isinstance(reduced, Tensor)
    return reduced


def in_steps(total: int, each: int) -> tuple[int, Callable[[int], range]]:
    """For a stage that counts steps: how many epochs of ``each`` steps, and an epoch → its steps' numbers."""
    return -(-total // each), lambda epoch: range(epoch * each, min((epoch + 1) * each, total))


def part_of(batch: npt.NDArray[np.int64], fabric: Fabric) -> npt.NDArray[np.int64]:
    """This process's part of a batch's images, given by their indices; parts differ by one image at most.

    Raises:
        RecipeError: there are fewer images than processes.
    """
    if fabric.world_size == 1:
        return batch
    if len(batch) < fabric.world_size:
        raise RecipeError(
            f"{fabric.world_size} processes share every batch: one has {len(batch)} images, at least one each"
        )
    return np.array_split(batch, fabric.world_size)[fabric.global_rank]
