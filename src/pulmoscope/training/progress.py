"""What is seen while training: a bar per epoch, and a line of figures after it, on standard error."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pulmoscope.training.learner import Learner

import lightning.pytorch as lightning  # isort: skip  (torchvision, which it imports, is seen to by models.classifier)


class EpochBar(lightning.Callback):
    """A bar over the batches of an epoch, gone when it ends; its figures stay as a line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin an epoch's bar."""
        assert isinstance(pl_module, Learner)
        job, state = pl_module.job, pl_module.state
        title = f"{job.phase.name} {state.epochs + 1}/{job.epochs}"
        self._bar.reset(self._task, description=title, total=trainer.num_training_batches)
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=batch_idx + 1)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def tell(self, learner: Learner) -> None:
        """One line for the epoch that has just ended."""
        row = learner.state.rows[-1]
        self._bar.stop()
        held_out = (
            ""
            if row["val_loss"] is None
            else f" | held out: loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}"
        )
        best = "  best" if learner.job.held_out and learner.state.best_epoch == row["epoch"] else ""
        self._console.print(
            f"{row['phase']} {row['epoch']}/{learner.job.epochs}: loss {row['train_loss']:.4f}, "
            f"accuracy {row['train_accuracy']:.4f}{held_out}  ({row['seconds']:.0f} s){best}",
            soft_wrap=True,
        )
