"""One phase on Lightning's Trainer, with its logs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils.tensorboard import SummaryWriter

from pulmoscope.models.classifier import Classifier
from pulmoscope.training import curves
from pulmoscope.training.hardware import find_precision
from pulmoscope.training.learner import Job, Learner
from pulmoscope.training.progress import EpochBar
from pulmoscope.training.state import PhaseState, Row

import lightning.pytorch as lightning  # isort: skip  (torchvision, which it imports, is seen to by models.classifier)


def run_phase(
    network: Classifier,
    job: Job,
    before: Sequence[Row],
    run: Path,
    device: torch.device,
    progress: bool,
    after_epoch: Callable[[Row], None] | None = None,
) -> PhaseState:
    """Train one phase from where its state file says it stands; ``network`` ends with the weights it keeps.

    Args:
        before: the figures of the phases before, for the curves.
        run: the folder of the run.
        after_epoch: gets the figures of every epoch when it is saved; may raise to end the run.
    """
    state = PhaseState.load(job.state_file)
    if not state.finished:
        network.train()
        learner = Learner(network, job, state)
        bar = EpochBar() if progress else None
        with _quiet(), SummaryWriter(str(run / "tensorboard")) as board:

            def tell(learner: Learner) -> None:
                rows = [*before, *learner.state.rows]
                _log(board, rows[-1], len(rows))
                curves.write_table(rows, run / "curves.csv")
                if bar is not None:
                    bar.tell(learner)
                if after_epoch is not None:
                    after_epoch(rows[-1])

            learner.after_epoch = tell
            _trainer(job, state, device, bar).fit(learner)
    network.requires_grad_(True)
    network.load_state_dict(load_file(job.weights_file))
    return state


def _trainer(job: Job, state: PhaseState, device: torch.device, bar: EpochBar | None) -> lightning.Trainer:
    """Lightning's loop over the epochs that are left; what it would save and log itself is off."""
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=find_precision(job.recipe.precision, device),
        max_epochs=job.epochs - state.epochs,
        limit_val_batches=1.0 if job.held_out else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[] if bar is None else [bar],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _log(board: SummaryWriter, row: Row, step: int) -> None:
    for name, value in row.items():
        if isinstance(value, float):
            board.add_scalar(name.replace("_", "/", 1), value, step)
    board.flush()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from greeting, and from advice that does not apply here."""
    talk = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in talk]
    try:
        for logger in talk:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # Preparing a batch takes far less time than learning from it: the images are in memory.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 still names a class that torch is about to rename; nothing to us.
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
            # The device was chosen on purpose.
            warnings.filterwarnings("ignore", message="GPU available but not used.*")
            yield
    except SystemExit as end:
        # Lightning turns Ctrl-C into an exit of its own.
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise
    finally:
        for logger, level in zip(talk, levels, strict=True):
            logger.setLevel(level)
