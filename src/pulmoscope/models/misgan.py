"""MisGAN's networks: two generators, an imputer and three critics (Li, Jiang, Marlin, ICLR 2019, sections 3 and 4).

All work on stacks of three neighbouring slices (below, this, above): ``x`` (batch, 3, side, side) in [0, 1] and ``m``
alike, 1 where a pixel is observed. The paper has single images; the neighbours are ours. For the imputer a neighbour
is made of the nearest slices that are observed at each pixel, and its ``m`` says how near they are.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

SLICES = 3
"""Slices of a stack: the one below, the slice itself, the one above."""
MIDDLE = 1
SIDES = (32, 64, 128)
"""Sides of images that the networks are made for, px."""
TEMPERATURE = 0.66
"""Of the mask generator's sigmoid (appendix D of the paper): masks are nearly 0 or 1."""
_LEAST = 1e-3
"""Less than any pixel's weight, which is 1 over the number of slices away."""
GUESSES = 4
"""What the imputer mixes."""
_REACHES = (1, 4)
"""How far around a pixel the imputer's guesses look, px: in windows of 3 and 9 px."""
_FIRST = 4.0
"""Logit of the first guess at the start, the others' being 0: 95 % of the weight."""
_SLOPE = 0.2
_SEED_SIDE = 4


def mask_by(x: Tensor, m: Tensor, tau: float) -> Tensor:
    """The masking operator f_tau(x, m) = x m + tau (1 - m) (equation 1): what is missing gets one fixed value."""
    return x * m + tau * (1 - m)


def composite(x: Tensor, m: Tensor, filled: Tensor) -> Tensor:
    """Observed pixels from ``x``, bit for bit, and the others from ``filled`` (equation 6).

    Args:
        m: more than 0 where ``x`` is observed.
    """
    return torch.where(m > 0, x, filled)


def middle(stacks: Tensor) -> Tensor:
    """The middle slices (batch, 1, side, side) of stacks."""
    return stacks[:, MIDDLE, None]


def between_neighbours(x: Tensor, m: Tensor) -> Tensor:
    """What linear interpolation along the slices puts in the place of the middle one: (batch, 1, side, side).

    The mean of what is observed of the neighbours at a pixel, weighted by ``m``; where nothing is, the mean of all
    observed pixels of the stack (0 where there is none). What is observed in the middle slice itself is not kept.
    """
    kept = x * m
    mean = kept.sum(dim=(1, 2, 3), keepdim=True) / m.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    beside = m[:, 0, None] + m[:, -1, None]
    return torch.where(beside > 0, (kept[:, 0, None] + kept[:, -1, None]) / beside.clamp(min=_LEAST), mean)


def doublings(side: int) -> int:
    """How often 4 px are doubled to get to a side.

    Raises:
        ValueError: the networks are not made for it.
    """
    if side not in SIDES:
        raise ValueError(f"MisGAN's slices have a side of {', '.join(map(str, SIDES))} px (found: {side})")
    return int(math.log2(side // _SEED_SIDE))


class Generator(nn.Module):
    """Transposed convolutions from a code to a stack (DCGAN's, Radford et al. 2016; appendix D of the paper).

    Args:
        side: of the slices, px.
        latent: length of the code.
        width: channels before the last layer; doubled towards the code, at most eightfold.
        temperature: the output is sigmoid(z / temperature).
    """

    def __init__(self, side: int, latent: int, width: int, temperature: float = 1.0) -> None:
        super().__init__()
        steps = doublings(side)
        channels = [width * min(8, 2**step) for step in range(steps - 1, -1, -1)]
        self.latent = latent
        self.temperature = temperature
        self.start = nn.Linear(latent, channels[0] * _SEED_SIDE**2)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for inputs, outputs in pairwise(channels):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], SLICES, 4, 2, 1))

    def forward(self, code: Tensor) -> Tensor:
        """Stacks (batch, 3, side, side) in [0, 1] from codes (batch, latent)."""
        seed = self.start(code).unflatten(1, (-1, _SEED_SIDE, _SEED_SIDE))
        return torch.sigmoid(self.layers(seed) / self.temperature)


class Critic(nn.Module):
    """Strided convolutions from a stack, or a slice, to one number, without any normalisation over the batch.

    The gradient penalty is one of each stack alone, so that stacks must not see each other (Gulrajani et al. 2017).
    """

    def __init__(self, side: int, width: int, slices: int = SLICES) -> None:
        super().__init__()
        channels = [slices, *(width * min(8, 2**step) for step in range(doublings(side)))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * _SEED_SIDE**2, 1))

    def forward(self, stack: Tensor) -> Tensor:
        """(batch,), larger for what looks real, of (batch, slices, side, side)."""
        value: Tensor = self.layers(stack).squeeze(1)
        return value


class Imputer(nn.Module):
    """A U-Net that mixes several simple guesses for every pixel, and adds to them.

    The guesses are what the neighbours suggest (:func:`between_neighbours`), that guess put right by how wrong it is
    at the observed pixels nearby (in windows of 3 and of 9 px), and the mean of the observed pixels nearby. The network
    says for every pixel how much of each to take, and what to add. At the start the last layers' weights are zero and
    the first guess has nearly all of the weight.

    It works at half the resolution, where most of a U-Net's worth is had for a quarter of its time; a last convolution
    joins its result with the guesses at full resolution.

    Args:
        width: channels at the finest level; doubled twice towards the coarser ones.
        levels: of the U-Net; the side must be divisible by 2 ** levels.
    """

    def __init__(self, width: int, levels: int = 4) -> None:
        super().__init__()
        widths = [width * min(4, 2**level) for level in range(levels)]
        known = 2 * SLICES + GUESSES
        self.stem = nn.Conv2d(known, width, 4, 2, 1)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in pairwise(widths))
        self.blocks = nn.ModuleList(_block(count, count) for count in widths)
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2) for i, o in pairwise(widths))
        self.joined = nn.ModuleList(_block(2 * count, count) for count in widths[:-1])
        self.full = nn.ConvTranspose2d(width, width // 2, 2, 2)
        self.last = nn.Conv2d(width // 2 + known, width // 2, 3, padding=1)
        self.shares = nn.Conv2d(width // 2, GUESSES, 3, padding=1)
        self.more = nn.Conv2d(width // 2, 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, _SLOPE)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.shares.weight)
        nn.init.zeros_(self.more.weight)
        assert self.shares.bias is not None
        with torch.no_grad():
            self.shares.bias[0] = _FIRST

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """A value in [0, 1] for every pixel of the middle slices, missing or not: (batch, 1, side, side).

        Args:
            x: with noise in the place of missing pixels: x m + w (1 - m), w uniform in [0, 1].
            m: 0 where missing. Of the middle slice 1 where observed; of the others 1 over how many slices away the
                pixel was observed (1 in the adjacent slice).
        """
        guesses = _guesses(x, m)
        known = torch.cat([x, m, guesses], dim=1)
        maps = self.stem(known)
        skips: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            if level:
                maps = self.down[level - 1](maps)
            maps = maps + block(maps)
            skips.append(maps)
        for level in range(len(self.joined) - 1, -1, -1):
            maps = self.up[level](maps)
            maps = maps + self.joined[level](torch.cat([maps, skips[level]], dim=1))
        fine = nn.functional.leaky_relu(self.last(torch.cat([self.full(maps), known], dim=1)), _SLOPE)
        mixed = (torch.softmax(self.shares(fine), dim=1) * guesses).sum(dim=1, keepdim=True)
        filled: Tensor = (mixed + self.more(fine)).clamp(0, 1)
        return filled


def _guesses(x: Tensor, m: Tensor) -> Tensor:
    """What is mixed: (batch, GUESSES, side, side)."""
    between = between_neighbours(x, m)
    here = middle(m)
    kept = middle(x) * here
    wrong = kept - between * here
    corrected = [between + _nearby(wrong, here, reach) for reach in _REACHES]
    return torch.cat([between, *corrected, _nearby(kept, here, _REACHES[-1])], dim=1)


def _nearby(values: Tensor, m: Tensor, reach: int) -> Tensor:
    """The mean of the observed values in a square window around each pixel; 0 where none is observed."""
    least = 0.5 / (2 * reach + 1) ** 2  # half of what one observed pixel counts
    return _boxed(values, reach) / _boxed(m, reach).clamp(min=least)


def _boxed(maps: Tensor, reach: int) -> Tensor:
    """Mean over a square window, 0 beyond the border; along the rows and then the columns, which is quicker."""
    wide = nn.functional.avg_pool2d(maps, (1, 2 * reach + 1), 1, (0, reach))
    return nn.functional.avg_pool2d(wide, (2 * reach + 1, 1), 1, (reach, 0))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(outputs, outputs, 3, padding=1),
    )
