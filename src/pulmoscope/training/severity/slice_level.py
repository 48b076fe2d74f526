"""The slice network of system A: every slice inherits its patient's grade (arXiv 2507.04252, «Method Summary»)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pulmoscope.core.types import FloatArray
from pulmoscope.models.classifier import Classifier, build
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import SliceSpec
from pulmoscope.training.classification import Batch, Classification, loss_for
from pulmoscope.training.hardware import fabric_of, find_precision
from pulmoscope.training.loop import Stage, fit
from pulmoscope.training.optimizers import learns
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.studies import StandardSlices
from pulmoscope.training.state import PhaseState

CHANNELS = 1
STAGE = "slices"


@dataclass(frozen=True)
class SliceBatches:
    """Batches of predicted slices, each with its patient's label; drawn anew for every epoch.

    Attributes:
        studies: repaired.
        recipe: resolved.
    """

    studies: Sequence[StandardSlices]
    recipe: Recipe

    def learn(self, epoch: int) -> Iterator[Batch]:
        """An epoch's batches."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 1, epoch])
        indices = [
            (number, int(index))
            for number, study in enumerate(self.studies)
            for index in _spread_out(
                np.flatnonzero(study.enough_lung), expected(recipe.slices, SliceSpec).per_study, rng
            )
        ]
        order = rng.permutation(len(indices))
        for chosen in np.array_split(order, max(1, len(order) // recipe.batch_size)):
            images = np.stack([self._image(indices[one], epoch) for one in chosen])
            labels = torch.tensor([self.studies[indices[one][0]].label for one in chosen])
            tensor = expected(recipe.preprocess, Standardisation).tensor(images)
            yield Batch((torch.from_numpy(tensor),), labels)

    def _image(self, at: tuple[int, int], epoch: int) -> FloatArray:
        number, index = at
        rng = np.random.default_rng([self.recipe.seed, 2, epoch, number, index])
        image = np.asarray(self.studies[number].images[index], dtype=np.float32) / np.float32(255)
        return expected(self.recipe.augment, CtAugmentation)(image, rng)


def _spread_out(indices: npt.NDArray[np.intp], count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """So many of the indices, from all over the lungs: one from each of ``count`` equal parts; all where few are."""
    if not count or len(indices) <= count:
        return indices
    return np.array([rng.choice(part) for part in np.array_split(indices, count)])


def fit_slices(
    recipe: Recipe,
    studies: Sequence[StandardSlices],
    folder: Path,
    device: torch.device,
    reporter: Reporter,
) -> tuple[Classifier, PhaseState]:
    """Train the slice network from where its state file says it stands.

    Args:
        studies: to learn from, repaired.
        folder: of the state.

    Returns:
        The network after the last epoch, on the CPU in eval mode, and how it went.

    Raises:
        RecipeError, ResourceError: see :func:`pulmoscope.models.classifier.build`; or the loss became NaN.
    """
    phase = recipe.phases[0]
    torch.manual_seed(recipe.seed)
    network = build(recipe.model, len(recipe.classes), CHANNELS, recipe.loss)
    optimizer = torch.optim.SGD(
        learns(network),
        phase.learning_rate,
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
        nesterov=True,
    )
    # It counts patients, not slices.
    loss = loss_for(recipe, np.array([study.label for study in studies]), weighted=False)
    stage = Stage(
        name=STAGE,
        epochs=phase.epochs,
        seed=(recipe.seed, 1),
        network=network,
        optimizers={"network": optimizer},
        batches=SliceBatches(studies, recipe).learn,
        step=Classification(loss, mixup=recipe.mixup).step,
        schedule=lambda done: {"lr": phase.learning_rate * _cosine(done)},
        average=recipe.average,
    )
    state = fit(stage, folder, fabric_of(device, find_precision(recipe.precision, device)), reporter)
    return network.cpu().eval(), state


def _cosine(done: float) -> float:
    """Half a cosine from 1 towards 0, after a slow first epoch or twentieth."""
    return min(1.0, 0.2 + done * 20) * (1 + math.cos(math.pi * done)) / 2
