"""How the networks of quality control are built and trained. Plain data: reading it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from pulmoscope.core.errors import RecipeError

SIDES = (32, 64, 128)
"""Sides of slices that AnoGAN's networks are built for, px."""


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
        settle: share of the second stage, its end, in which the imputer's learning rate falls to 0; 0 is the paper.
        seed: decides the first weights and all that is drawn.
    """

    latent: int = 128
    width: int = 8
    imputer_width: int = 16
    batch: int = 16
    tau: float = 0.0
    alpha: float = 0.2
    alpha_imputing: float = 0.1
    beta: float = 0.1
    penalty: float = 10.0
    critic_steps: int = 5
    learning_rate: float = 1e-4
    imputer_learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.9)
    steps: int = 150
    imputing_steps: int = 1500
    adversarial_every: int = 1
    reconstruction: float = 100.0
    settle: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "latent": 1,
            "width": 1,
            "imputer_width": 2,
            "batch": 2,
            "critic_steps": 1,
            "steps": 1,
            "imputing_steps": 1,
            "adversarial_every": 1,
            "reconstruction": 0,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise RecipeError(f"MisGAN: {name} must be at least {bound} (found: {getattr(self, name)})")
        if self.adversarial_every > 1 and not self.reconstruction:
            raise RecipeError(
                "MisGAN: without reconstruction, adversarial_every must be 1 (nothing else is learnt)"
            )
        for name in ("tau", "settle"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"MisGAN: {name} must be from 0 to 1 (found: {getattr(self, name)})")


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
        brightness: and brightened or darkened by up to this share.
        kappa: weight of the features' part in the encoder's loss.
        weight: λ, weight of the features' part in the score.
        steps, search_rate: gradient descent for a latent vector: steps of Adam, and their learning rate.
        seed: of all that is drawn.
    """

    side: int = 32
    latent: int = 100
    width: int = 32
    epochs: int = 40
    encoder_epochs: int = 30
    batches: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.99)
    penalty: float = 1.0
    shift: int = 2
    brightness: float = 0.04
    kappa: float = 1.0
    weight: float = 0.1
    steps: int = 500
    search_rate: float = 0.02
    seed: int = 20

    def __post_init__(self) -> None:
        least = {"latent": 1, "width": 1, "epochs": 1, "encoder_epochs": 1, "batches": 1, "batch_size": 2}
        for name, bound in {**least, "shift": 0, "steps": 1}.items():
            if getattr(self, name) < bound:
                raise RecipeError(f"AnoGAN: {name} must be at least {bound} (found: {getattr(self, name)})")
        if self.side not in SIDES:
            raise RecipeError(
                f"AnoGAN: side must be one of {', '.join(map(str, SIDES))} (found: {self.side})"
            )
        if not 0 <= self.weight <= 1:
            raise RecipeError(f"AnoGAN: weight must be from 0 to 1 (found: {self.weight})")
