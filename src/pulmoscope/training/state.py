"""How far a phase of training has come: all that is needed to go on as if it had never been interrupted."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes

Row = dict[str, Any]
"""One epoch's figures: phase, epoch (from 1), learning_rate, train_loss, train_accuracy, val_loss, …, seconds."""


@dataclass
class PhaseState:
    """Saved after every epoch, in one atomic write.

    Attributes:
        epochs: how many are done.
        finished: no further epoch is due.
        rows: the figures of each epoch done.
        best_epoch: counted from 1; the last one where nothing is held out.
        best_score: of the monitored figure, the smaller the better.
        network, average, optimizer: their state dicts (``average`` empty where weights are not averaged).
        groups: the logarithms of group DRO's weights; empty without.
    """

    epochs: int = 0
    finished: bool = False
    rows: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("inf")
    network: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    groups: list[float] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write the state; a kill leaves the former one."""
        stream = io.BytesIO()
        torch.save(vars(self), stream)
        write_bytes(file, stream.getvalue())

    @classmethod
    def load(cls, file: Path) -> PhaseState:
        """Read a state; a fresh one where there is none yet.

        Raises:
            RecipeError: the file is not a state of this version.
        """
        if not file.is_file():
            return cls()
        try:
            return cls(**torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:
            # torch.load raises errors of several libraries for a file that is not its own.
            raise RecipeError(
                f"{file}: is not a checkpoint of this version; start anew with --force"
            ) from error


def read_json(file: Path, *keys: str) -> dict[str, Any]:
    """Read what training wrote of itself.

    Raises:
        RecipeError: the file can't be read, is no JSON object, or lacks one of these keys.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{file}: is damaged ({error}); start anew with --force") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content, dict):
        raise RecipeError(
            f"{file}: is damaged (no {', '.join(missing) or 'object'}); start anew with --force"
        )
    return content


def save_weights(network: nn.Module, file: Path) -> None:
    """Write a network's weights as safetensors, single precision, atomically."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(file, save(state))
