"""Training of the lung finder (``xray-lungs``): a small U-Net on radiographs with lung masks.

Not one of the published systems: a tool that the recipes with ``region="lungs"`` share. The run's folder holds
``lungs.onnx`` (input ``image`` (batch, 1, 80, 80), output ``logits`` of the same shape), ``lungs.json`` with the
Dice coefficients on the validation and test radiographs, and ``weights.safetensors``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of, sha256_of_file
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.models.unet import UNet
from pulmoscope.recipes import settings
from pulmoscope.recipes.published.xray_lungs import LungRecipe
from pulmoscope.runtime.model import find_lungs
from pulmoscope.runtime.network import open_network
from pulmoscope.segment.xray_lungs import FINDER_SIZE
from pulmoscope.training.frames import read_all
from pulmoscope.training.hardware import (
    fabric_of,
    find_precision,
    keep_freed_memory,
)
from pulmoscope.training.loop import Outcome, Stage, fit, in_steps
from pulmoscope.training.lung_finder.radiographs import FilmMaker
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.optimizers import one_cycle
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import begin, save_weights
from pulmoscope.training.tool_run import tool_run

SCHEMA_VERSION = "1.0"
MARKER = "lungs.json"
INTERVAL = 50
"""Steps between two states saved."""


def train_lung_finder(
    recipe: LungRecipe,
    table: SampleTable,
    run: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train on the table's train split, measure on val and test; gives back the contents of ``lungs.json``.

    Args:
        resume: go on where the run in this folder was killed, to the same weights; a finished one is returned.
        force: replace what is in the folder.

    Raises:
        DatasetError: samples have no mask, or several radiographs or masks can't be read.
        InputError: a radiograph or mask can't be read.
        OutputExistsError: ``run`` holds a lung finder already.
        RecipeError: the run to resume had another recipe or other radiographs, or the loss became NaN.
        ResourceError: memory or disk ran out.
    """
    training = partial(_train, recipe, table, run, progress)
    return tool_run(run, MARKER, training, resume=resume, force=force, relief="fewer radiographs")


def _train(
    recipe: LungRecipe, table: SampleTable, run: Path, progress: bool, checkpoints: Path
) -> dict[str, Any]:
    torch.manual_seed(recipe.seed)
    present = sorted({sample.split for sample in table})
    radiographs = {
        name: _squeezed(table.split(name), progress) for name in dict.fromkeys(("train", *present))
    }
    images, masks = radiographs["train"]
    content = sha256_of(images.numpy().tobytes() + masks.numpy().tobytes())
    begin(checkpoints / "begun.json", {"recipe": settings.of_tool(recipe), "films": content})
    network = _trained(recipe, FilmMaker(images, masks, recipe.seed), checkpoints, Reporter.of(progress))
    save_weights(network, run / "weights.safetensors")
    checked = FilmMaker(images, masks, recipe.seed + 1).batch(16)[0].numpy()
    write_onnx(network, run / "lungs.onnx", checked)
    dice = {
        name: measure(run / "lungs.onnx", table.split(name)) for name in ("val", "test") if name in present
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": settings.of_tool(recipe),
        "films": {name: len(table.split(name)) for name in present},
        "dice": dice,
        "sha256": sha256_of_file(run / "lungs.onnx"),
    }


def _trained(recipe: LungRecipe, radiographs: FilmMaker, folder: Path, reporter: Reporter) -> UNet:
    """AdamW with one cycle over all steps; cross-entropy + 1 − soft Dice."""
    keep_freed_memory()
    network = UNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    epochs, numbers = in_steps(recipe.steps, INTERVAL)
    cycle = one_cycle(recipe.learning_rate, recipe.steps, warm_up=0.1)
    stage = Stage(
        name="lungs",
        epochs=epochs,
        seed=(recipe.seed,),
        network=network,
        optimizers={"network": optimizer},
        batches=lambda epoch: (radiographs.batch(recipe.batch_size) for _ in numbers(epoch)),
        steps=INTERVAL,
        step=_step,
        schedule=lambda done: cycle(round(done * epochs * INTERVAL)),
        random=radiographs.random,
    )
    cpu = torch.device("cpu")
    fit(stage, folder, fabric_of(cpu, find_precision("auto", cpu)), reporter)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    return network


def _step(network: nn.Module, batch: tuple[Tensor, Tensor], done: float) -> Outcome:
    images, masks = batch
    logits = network(images.contiguous(memory_format=torch.channels_last))
    lungs = logits.sigmoid()
    overlap = 2 * (lungs * masks).sum((1, 2, 3)) + 1
    dice = overlap / (lungs.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    loss = functional.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()
    count = len(images)
    return Outcome(
        {"train_loss": float(loss.detach()) * count, "train_dice": float(dice.detach().sum())}, count, loss
    )


def measure(lungs_onnx: Path, table: SampleTable) -> dict[str, float]:
    """Dice coefficient (mean and least) of an exported lung finder against the table's masks, at the masks' size."""
    network = open_network(lungs_onnx)
    dice = []
    for sample in table:
        truth = _mask(table, sample.mask) > 0.5
        lungs = find_lungs(network, read_pixels(table.path(sample)))
        predicted = cv2.resize(lungs, (truth.shape[1], truth.shape[0])) > 0.5
        dice.append(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
    return {"mean": float(np.mean(dice)), "least": float(np.min(dice)), "films": len(dice)}


def _squeezed(table: SampleTable, progress: bool) -> tuple[Tensor, Tensor]:
    """Radiographs and masks, squeezed into the finder's square; of every split, so that a bad one is reported before
    training."""
    side = (FINDER_SIZE, FINDER_SIZE)

    def squeezed(sample: Sample) -> tuple[FloatArray, FloatArray]:
        pair = read_pixels(table.path(sample)), _mask(table, sample.mask)
        radiograph, mask = (cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in pair)
        return np.asarray(radiograph), np.asarray(mask)

    radiographs, masks = zip(*read_all(table, squeezed, progress), strict=True)
    return torch.from_numpy(np.stack(radiographs))[:, None], torch.from_numpy(np.stack(masks))[:, None]


def _mask(table: SampleTable, name: str) -> FloatArray:
    """A mask as float32 (rows, columns), 1 inside the lungs."""
    if not name:
        raise DatasetError(f"{table.root}: every sample needs a mask to train the lung finder")
    mask = read_pixels(table.root / name) > 0.5
    if not mask.any():
        raise DatasetError(f"{table.root / name}: a lung mask shows lungs (found: none)")
    return mask.astype(np.float32)
