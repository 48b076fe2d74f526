"""Networks that know what a normal slice looks like: a DCGAN, and the encoder that makes it fast.

Schlegl et al., «Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery», 2017
(AnoGAN); Schlegl et al., «f-AnoGAN», 2019 (the encoder); Radford et al., «Unsupervised Representation Learning with
Deep Convolutional Generative Adversarial Networks», 2016 (the layers and the latent prior, uniform in [-1, 1]).

Slices are float32 (batch, 1, side, side) in [0, 1] everywhere; inside they are stretched to [-1, 1], which Radford's
tanh gives.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.recipes.gan_specs import SIDES

LEAST_SIDE = 4
WIDEST = 8
"""Channels at the coarsest level are at most so many times ``width``."""
LEAK = 0.2


def channels(size: int, width: int) -> tuple[int, ...]:
    """Channels of each level, finest (half the slice's side) first, coarsest (4 pixels) last.

    Raises:
        ValueError: the side is none of :data:`SIDES`.
    """
    if size not in SIDES:
        raise ValueError(f"slices have a side of {', '.join(map(str, SIDES))} px (found: {size})")
    levels = (size // LEAST_SIDE).bit_length() - 1
    return tuple(width * min(WIDEST, 2**level) for level in range(levels))


class Generator(nn.Module):
    """From a latent vector to a slice: transposed convolutions, BatchNorm and ReLU (Radford 2016, section 3).

    Args:
        size: side of the slices, px.
        latent: length of the latent vector.
        width: channels at half the slices' side; twice as many at every coarser level, up to 8 times.
    """

    def __init__(self, size: int, latent: int = 100, width: int = 32) -> None:
        super().__init__()
        self.latent = latent
        coarse, *finer = reversed(channels(size, width))
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, coarse, LEAST_SIDE, bias=False)]
        for inputs, outputs in zip((coarse, *finer), finer, strict=False):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        """Slices (batch, 1, size, size) in [0, 1] of latent vectors (batch, latent, 1, 1)."""
        image: Tensor = self.layers(latent)
        return (torch.tanh(image) + 1) / 2


class Discriminator(nn.Module):
    """Tells real slices from generated ones; its last level before the answer is AnoGAN's feature layer f.

    Without Radford's BatchNorm, which no gradient penalty goes with (Gulrajani et al. 2017, section 4): f of a slice
    then depends on that slice alone.
    """

    def __init__(self, size: int, width: int = 32) -> None:
        super().__init__()
        widths = channels(size, width)
        steps: list[nn.Module] = []
        for inputs, outputs in zip((1, *widths), widths, strict=False):
            steps += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        self.trunk = nn.Sequential(*steps)
        self.answer = nn.Conv2d(widths[-1], 1, LEAST_SIDE)

    def features(self, slices: Tensor) -> Tensor:
        """f: (batch, channels, 4, 4)."""
        maps: Tensor = self.trunk(2 * slices - 1)
        return maps

    def forward(self, slices: Tensor) -> Tensor:
        """Logits (batch,), positive for real."""
        logits: Tensor = self.answer(self.features(slices))
        return logits.flatten()


class Encoder(nn.Module):
    """From a slice to the latent vector that generates it (Schlegl 2019); tanh keeps it within the prior."""

    def __init__(self, size: int, latent: int = 100, width: int = 32) -> None:
        super().__init__()
        widths = channels(size, width)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(LEAK),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], latent, LEAST_SIDE))

    def forward(self, slices: Tensor) -> Tensor:
        """Latent vectors (batch, latent, 1, 1) in [-1, 1]."""
        return torch.tanh(self.layers(2 * slices - 1))


class AnomalyNetwork(nn.Module):
    """Encoder, generator and f in one pass: how unlike a normal slice a slice is, and where.

    Args:
        weight: λ, the fraction of the features' part in the score.
        factor: how many times smaller the networks' side is than the slices'.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        encoder: Encoder,
        weight: float,
        factor: int = 1,
    ) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator)
        self.discriminator = copy.deepcopy(discriminator)
        self.encoder = copy.deepcopy(encoder)
        self.weight = weight
        self.factor = factor
        self.requires_grad_(False).eval()

    def explainable(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """What is exported: scores (batch,) and residual maps like the slices (batch, 1, side, side)."""
        slices = reduced(slices, self.factor)
        generated = self.generator(self.encoder(slices))
        features, generated_features = (
            self.discriminator.features(slices),
            self.discriminator.features(generated),
        )
        residuals = enlarged((slices - generated).abs(), self.factor)
        return scores(slices, generated, features, generated_features, self.weight), residuals

    def forward(self, slices: Tensor) -> Tensor:
        """The scores alone."""
        return self.explainable(slices)[0]


def scores(
    slices: Tensor, generated: Tensor, features: Tensor, generated_features: Tensor, weight: float
) -> Tensor:
    """((1 − λ) · Σ|x − G(z)| + λ · Σ|f(x) − f(G(z))|) / pixels, (batch,); Schlegl 2017, equations 3 to 5.

    The paper's sums, divided by the number of a slice's pixels: a constant, which lets sizes be compared.
    """
    residual = (slices - generated).abs().sum((1, 2, 3))
    discrimination = (features - generated_features).abs().sum((1, 2, 3))
    pixels = slices.shape[-2] * slices.shape[-1]
    return ((1 - weight) * residual + weight * discrimination) / pixels


def reduced(slices: Tensor, factor: int) -> Tensor:
    """Slices of a side so many times smaller: means of squares of pixels."""
    return slices if factor == 1 else functional.avg_pool2d(slices, factor)


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Maps (n, 1, side, side) of a side so many times larger: every pixel a square, by what every runtime has."""
    if factor == 1:
        return maps
    return functional.conv_transpose2d(maps, maps.new_ones(1, 1, factor, factor), stride=factor)
