"""Level 1: the slice network, in the phases of the recipe."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import write_json
from pulmoscope.datasets import load
from pulmoscope.models.classifier import Classifier, build_multiscale
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import Phase, SliceSpec
from pulmoscope.training.classification import (
    Classification,
    by_accuracy_then_loss,
    by_loss,
    loss_for,
)
from pulmoscope.training.hardware import fabric_of, find_precision
from pulmoscope.training.loop import Stage, Validation, fit
from pulmoscope.training.optimizers import learning_rate, learns, optimizer_of
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState
from pulmoscope.training.three_level.slice_data import (
    SliceBatches,
    SliceSet,
    check_classes,
    labelled,
    slice_set,
)
from pulmoscope.training.three_level.slice_pictures import pretraining
from pulmoscope.training.three_level.studies import Cache, PreparedStudy

CHANNELS = 3
BATCH = 64
"""Slices that are looked at together when some are picked."""
_MONITORS = {"accuracy": by_accuracy_then_loss, "loss": by_loss}


@dataclass(frozen=True)
class SliceTraining:
    """All that the phases share.

    Attributes:
        recipe: resolved.
        train, val: the studies.
        folder: of states and kept weights.
        cache: of prepared slices.
    """

    recipe: Recipe
    train: Sequence[PreparedStudy]
    val: Sequence[PreparedStudy]
    folder: Path
    cache: Cache
    device: torch.device
    reporter: Reporter

    @property
    def preprocess(self) -> CtPreprocess:
        """How slices are prepared."""
        return expected(self.recipe.preprocess, CtPreprocess)

    @property
    def normal(self) -> int:
        """The number of the normal class."""
        return self.recipe.classes.index(self.recipe.normal)


def fit_slices(training: SliceTraining) -> tuple[Classifier, Mapping[str, PhaseState]]:
    """Train the slice network through all phases, from where their state files say they stand.

    Returns:
        The network with the weights that the last phase kept, in eval mode; phase name → how it went.

    Raises:
        DatasetError: a class has no slice whose label is known.
        RecipeError, ResourceError: see :func:`build_multiscale`; or the loss became NaN.
    """
    recipe = training.recipe
    train = labelled(
        training.train, training.normal, expected(recipe.slices, SliceSpec).interpolate, training.cache
    )
    val = labelled(training.val, training.normal, 1, training.cache)
    check_classes(train, recipe.classes, "train")
    if not len(val):
        raise DatasetError("split val: no slice's label is known, so no epoch can be told to be the best")
    torch.manual_seed(recipe.seed)
    network = build_multiscale(recipe.model, len(recipe.classes), CHANNELS)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    states: dict[str, PhaseState] = {}
    for number, phase in enumerate(recipe.phases):
        slices = _slices_of(training, phase, train, val, network, number)
        if slices is not None:
            states[phase.name] = _run(training, phase, number, *slices, network)
    network.requires_grad_(True)
    return network.eval(), states


def _slices_of(
    training: SliceTraining,
    phase: Phase,
    train: SliceSet,
    val: SliceSet,
    network: Classifier,
    number: int,
) -> tuple[SliceSet, SliceSet] | None:
    """What a phase learns from and is validated on; None where it is left out, with a word."""
    recipe, reporter = training.recipe, training.reporter
    if phase.learn == "labelled":
        return train, val
    if phase.learn == "pretrain":
        pretrain = expected(recipe.slices, SliceSpec).pretrain
        if not pretrain:
            reporter.line(
                f"{phase.name}: left out, as there is no data set to pretrain on (slices.pretrain=PATH)"
            )
            return None
        table = load(Path(pretrain))
        return pretraining(table, training.preprocess, recipe.classes, training.cache, reporter)
    unknown = [study for study in training.train if study.infected is None]
    if not unknown:
        reporter.line(f"{phase.name}: left out, as every patient's infected slices are known")
        return None
    picked = _picked(training, unknown, network, training.folder / f"1-{number}-{phase.name}-picked.json")
    reporter.line(
        f"{phase.name}: {len(picked)} slices of {len(unknown)} patients without slice labels are picked"
    )
    return train.with_slices(picked), val


def _picked(
    training: SliceTraining, unknown: Sequence[PreparedStudy], network: Classifier, file: Path
) -> SliceSet:
    """The slices that the network takes for infected, with their patients' labels; decided once, and kept."""
    if not file.is_file():
        chosen = {
            study.key: _infected(training, study, network)
            for study in training.reporter.track(unknown, "Picking infected slices", len(unknown))
        }
        write_json(file, chosen)
    known = json.loads(file.read_text(encoding="utf-8"))
    return slice_set([(study.slices, known[study.key], study.label) for study in unknown])


def _infected(training: SliceTraining, study: PreparedStudy, network: Classifier) -> list[int]:
    network.to(training.device).eval()
    infected: list[int] = []
    for start in range(0, len(study.slices), BATCH):
        images = training.preprocess.tensor(np.asarray(study.slices[start : start + BATCH]))
        with torch.inference_mode():
            probabilities = torch.softmax(network(torch.from_numpy(images).to(training.device)), dim=1)
        ill = 1 - probabilities[:, training.normal] >= expected(training.recipe.slices, SliceSpec).sure
        infected += (start + torch.nonzero(ill).flatten()).tolist()
    return infected


def _run(
    training: SliceTraining,
    phase: Phase,
    number: int,
    train: SliceSet,
    val: SliceSet,
    network: Classifier,
) -> PhaseState:
    recipe = training.recipe
    per_epoch = expected(recipe.slices, SliceSpec).per_epoch
    seed = (recipe.seed, 1, number)
    classes = len(recipe.classes)
    seen, augment = training.preprocess, expected(recipe.augment, CtAugmentation)
    learn = SliceBatches(train, seen, augment, recipe.batch_size, per_epoch, classes, seed)
    held_out = SliceBatches(val, seen, None, recipe.batch_size, 0, classes, seed)
    _free(network, phase)
    # Drawn evenly, the classes need no weights.
    loss = loss_for(recipe, train.labels, weighted=not per_epoch)
    learning = Classification(loss, mixup=recipe.mixup)
    stage = Stage(
        name=f"1-{number}-{phase.name}",
        epochs=phase.epochs,
        seed=seed,
        network=network,
        optimizers={"network": optimizer_of(phase, learns(network))},
        batches=learn.learn,
        step=learning.step,
        schedule=lambda done: {"lr": learning_rate(phase, done)},
        validation=Validation(held_out.validation, learning.check, _MONITORS[phase.monitor]),
        patience=phase.patience,
        mode=functools.partial(_mode, phase=phase),
        average=recipe.average,
    )
    fabric = fabric_of(training.device, find_precision(recipe.precision, training.device))
    return fit(stage, training.folder, fabric, training.reporter)


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _free(network: Classifier, phase: Phase) -> None:
    """Let those weights learn that the phase does not freeze."""
    network.requires_grad_(True)
    if phase.frozen == "backbone":
        network.backbone.requires_grad_(False)
    if phase.frozen == "norm":
        for norm in _norms(network):
            norm.requires_grad_(False)


def _mode(network: nn.Module, phase: Phase) -> None:
    """Training mode, but for what is frozen: its statistics stay."""
    network.train()
    if phase.frozen != "none":
        for norm in _norms(network):
            norm.eval()
    if phase.frozen == "backbone":
        assert isinstance(network, Classifier)
        network.backbone.eval()
