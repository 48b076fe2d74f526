"""A backbone, global average pooling, and a head; with what Grad-CAM needs, computed without autograd."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.backbone import timm_backbone
from pulmoscope.models.cnn import BaselineCnn
from pulmoscope.models.losses import CosineHead
from pulmoscope.recipes.specs import LossSpec, ModelSpec

LAST_STAGE = 5
"""The last stage's number in the names of outputs, as the stages of a ResNet50 are counted."""


class Head(nn.Module):
    """[Linear - ReLU -] dropout - Linear, on pooled features (batch, maps).

    Args:
        maps: number of pooled features.
        hidden: units of the ReLU layer; 0: there is none.
        dropout: probability, before the output layer.
        logits: number of outputs.
        dropout_first: dropout stands before the ReLU layer instead.
    """

    def __init__(
        self, maps: int, hidden: int, dropout: float, logits: int, *, dropout_first: bool = False
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(maps, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden or maps, logits)
        self.dropout_first = dropout_first

    def vector(self, pooled: Tensor) -> Tensor:
        """What the output layer gets, without dropout: (batch, hidden), none negative; or the pooled features."""
        return pooled if self.hidden is None else torch.relu(self.hidden(pooled))

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (batch, logits)."""
        first, second = (self.dropout, self.vector) if self.dropout_first else (self.vector, self.dropout)
        logits: Tensor = self.output(second(first(pooled)))
        return logits

    def slope(self, pooled: Tensor) -> Tensor:
        """The derivative of each logit by each pooled feature: (batch, logits, maps).

        Dropout is off. The head is linear on either side of each ReLU: its slope is the product of its weights, less
        the units that are off.
        """
        if self.hidden is None:
            return self.output.weight.unsqueeze(0).repeat(pooled.shape[0], 1, 1)
        active = (self.hidden(pooled) > 0).to(pooled.dtype)
        slope: Tensor = (self.output.weight.unsqueeze(0) * active.unsqueeze(1)) @ self.hidden.weight
        return slope


class Classifier(nn.Module):
    """Image (batch, channels, size, size) -> logits (batch, logits).

    Lesions are of all sizes. So a classifier can pool earlier stages of its backbone, too, and take all side by side
    (Garg et al., ICASSP 2021, section III.C.1 and figure 3).

    Args:
        backbone: with timm's ``forward_features``, and ``forward_intermediates`` where earlier stages are pooled.
        head: on as many features as the pooled stages have maps together.
        earlier: indices of the earlier stages that are pooled, in their order.
        gives_vector: its file gives the hidden layer's output, too: what patient-level classifiers get of a slice.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: Head | CosineHead,
        earlier: Sequence[int] = (),
        *,
        gives_vector: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.locator: nn.Conv2d | None = None
        self._earlier = list(earlier)
        self._gives_vector = gives_vector

    def stages(self, image: Tensor) -> list[Tensor]:
        """The feature maps of the pooled stages, the last ones last, each (batch, maps, rows, columns)."""
        if not self._earlier:
            return [self.backbone.forward_features(image)]  # type: ignore[operator]
        last, earlier = self.backbone.forward_intermediates(  # type: ignore[operator]
            image, indices=self._earlier, output_fmt="NCHW"
        )
        return [*earlier, last]

    def features(self, image: Tensor) -> Tensor:
        """The last feature maps (batch, maps, rows, columns)."""
        return self.stages(image)[-1]

    def pooled(self, image: Tensor) -> Tensor:
        """What the head gets: (batch, features), the stages side by side."""
        return pool(self.stages(image))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, logits)."""
        return self.of_pooled(self.pooled(image))

    def of_pooled(self, pooled: Tensor) -> Tensor:
        """Logits (batch, logits) of what :meth:`pooled` gave."""
        logits: Tensor = self.head(pooled)
        return logits

    def located(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, logits), and a logit for opacity at every position of the last maps (batch, rows, columns)."""
        assert self.locator is not None
        stages = self.stages(image)
        opacity: Tensor = self.locator(stages[-1])[:, 0]
        return self.head(pool(stages)), opacity

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what :meth:`explainable` gives."""
        last = f"_{LAST_STAGE}" if self._gives_vector else ""
        stages = [last, *(f"_{LAST_STAGE - back}" for back in range(1, len(self._earlier) + 1))]
        maps = [f"{kind}{stage}" for stage in stages for kind in ("features", "gradients")]
        return ("logits", *maps, *(["vector"] if self._gives_vector else []))

    def explainable(self, image: Tensor) -> tuple[Tensor, ...]:
        """What a bundle's network gives, in eval mode; :attr:`outputs` has the names.

        Returns:
            logits (batch, logits); of every pooled stage, the last one first, features (batch, maps, rows, columns) and
            gradients (batch, logits, maps); where it is asked for, the hidden layer's output (batch, hidden). Gradients
            are the derivative of each logit by each feature map, averaged over space (Selvaraju et al. 2017, equation
            1). As pooling is a mean, that is the head's slope over the number of positions. A stage's gradients are
            those by way of its own pooling; what later stages make of its maps is theirs.
        """
        stages = self.stages(image)
        pooled = pool(stages)
        slopes = _by_stage(self.head.slope(pooled), [stage.shape[1] for stage in stages])
        maps: list[Tensor] = []
        for stage, slope in zip(reversed(stages), reversed(slopes), strict=True):
            maps += [stage, slope / (stage.shape[2] * stage.shape[3])]
        vector = [cast(Head, self.head).vector(pooled)] if self._gives_vector else []
        return (self.head(pooled), *maps, *vector)


def pool(stages: Sequence[Tensor]) -> Tensor:
    """Global average pooling: maps, each (batch, maps, rows, columns) -> (batch, all maps)."""
    pooled = [stage.mean(dim=(2, 3)) for stage in stages]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


def _by_stage(slope: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """Cut (batch, logits, all maps) into what belongs to each stage."""
    if len(widths) == 1:
        return [slope]
    ends = list(itertools.accumulate(widths))
    # Indices rather than slices: the ONNX operator for slices makes onnx2torch use what torch deprecates.
    indices = [torch.arange(end - width, end) for end, width in zip(ends, widths, strict=True)]
    return [slope.index_select(2, part.to(slope.device)) for part in indices]


def build(
    spec: ModelSpec, classes: int, channels: int, loss: LossSpec | None = None, *, locate: bool = False
) -> Classifier:
    """The network of a recipe, with its backbone's pretrained weights where the recipe asks for them.

    Args:
        spec: which network.
        classes: number of logits.
        channels: of the input image.
        loss: what it is trained with: LDAM wants cosines from a single last layer; None: no such thing.
        locate: with a second head, which says where opacities are; it is used in training only.

    Raises:
        RecipeError: timm has no such backbone or option, or the weights file does not fit.
        ResourceError: the pretrained weights can't be fetched.
    """
    backbone = _backbone(spec, channels)
    if spec.stages == 3:
        return _staged(backbone, spec, classes)
    if loss is not None and loss.kind == "ldam":
        return Classifier(backbone, CosineHead(_maps(backbone), loss.scale, classes))
    network = Classifier(backbone, Head(_maps(backbone), spec.hidden, spec.dropout, classes))
    if locate:
        network.locator = nn.Conv2d(_maps(backbone), 1, 1)
    return network


def build_multiscale(spec: ModelSpec, classes: int, channels: int) -> Classifier:
    """System B's slice network: three stages, dropout before the hidden layer, whose output is a slice's vector.

    What lies behind the backbone's last stage is taken off.

    Raises:
        RecipeError: as of :func:`build`; the backbone has fewer than three stages; or there is no hidden layer.
        ResourceError: the pretrained weights can't be fetched.
    """
    if spec.hidden < 1:
        raise RecipeError(
            f"slice.model.hidden={spec.hidden}: patient-level classifiers read this layer; at least 1"
        )
    return _staged(_backbone(spec, channels), spec, classes, of_slices=True)


def _backbone(spec: ModelSpec, channels: int) -> nn.Module:
    if spec.backbone != "cnn":
        return timm_backbone(spec, channels)
    if spec.weights:
        raise RecipeError(f"model.weights={spec.weights}: the backbone cnn is trained from scratch")
    return BaselineCnn(spec.filters, channels)


def _staged(backbone: nn.Module, spec: ModelSpec, classes: int, *, of_slices: bool = False) -> Classifier:
    info = list(getattr(backbone, "feature_info", ()))
    if not hasattr(backbone, "forward_intermediates") or len(info) < 3:
        raise RecipeError(f"model.stages=3: timm gives no maps of the stages of {spec.backbone}")
    last = list(range(len(info) - 3, len(info)))
    if of_slices:
        backbone.prune_intermediate_layers(last)  # type: ignore[operator]
    maps = _maps(backbone) + sum(int(info[stage]["num_chs"]) for stage in last[:-1])
    head = Head(maps, spec.hidden, spec.dropout, classes, dropout_first=of_slices)
    return Classifier(backbone, head, last[:-1], gives_vector=of_slices)


def _maps(backbone: nn.Module) -> int:
    maps = backbone.num_features
    assert isinstance(maps, int)
    return maps
