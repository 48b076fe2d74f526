"""How the networks of quality control are built and trained. Plain data: reading it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pulmoscope.core.limits import Limits

Side = Literal[32, 64, 128]
SIDES: tuple[int, ...] = get_args(Side)
"""Sides of slices that the networks of quality control are built for, px."""


@dataclass(frozen=True)
class MisGanSettings:
    """How MisGAN is built and trained.

    The defaults of losses and optimisers are the paper's (section 5, appendix D) but for ``reconstruction`` and
    ``settle``, which are ours.

    Attributes:
        latent: length of both generators' codes.
        width: base channels of generators and critics.
        imputer_width: of the imputer.
        batch: stacks a step.
        tau: what a missing pixel is for the data's critic.
        alpha, alpha_imputing: weight of the data critic's word in the mask generator's loss, in the first stage and
            while the imputer trains.
        beta: weight of the imputer's critic in the data generator's loss, in the second stage.
        penalty: of the gradient.
        critic_steps: of the critics for each one of the generators.
        learning_rate, imputer_learning_rate, betas: of Adam.
        steps, imputing_steps: of the generators in the first stage, of the imputer in the second.
        adversarial_every: the second stage plays against the critics in every so many steps; the steps between train
            the imputer by reconstruction alone. 1 is the paper.
        reconstruction: weight of the imputer's error where observed pixels were hidden from it; 0 is the paper.
        settle: fraction of the second stage, its end, in which the imputer's learning rate falls to 0; 0 is the paper.
        seed: decides the first weights and all that is drawn.
    """

    latent: Annotated[int, Limits(1)] = 128
    width: Annotated[int, Limits(1)] = 8
    imputer_width: Annotated[int, Limits(2)] = 16
    batch: Annotated[int, Limits(2)] = 16
    tau: Annotated[float, Limits(0, 1)] = 0.0
    alpha: float = 0.2
    alpha_imputing: float = 0.1
    beta: float = 0.1
    penalty: float = 10.0
    critic_steps: Annotated[int, Limits(1)] = 5
    learning_rate: Annotated[float, Limits(1e-9, 1)] = 1e-4
    imputer_learning_rate: Annotated[float, Limits(1e-9, 1)] = 2e-4
    betas: tuple[float, float] = (0.5, 0.9)
    steps: Annotated[int, Limits(1)] = 150
    imputing_steps: Annotated[int, Limits(1)] = 1500
    adversarial_every: Annotated[int, Limits(1)] = 1
    reconstruction: Annotated[float, Limits(0)] = 100.0
    settle: Annotated[float, Limits(0, 1)] = 0.5
    seed: int = 0


QUICK_MISGAN = MisGanSettings(
    batch=8,
    learning_rate=1e-3,
    imputer_learning_rate=1e-3,
    steps=400,
    imputing_steps=1500,
    adversarial_every=20,
)
"""MisGAN in some minutes on one core at 64 px: nineteen of twenty steps of the imputer learn by reconstruction alone,
and all learn faster. After so few steps the generators draw blurred chests; only the imputer's critic sees them."""


@dataclass(frozen=True)
class AnoGanSettings:
    """How the networks are built, trained and asked.

    Attributes:
        side: of the slices that the networks see, px; larger ones are averaged to it, which lesions outlive and noise
            does not, and which a CPU can train on.
        latent: length of the latent vector, whose prior is uniform in [-1, 1].
        width: channels at half that side; 32 for a CPU, 64 as published.
        epochs, encoder_epochs: of the DCGAN and of the encoder.
        batches, batch_size: of an epoch; how long training takes does not depend on how many slices there are.
        learning_rate, betas: of Adam, for all three networks.
        penalty: weight of R1, the discriminator's squared gradient at real slices.
        shift: slices to learn from are moved by up to so many 64ths of their side; they are never mirrored, as lungs
            and heart are not alike on both sides.
        brightness: and brightened or darkened by up to this fraction.
        kappa: weight of the features' part in the encoder's loss.
        weight: λ, weight of the features' part in the score.
        steps, search_rate: gradient descent for a latent vector: steps of Adam, and their learning rate.
        seed: of all that is drawn.
    """

    side: Side = 32
    latent: Annotated[int, Limits(1)] = 100
    width: Annotated[int, Limits(1)] = 32
    epochs: Annotated[int, Limits(1)] = 40
    encoder_epochs: Annotated[int, Limits(1)] = 30
    batches: Annotated[int, Limits(1)] = 50
    batch_size: Annotated[int, Limits(2)] = 32
    learning_rate: Annotated[float, Limits(1e-9, 1)] = 1e-3
    betas: tuple[float, float] = (0.5, 0.99)
    penalty: float = 1.0
    shift: Annotated[int, Limits(0)] = 2
    brightness: float = 0.04
    kappa: float = 1.0
    weight: Annotated[float, Limits(0, 1)] = 0.1
    steps: Annotated[int, Limits(1)] = 500
    search_rate: Annotated[float, Limits(1e-9, 10)] = 0.02
    seed: int = 20
