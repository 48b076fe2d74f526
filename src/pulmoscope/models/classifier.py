"""A backbone, global average pooling, and a head; with what Grad-CAM needs, computed without autograd."""

from __future__ import annotations

from torch import Tensor, nn

from pulmoscope.models.spec import ModelSpec


class Classifier(nn.Module):
    """Image (batch, channels, size, size) -> logits (batch, logits)."""

    backbone: nn.Module
    head: nn.Module

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, logits)."""
        raise NotImplementedError

    def explainable(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, features (batch, maps, rows, columns), gradients (batch, logits, maps); in eval mode."""
        raise NotImplementedError


def build(spec: ModelSpec, classes: int, channels: int) -> Classifier:
    """The network of a recipe; ``classes`` is the number of logits."""
    raise NotImplementedError
