"""The lung finder: a small U-Net (Ronneberger et al. 2015) at half the image's resolution, 0.4 million parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Encoder and decoder with skip connections; each step halves or doubles the side.

    The first convolution halves the side already, and the last one doubles it: most of the time of a U-Net goes into
    its finest level, which adds next to nothing to outlines as smooth as those of lungs.

    Args:
        widths: channels at each level, finest first. The input's side must be divisible by 2 ** levels.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], kernel_size=4, stride=2, padding=1)
        inputs = (widths[0], *widths[:-1])
        self.encoders = nn.ModuleList(_block(i, o) for i, o in zip(inputs, widths, strict=True))
        steps = range(len(widths) - 1, 0, -1)
        self.decoders = nn.ModuleList(_block(widths[n] + widths[n - 1], widths[n - 1]) for n in steps)
        self.output = nn.ConvTranspose2d(widths[0], 1, kernel_size=2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """Lung logits (batch, 1, rows, columns) of images of the same shape, values in [0, 1]."""
        image = self.stem(image)
        levels: list[Tensor] = []
        for encoder in self.encoders:
            image = encoder(functional.max_pool2d(image, 2) if levels else image)
            levels.append(image)
        for decoder, skip in zip(self.decoders, reversed(levels[:-1]), strict=True):
            image = decoder(torch.cat([_doubled(image), skip], dim=1))
        logits: Tensor = self.output(image)
        return logits

    def explainable(self, image: Tensor) -> tuple[Tensor]:
        """What is exported: the logits alone."""
        return (self(image),)


def _doubled(maps: Tensor) -> Tensor:
    """Every pixel four times: nearest-neighbour upsampling, as an operator that every runtime has."""
    channels = maps.shape[1]
    return functional.conv_transpose2d(maps, maps.new_ones(channels, 1, 2, 2), stride=2, groups=channels)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
