"""System B's slice-level classifier: the last three stages of a backbone, pooled, side by side.

Garg et al. (ICASSP 2021), section III.C.1 and figure 3: infections are of all sizes, so the features of stages 3 and 4
of a ResNet50 are used beside those of stage 5. Dropout stands before the hidden layer, whose output is what the
patient-level classifiers get of a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.classifier import pool, timm_backbone
from pulmoscope.recipes.specs import ModelSpec

STAGES = (3, 4, 5)
"""How the paper counts a ResNet's stages; of any backbone they are the last three."""


class Stages(nn.Module):
    """The last three stages of a timm network; what lies behind them is taken off.

    Args:
        network: with timm's ``forward_intermediates``, which nearly all of its networks have.

    Raises:
        AttributeError, ValueError: it has none, or fewer stages.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        count = len(network.feature_info)
        if count < len(STAGES):
            raise ValueError(f"{count} stages")
        last = list(range(count - len(STAGES), count))
        self.maps = tuple(int(network.feature_info[place]["num_chs"]) for place in last)
        self._places: list[int] = network.prune_intermediate_layers(last)
        self.network = network

    def forward(self, image: Tensor) -> list[Tensor]:
        """The stages' maps, each (batch, maps, rows, columns)."""
        maps: list[Tensor] = self.network.forward_intermediates(
            image, indices=self._places, output_fmt="NCHW", intermediates_only=True
        )
        return maps


class MultiScaleClassifier(nn.Module):
    """Slices (batch, channels, size, size) -> logits (batch, classes).

    Args:
        backbone: image -> one feature map (batch, maps, rows, columns) a stage.
        maps: how many maps each stage has.
        hidden: units of the ReLU layer, the length of a slice's vector.
        dropout: of the pooled features.
        classes: number of logits.
    """

    def __init__(
        self, backbone: nn.Module, maps: Sequence[int], hidden: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.ModuleList(nn.Linear(own, hidden, bias=place == 0) for place, own in enumerate(maps))
        for layer in self.hidden.parameters():  # as torch begins a single layer on all of them
            nn.init.uniform_(layer, -(sum(maps) ** -0.5), sum(maps) ** -0.5)
        self.output = nn.Linear(hidden, classes)

    def stages(self, image: Tensor) -> list[Tensor]:
        """The feature maps of the three stages, each (batch, maps, rows, columns)."""
        return list(self.backbone(image))

    def vector(self, stages: Sequence[Tensor]) -> Tensor:
        """What is known of a slice: (batch, hidden), none negative.

        One layer on the pooled stages side by side is a sum of one layer a stage.
        """
        parts = [layer(self.dropout(pool(stage))) for layer, stage in zip(self.hidden, stages, strict=True)]
        return torch.relu(parts[0] + parts[1] + parts[2])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        logits: Tensor = self.output(self.vector(self.stages(image)))
        return logits

    def explainable(self, image: Tensor) -> tuple[Tensor, ...]:
        """What a bundle's ``slice.onnx`` gives, in eval mode; see :data:`OUTPUTS`.

        Returns:
            logits (batch, classes); the vector (batch, hidden); the maps of each stage (batch, maps, rows, columns);
            and for each stage the derivative of each logit by each of its maps, averaged over space (batch, classes,
            maps): Grad-CAM's weights (Selvaraju et al. 2017, equation 1), by way of the stage's own pooling: what later
            stages make of its maps is theirs. Behind the pooling the network is linear
            but for the hidden units that are off, so the derivative is a product of the two layers' weights, and
            pooling is a mean, so it is divided by the stage's number of positions.
        """
        stages = self.stages(image)
        vector = self.vector(stages)
        active = (vector > 0).to(vector.dtype)
        slope = self.output.weight.unsqueeze(0) * active.unsqueeze(1)
        gradients = []
        for layer, stage in zip(self.hidden, stages, strict=True):
            assert isinstance(layer, nn.Linear)
            gradients.append(slope @ layer.weight / (stage.shape[2] * stage.shape[3]))
        return (self.output(vector), vector, *stages, *gradients)


OUTPUTS = (
    "logits",
    "vector",
    *(f"features_{stage}" for stage in STAGES),
    *(f"gradients_{stage}" for stage in STAGES),
)
"""The names of what :meth:`MultiScaleClassifier.explainable` gives."""


def build_multiscale(spec: ModelSpec, classes: int, channels: int) -> MultiScaleClassifier:
    """The slice-level network of a recipe, with its backbone's pretrained weights where the recipe asks for them.

    Raises:
        RecipeError: timm has no such backbone or option, it has fewer than three stages, the weights file does not
            fit, or there is no hidden layer.
        ResourceError: the pretrained weights can't be fetched.
    """
    if spec.hidden < 1:
        raise RecipeError(f"model.hidden={spec.hidden}: patients are told by this layer; at least 1")
    try:
        backbone = Stages(timm_backbone(spec, channels))
    except (AttributeError, ValueError) as error:
        raise RecipeError(
            f"model.backbone={spec.backbone}: timm gives no maps of its last three stages"
        ) from error
    return MultiScaleClassifier(backbone, backbone.maps, spec.hidden, spec.dropout, classes)
