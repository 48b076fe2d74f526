"""From slices to the patient by learnt attention: the third vote (see :mod:`pulmoscope.models.patient`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from pulmoscope.core.types import FloatArray
from pulmoscope.models.losses import build_loss
from pulmoscope.models.patient import PatientClassifier, build_patient
from pulmoscope.models.spec import CLASSIFIERS
from pulmoscope.training.severity.recipe import SeverityRecipe
from pulmoscope.training.state import PhaseState
from pulmoscope.training.three_level.course import Batch, Course, Teller, follow

COURSE = "attention"
EPOCHS, RATE, BATCH, DECAY = 25, 1e-3, 64, 1e-4
"""As system B trains its patient-level classifiers."""


def fit_attention(
    recipe: SeverityRecipe,
    vectors: Sequence[FloatArray],
    labels: Sequence[int],
    folder: Path,
    teller: Teller,
) -> tuple[PatientClassifier, PhaseState]:
    """Train the attention on the training studies' slices, from where its state file says it stands.

    Args:
        vectors: of each study float32 (slices, maps), the slice network's pooled features.
        labels: of the studies.
        folder: of the state.

    Returns:
        The network after the last epoch, and how it went.
    """
    torch.manual_seed(recipe.seed)
    network = build_patient(CLASSIFIERS["attention"], vectors[0].shape[1], len(recipe.classes))
    counts = np.bincount(labels, minlength=len(recipe.classes))
    known = torch.tensor(labels)

    def learn(epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng([recipe.seed, 3, epoch]).permutation(len(labels))
        for chosen in np.array_split(order, -(-len(order) // BATCH)):
            slices = [torch.from_numpy(vectors[int(one)]) for one in chosen]
            lengths = torch.tensor([len(own) for own in slices])
            yield (pad_sequence(slices, batch_first=True), lengths), known[torch.from_numpy(chosen)]

    plain = type(recipe.loss)(beta=recipe.loss.beta)  # its head gives no cosines
    course = Course(
        name=COURSE,
        epochs=EPOCHS,
        learning_rate=RATE,
        seed=(recipe.seed, 3),
        learn=learn,
        judge=None,
        loss=build_loss(plain, counts.tolist()),
        l2=DECAY,
    )
    state = follow(network, course, folder, torch.device("cpu"), teller)
    return network.cpu().eval(), state
