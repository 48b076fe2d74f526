"""System E's baseline: a small convolutional network trained from scratch.

The paper (Van Bauwel et al., section III) gives the grid (filters 8, 32 or 64; dropout; learning rate; optimiser) and
one sigmoid at the end, but no layers. Ours are the plainest that such a grid fits: three convolutions, each followed
by batch normalisation and ReLU, 7 x 7 with stride 4, then 3 x 3 twice, with a 2 x 2 maximum between them; ``filters``
maps in the first two, twice as many in the last. 128 x 128 pixels become 8 x 8 maps. The coarse stem keeps the 54-point
grid affordable on a CPU: five times the images a second of a 3 x 3 stem with stride 2. Global average pooling,
dropout and the output layer are :class:`Classifier`'s.
"""

from __future__ import annotations

from torch import Tensor, nn


class BaselineCnn(nn.Module):
    """Image (batch, channels, size, size) -> maps (batch, 2 x filters, size / 16, size / 16), none negative."""

    def __init__(self, filters: int, channels: int) -> None:
        super().__init__()
        self.num_features = 2 * filters
        self.layers = nn.Sequential(
            _convolution(channels, filters, side=7, stride=4),
            nn.MaxPool2d(2),
            _convolution(filters, filters),
            nn.MaxPool2d(2),
            _convolution(filters, 2 * filters),
        )

    def forward_features(self, image: Tensor) -> Tensor:
        """The last maps, named as timm names it."""
        maps: Tensor = self.layers(image)
        return maps


def _convolution(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=side, stride=stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
