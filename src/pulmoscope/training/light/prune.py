"""Structured pruning: whole channels are removed, so that the exported network is smaller and quicker anywhere.

Which channels depend on one another (through additions, depthwise convolutions, squeeze-and-excitation) is found by
Torch-Pruning (Fang et al., «DepGraph: Towards Any Structural Pruning», CVPR 2023). Of each group of layers that depend
on one another the channels with the least magnitude go: the L2 norm of all weights that belong to a channel, averaged
over the group's layers (section 3.3 there, without its sparse training; of single filters: Li et al., «Pruning Filters
for Efficient ConvNets», ICLR 2017). All groups lose the same fraction: widths follow from the fraction alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.models.classifier import Classifier

MULTIPLE = 8
"""Widths that are left are multiples of this where they can be: what vector instructions take at once."""
SIDE = 64
"""Side of the image that shows which layers depend on one another, px."""


def prune(network: Classifier, fraction: float, channels: int) -> None:
    """Remove a fraction of the channels of all layers but the last ones, in place. The same weights give the same.

    Args:
        channels: of the input image.

    Raises:
        ResourceError: Torch-Pruning is not installed.
        RecipeError: this fraction removes no channel.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ResourceError(
            "light.prune: torch-pruning is not installed; pip install 'pulmoscope[train]'"
        ) from error
    before = parameters_of(network)
    network.requires_grad_(True)  # the dependencies are read from the graph of gradients
    last = [network.head.output, *([] if network.locator is None else [network.locator])]
    pruner = torch_pruning.pruner.BasePruner(
        _Everything(network),
        torch.zeros(1, channels, SIDE, SIDE),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=fraction,
        round_to=MULTIPLE,
        ignored_layers=last,
    )
    pruner.step()
    if parameters_of(network) == before:
        raise RecipeError(
            f"light.prune={fraction:g}: removes no channel of this network; widths are multiples of 8"
        )


def parameters_of(network: nn.Module) -> int:
    """How many weights a network has."""
    return sum(weights.numel() for weights in network.parameters())


def fit_shapes(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give every layer the width that the weights of a pruned network have, in place; the weights are not taken over.

    Args:
        state: a state dict of the same layers; layers that it does not name stay as they are.
    """
    for name, layer in network.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(layer, nn.Conv2d):
            if layer.groups > 1:  # depthwise: pruning keeps a group a channel
                layer.groups = len(weight)
            layer.out_channels, layer.in_channels = len(weight), weight.shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = weight.shape[0], weight.shape[1]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = len(weight)
        for kind, values in (("parameters", layer._parameters), ("buffers", layer._buffers)):
            for part, value in values.items():
                wanted = state.get(f"{name}.{part}")
                if value is not None and wanted is not None and value.shape != wanted.shape:
                    empty = torch.zeros_like(wanted)
                    values[part] = nn.Parameter(empty) if kind == "parameters" else empty


class _Everything(nn.Module):
    """A classifier whose one forward pass runs all of its layers, the second head too."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.network(image) if self.network.locator is None else self.network.located(image)
