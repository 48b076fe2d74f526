"""The view network: the first five stages of a MobileNetV2 (Sandler et al. 2018), which say what a picture shows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.core.types import FloatArray
from pulmoscope.models.backbone import timm_backbone
from pulmoscope.preprocess.views import CHESTS, VIEWS
from pulmoscope.recipes.specs import ModelSpec

_STAGES, _CHANNELS = 5, 96
"""Down to a sixteenth of the input; the stages after it hold four fifths of a MobileNetV2's weights."""
FEATURES = 256
"""What the pictures are told apart by, and their distance is measured in."""


class ViewNetwork(nn.Module):
    """Image (batch, 1, side, side) in [0, 1] -> logits (batch, views), and the distance from frontal radiographs.

    Args:
        weights: a state dict of timm's ``mobilenetv2_100``, safetensors; empty: random weights.
        dimensions: of the space that the distance is measured in.

    Raises:
        RecipeError: the file holds no such state dict.
    """

    def __init__(self, weights: str = "", dimensions: int = 48) -> None:
        super().__init__()
        spec = ModelSpec("mobilenetv2_100", False, weights, {"pad_type": "same"})
        whole: Any = timm_backbone(spec, 1, "weights")
        self.stem, self.norm = whole.conv_stem, whole.bn1
        self.stages = whole.blocks[:_STAGES]
        self.top = nn.Conv2d(_CHANNELS, FEATURES, 1, bias=False)
        self.top_norm = nn.BatchNorm2d(FEATURES)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(FEATURES, len(VIEWS))
        self.place = nn.Linear(FEATURES, dimensions)

    def features(self, image: Tensor) -> Tensor:
        """What the head sees: (batch, FEATURES), averaged over the picture."""
        maps = self.stages(self.norm(self.stem(image * 2 - 1)))
        maps = functional.relu(self.top_norm(self.top(maps)))
        return maps.mean(dim=(2, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, views) of images (batch, 1, side, side)."""
        logits: Tensor = self.output(self.dropout(self.features(image)))
        return logits

    def explainable(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What is exported: logits (batch, views), and where the image lies (batch, dimensions), 0 in the middle."""
        features = self.features(image)
        return self.output(features), self.place(features)

    def ask_more(self, margins: Tensor) -> None:
        """Take so much, (views,), from the logits."""
        with torch.no_grad():
            self.output.bias.sub_(margins)

    def set_projection(self, mean: FloatArray, projection: FloatArray) -> None:
        """How the distance is measured: the length of ``projection`` (dimensions, FEATURES) times features − mean."""
        with torch.no_grad():
            self.place.weight.zero_()  # of few pictures there are fewer dimensions
            self.place.bias.zero_()
            self.place.weight[: len(projection)] = torch.from_numpy(projection)
            self.place.bias[: len(projection)] = torch.from_numpy(-projection @ mean)


def margin(logits: Tensor) -> Tensor:
    """How far (batch,) the chests are ahead of all else: the logit of the probability that it is one."""
    return logits[:, :CHESTS].logsumexp(1) - logits[:, CHESTS:].logsumexp(1)
