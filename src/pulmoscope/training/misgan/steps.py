"""One step of MisGAN's training and its losses (Li, Jiang, Marlin, ICLR 2019, sections 3 and 4).

What goes beyond the paper is set by ``recipes.gan_specs.MisGanSettings``: a reconstruction term of the imputer, steps
that train it by this term alone, and a learning rate that falls at the end. The imputer's critic sees the middle
slices: the neighbours are what the imputer works from, not what it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pulmoscope.models.misgan import TEMPERATURE, Critic, Generator, Imputer, composite, mask_by, middle
from pulmoscope.recipes.gan_specs import MisGanSettings
from pulmoscope.training.misgan.data import Batch

Figures = dict[str, float]
"""A step's figures by name."""


class Networks(nn.Module):
    """All six networks, and on demand their optimisers.

    Args:
        side: of the slices, px.
        settings: the first weights come from torch's own generator, which the caller seeds.
    """

    def __init__(self, side: int, settings: MisGanSettings) -> None:
        super().__init__()
        width = settings.width
        self.data = Generator(side, settings.latent, width)
        self.masks = Generator(side, settings.latent, width, TEMPERATURE)
        self.imputer = Imputer(settings.imputer_width)
        self.data_critic = Critic(side, width)
        self.mask_critic = Critic(side, width)
        self.imputer_critic = Critic(side, width, slices=1)

    def optimizers(self, settings: MisGanSettings) -> dict[str, torch.optim.Optimizer]:
        """Adam for the critics, for the generators and for the imputer."""
        critics = (self.data_critic, self.mask_critic, self.imputer_critic)
        groups: Mapping[str, tuple[tuple[nn.Module, ...], float]] = {
            "critics": (critics, settings.learning_rate),
            "generators": ((self.data, self.masks), settings.learning_rate),
            "imputer": ((self.imputer,), settings.imputer_learning_rate),
        }
        return {
            name: torch.optim.Adam(
                [w for member in members for w in member.parameters()], rate, settings.betas
            )
            for name, (members, rate) in groups.items()
        }


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """How far the critic's slope between real and fake is from 1: mean of (|slope| - 1)^2 (Gulrajani et al. 2017)."""
    fraction = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (fraction * real + (1 - fraction) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    off: Tensor = slope.flatten(1).norm(dim=1) - 1
    return off.square().mean()


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, penalty: float) -> tuple[Tensor, float]:
    """What a critic minimises, and the distance of real and fake that it tells."""
    apart = critic(real).mean() - critic(fake).mean()
    return penalty * gradient_penalty(critic, real, fake) - apart, float(apart.detach())


def reconstruction_error(filled: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute error where something was hidden: the mean over each slice's hidden pixels, then over slices.

    Slices count alike, or whole missing slices, of which least can be known, would decide nearly all. 0 where nothing
    was hidden.

    Args:
        filled, truth, hidden: (batch, 1, side, side); ``hidden`` is 1 where it counts.
    """
    pixels = hidden.sum(dim=(1, 2, 3))
    error = ((filled - truth).abs() * hidden).sum(dim=(1, 2, 3)) / pixels.clamp(min=1)
    return error.sum() / (pixels > 0).sum().clamp(min=1)


@dataclass
class Step:
    """One training step.

    Attributes:
        networks: in training mode, on the device of the batches.
        optimizers: see :meth:`Networks.optimizers`.
        settings: of the training.
    """

    networks: Networks
    optimizers: Mapping[str, torch.optim.Optimizer]
    settings: MisGanSettings

    def criticise(self, batch: Batch, imputing: bool) -> Figures:
        """One step of the critics of data and masks, and with ``imputing`` of the imputer's."""
        networks, settings = self.networks, self.settings
        with torch.no_grad():
            generated, masks = self._generated(len(batch.x))
            filled = self.fill(batch)[1] if imputing else None
        weight = settings.penalty
        real = mask_by(batch.x, batch.m, settings.tau)
        fake = mask_by(generated, masks, settings.tau)
        data, data_apart = critic_loss(networks.data_critic, real, fake, weight)
        mask, mask_apart = critic_loss(networks.mask_critic, batch.m, masks, weight)
        total, figures = data + mask, {"data_distance": data_apart, "mask_distance": mask_apart}
        if filled is not None:
            loss, apart = critic_loss(networks.imputer_critic, middle(generated), filled, weight)
            total, figures["imputer_distance"] = total + loss, apart
        self._learn(total, "critics")
        return figures

    def generate(self, count: int, imputing: bool) -> Figures:
        """One step of both generators: G_x minimises L_x (+ beta L_i), G_m minimises L_m + alpha L_x."""
        networks, settings = self.networks, self.settings
        alpha = settings.alpha_imputing if imputing else settings.alpha
        generated, masks = self._generated(count)
        # The masks' generator feels the data's critic alpha times; the data's generator feels it wholly.
        felt = alpha * masks + (1 - alpha) * masks.detach()
        data = -networks.data_critic(mask_by(generated, felt, settings.tau)).mean()
        loss = data - networks.mask_critic(masks).mean()
        if imputing:
            loss = loss + settings.beta * networks.imputer_critic(middle(generated)).mean()
        self._learn(loss, "generators")
        return {}

    def impute(self, batch: Batch, adversarial: bool) -> Figures:
        """One step of the imputer: L_i where ``adversarial``, and the weighted reconstruction error."""
        settings = self.settings
        raw, filled = self.fill(batch)
        loss, figures = raw.new_zeros(()), {}
        if adversarial:
            loss = loss - self.networks.imputer_critic(filled).mean()
        if settings.reconstruction:
            error = reconstruction_error(raw, middle(batch.x), middle(batch.m * (1 - batch.other)))
            loss = loss + settings.reconstruction * error
            figures["reconstruction"] = float(error.detach())
        self._learn(loss, "imputer")
        return figures

    def fill(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The imputer's word on the middle slices, and the middle slices with it where something is not shown.

        With a reconstruction term what other stacks lack is hidden here too; without one only what is missing is.
        """
        other = batch.other if self.settings.reconstruction else torch.ones_like(batch.other)
        shown = batch.observed * other
        noise = torch.rand_like(batch.x)
        raw = self.networks.imputer(composite(batch.slices, shown, noise), shown)
        return raw, composite(middle(batch.x), middle(batch.m * other), raw)

    def _generated(self, count: int) -> tuple[Tensor, Tensor]:
        """Data and masks from the generators."""
        networks = self.networks
        device = next(networks.parameters()).device
        codes = torch.randn(2, count, self.settings.latent, device=device)
        return networks.data(codes[0]), networks.masks(codes[1])

    def _learn(self, loss: Tensor, who: Literal["critics", "generators", "imputer"]) -> None:
        optimizer = self.optimizers[who]
        # A generator's loss also runs through the critics: those gradients are not kept.
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        slopes: tuple[Any, ...] = torch.autograd.grad(loss, weights, allow_unused=True)
        for weight, slope in zip(weights, slopes, strict=True):
            weight.grad = slope
        optimizer.step()
