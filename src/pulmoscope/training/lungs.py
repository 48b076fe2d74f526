"""Training of the lung finder (``xray-lungs``): a small U-Net on films with lung masks.

Not one of the published systems: a tool that the recipes with ``region="lungs"`` share. The run's folder holds
``lungs.onnx`` (input ``image`` (batch, 1, 128, 128), output ``logits`` of the same shape), ``lungs.json`` with the
Dice coefficients on the validation and test films, and ``weights.safetensors``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import claim_folder, sha256_of_file, write_json
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.models.unet import UNet
from pulmoscope.preprocess.lungs import FINDER_SIZE
from pulmoscope.runtime.model import find_lungs
from pulmoscope.runtime.network import open_network
from pulmoscope.training.hardware import find_precision, keep_freed_memory
from pulmoscope.training.lung_films import FilmMaker
from pulmoscope.training.onnx_file import write_onnx

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True)
class LungRecipe:
    """How the lung finder is trained: AdamW with one cycle, cross-entropy plus soft Dice loss."""

    name: str = "xray-lungs"
    title: str = "Lung finder: a small U-Net on films with lung masks"
    steps: int = 600
    batch_size: int = 24
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    seed: int = 20


def train_lung_finder(
    recipe: LungRecipe, table: SampleTable, run: Path, *, force: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train on the table's train split, measure on val and test; gives back the contents of ``lungs.json``.

    Raises:
        DatasetError: samples have no mask.
        InputError: a film or mask can't be read.
        OutputExistsError: ``run`` holds a lung finder already.
    """
    claim_folder(run, "lungs.json", force)
    torch.manual_seed(recipe.seed)
    images, masks = _training_films(table.split("train"))
    network = _trained(recipe, FilmMaker(images, masks, recipe.seed), progress)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        run / "weights.safetensors",
    )
    checked = FilmMaker(images, masks, recipe.seed + 1).batch(16)[0].numpy()
    write_onnx(network, run / "lungs.onnx", checked)
    present = {sample.split for sample in table}
    dice = {
        name: measure(run / "lungs.onnx", table.split(name)) for name in ("val", "test") if name in present
    }
    result = {
        "schema_version": SCHEMA_VERSION,
        "recipe": asdict(recipe),
        "films": {name: len(table.split(name)) for name in sorted(present)},
        "dice": dice,
        "sha256": sha256_of_file(run / "lungs.onnx"),
    }
    write_json(run / "lungs.json", result)
    return result


def _trained(recipe: LungRecipe, films: FilmMaker, progress: bool) -> UNet:
    """The loop: AdamW with one cycle over all steps; cross-entropy + 1 − soft Dice."""
    keep_freed_memory()
    network = UNet().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    bf16 = find_precision("auto", torch.device("cpu")) == "bf16-mixed"
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    steps = range(recipe.steps)
    for _ in track(steps, "training", console=Console(stderr=True), transient=True, disable=not progress):
        images, masks = films.batch(recipe.batch_size)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        lungs = logits.sigmoid()
        overlap = 2 * (lungs * masks).sum((1, 2, 3)) + 1
        dice = overlap / (lungs.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
        loss = functional.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    return network.eval()


def measure(lungs_onnx: Path, table: SampleTable) -> dict[str, float]:
    """Dice coefficient (mean and least) of an exported lung finder against the table's masks, at the masks' size."""
    network = open_network(lungs_onnx)
    found = []
    for sample in table:
        truth = _mask(table, sample.mask) > 0.5
        lungs = find_lungs(network, read_pixels(table.path(sample)))
        predicted = cv2.resize(lungs, (truth.shape[1], truth.shape[0])) > 0.5
        found.append(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
    return {"mean": float(np.mean(found)), "least": float(np.min(found)), "films": len(found)}


def _training_films(table: SampleTable) -> tuple[Tensor, Tensor]:
    """Films and masks, squeezed into the finder's square."""
    side = (FINDER_SIZE, FINDER_SIZE)
    films = [
        cv2.resize(read_pixels(table.path(sample)), side, interpolation=cv2.INTER_AREA) for sample in table
    ]
    masks = [cv2.resize(_mask(table, sample.mask), side, interpolation=cv2.INTER_AREA) for sample in table]
    return torch.from_numpy(np.stack(films))[:, None], torch.from_numpy(np.stack(masks))[:, None]


def _mask(table: SampleTable, name: str) -> FloatArray:
    """A mask as float32 (rows, columns), 1 inside the lungs."""
    if not name:
        raise DatasetError(f"{table.root}: every sample needs a mask to train the lung finder")
    return (read_pixels(table.root / name) > 0.5).astype(np.float32)
