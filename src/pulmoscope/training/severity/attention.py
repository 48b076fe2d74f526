"""From slices to the patient by learnt attention: the third vote (see :mod:`pulmoscope.models.patient`).

Between no disease and little, the one slice that shows it decides; so the largest value of each feature and density
stands beside the attended mean. There are few patients to learn from: every time a study is seen, some of its slices
are left out, and the weights decay. It learns from standardised vectors, as LDAM's cosines leave the features' length
open; what it learnt is then written for the vectors as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pulmoscope.core.types import FloatArray
from pulmoscope.models.losses import build_loss
from pulmoscope.models.patient import AttentionMaxPooling, PatientClassifier, build_patient
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.recipes.specs import CLASSIFIERS, VoteSpec
from pulmoscope.training.classification import Batch, Classification
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.loop import Stage, fit
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.scale import scale_of
from pulmoscope.training.state import PhaseState

STAGE = "attention"
CLASSIFIER = "attention-max"
DECAY = 1e-2
LEAST_KEPT = 0.4
"""Of a study's slices, at least so many are seen at a time."""


def fit_attention(
    recipe: Recipe,
    vectors: Sequence[FloatArray],
    labels: Sequence[int],
    folder: Path,
    reporter: Reporter,
) -> tuple[PatientClassifier, PhaseState]:
    """Train the attention on the training studies' slices, from where its state file says it stands.

    Args:
        vectors: of each study float32 (slices, maps + densities): :func:`pulmoscope.runtime.votes.with_densities`.
        labels: of the studies.
        folder: of the state.

    Returns:
        The network after the last epoch, and how it went.
    """
    level = expected(recipe.patient, VoteSpec)
    mean, spread = scale_of(np.concatenate(vectors))
    scaled = [(of_study - mean) / spread for of_study in vectors]
    torch.manual_seed(recipe.seed)
    network = build_patient(CLASSIFIERS[CLASSIFIER], vectors[0].shape[1], len(recipe.classes))
    counts = np.bincount(labels, minlength=len(recipe.classes))
    known = torch.tensor(labels)

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([recipe.seed, 3, epoch])
        order = rng.permutation(len(labels))
        for chosen in np.array_split(order, -(-len(order) // level.batch_size)):
            slices = [torch.from_numpy(_some(scaled[int(one)], rng)) for one in chosen]
            lengths = torch.tensor([len(of_study) for of_study in slices])
            yield Batch((pad_sequence(slices, batch_first=True), lengths), known[torch.from_numpy(chosen)])

    plain = type(recipe.loss)(beta=recipe.loss.beta)  # its head gives no cosines
    stage = Stage(
        name=STAGE,
        epochs=level.epochs,
        seed=(recipe.seed, 3),
        network=network,
        optimizers={
            "network": torch.optim.AdamW(network.parameters(), level.learning_rate, weight_decay=DECAY)
        },
        batches=batches,
        step=Classification(build_loss(plain, counts.tolist())).step,
        schedule=lambda done: {"lr": level.learning_rate * ((1 + math.cos(math.pi * done)) / 2)},
    )
    state = fit(stage, folder, fabric_of(torch.device("cpu")), reporter)
    _unscale(network, torch.from_numpy(mean), torch.from_numpy(spread))
    return network.cpu().eval(), state


@torch.no_grad()
def _unscale(network: PatientClassifier, mean: Tensor, spread: Tensor) -> None:
    """Change a network of standardised features into the same one of features as they are.

    A mean and a largest value of (x - m) / s are those of x, less m, over s: the layers behind them take it over.
    """
    pooling, hidden = network.pooling, network.head.hidden
    assert isinstance(pooling, AttentionMaxPooling)
    assert hidden is not None
    for layer, times in ((pooling.attention.content, 1), (pooling.attention.gate, 1), (hidden, 2)):
        layer.weight.div_(spread.repeat(times))
        layer.bias.sub_(layer.weight @ mean.repeat(times))


def _some(slices: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Some of a study's slices, in order: from ``LEAST_KEPT`` of them to all."""
    kept = math.ceil(len(slices) * rng.uniform(LEAST_KEPT, 1))
    return slices[np.sort(rng.permutation(len(slices))[:kept])]
