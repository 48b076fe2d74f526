"""System E's baseline: a small convolutional network trained from scratch.

The paper (Van Bauwel et al., section III) gives the grid (filters 8, 32 or 64; dropout; learning rate; optimiser) and
one sigmoid at the end, but no layers. Ours are the plainest that such a grid fits: a strided 3 x 3 stem, then two
3 x 3 blocks, each convolution - batch normalisation - ReLU - 2 x 2 maximum; ``filters`` maps in the stem and the first
block, twice as many in the last. The stem's stride and the pooling bring 128 x 128 down to 16 x 16 maps and keep the
54-point grid affordable on a CPU. Global average pooling, dropout and the output layer are :class:`Classifier`'s.
"""

from __future__ import annotations

from torch import Tensor, nn


class BaselineCnn(nn.Module):
    """Image (batch, channels, size, size) -> maps (batch, 2 x filters, size / 8, size / 8), none negative."""

    def __init__(self, filters: int, channels: int) -> None:
        super().__init__()
        self.num_features = 2 * filters
        self.layers = nn.Sequential(
            _convolution(channels, filters, stride=2),
            nn.MaxPool2d(2),
            _convolution(filters, filters),
            nn.MaxPool2d(2),
            _convolution(filters, 2 * filters),
        )

    def forward_features(self, image: Tensor) -> Tensor:
        """The last maps, named as timm names it."""
        maps: Tensor = self.layers(image)
        return maps


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
