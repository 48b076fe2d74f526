"""How far a stage of training has come: all that is needed to go on as if it had never been interrupted."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import write_bytes, write_json

Row = dict[str, Any]
"""One epoch: phase, epoch (from 1), learning_rate where it moves, figures (train_loss, val_accuracy, …), what fraction
of the time of learning it ``waited`` for data, what fraction a GPU was busy (``gpu_busy``), seconds."""


@dataclass
class PhaseState:
    """Saved after every epoch, in one atomic write.

    Attributes:
        epochs: how many are done.
        finished: no further epoch is due.
        rows: the figures of each epoch done.
        best_epoch: counted from 1; the last one where nothing is held out.
        best_score: of the monitored figure, the smaller the better.
        kept: the weights of the best epoch; empty where the last one is the best.
        network, average, memory: their state dicts (``average`` and ``memory`` empty without).
        optimizers: name → state dict.
        random: state of what batches are drawn with; None without.
    """

    epochs: int = 0
    finished: bool = False
    rows: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("inf")
    kept: dict[str, Tensor] = field(default_factory=dict)
    network: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, dict[str, Any]] = field(default_factory=dict)
    random: Any = None

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


def begin(file: Path, content: Mapping[str, Any]) -> None:
    """Write what is trained in this folder; where that stands already, refuse to go on with something else.

    Args:
        content: what JSON gives back as it is: settings, and checksums of data.

    Raises:
        RecipeError: something else is trained here, or the file is damaged.
    """
    if not file.exists():
        write_json(file, content)
        return
    begun = read_json(file, *content)
    other = next((name for name in content if begun[name] != content[name]), None)
    if other is not None:
        raise RecipeError(f"{file}: training began with other {other}; take another folder, or --force")


def save_weights(network: nn.Module, file: Path) -> None:
    """Write a network's weights as safetensors, single precision, atomically."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(file, save(state))
