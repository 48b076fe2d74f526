"""A backbone, global average pooling, and a head; with what Grad-CAM needs, computed without autograd."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.models.cnn import BaselineCnn
from pulmoscope.models.losses import CosineHead
from pulmoscope.models.packaged import PREFIX, packaged_weights
from pulmoscope.recipes.specs import LossSpec, ModelSpec
from pulmoscope.runtime.torchvision_shim import declare_missing_operators

declare_missing_operators()

import timm  # noqa: E402  (torchvision, which timm imports, needs the line above)
from timm.models import adapt_input_conv  # noqa: E402


class Head(nn.Module):
    """[Linear - ReLU -] dropout - Linear, on pooled features (batch, maps)."""

    def __init__(self, maps: int, hidden: int, dropout: float, logits: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(maps, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden or maps, logits)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (batch, logits)."""
        if self.hidden is not None:
            pooled = torch.relu(self.hidden(pooled))
        logits: Tensor = self.output(self.dropout(pooled))
        return logits

    def slope(self, pooled: Tensor, begin: int = 0, end: int | None = None) -> Tensor:
        """The derivative of each logit by each pooled feature from ``begin`` to ``end``: (batch, logits, features).

        Dropout is off. The head is linear on either side of each ReLU: its slope is the product of its weights, less
        the units that are off.
        """
        if self.hidden is None:
            return self.output.weight[:, begin:end].unsqueeze(0).repeat(pooled.shape[0], 1, 1)
        active = (self.hidden(pooled) > 0).to(pooled.dtype)
        slope: Tensor = (self.output.weight.unsqueeze(0) * active.unsqueeze(1)) @ self.hidden.weight[
            :, begin:end
        ]
        return slope


class Classifier(nn.Module):
    """Image (batch, channels, size, size) -> logits (batch, logits)."""

    def __init__(self, backbone: nn.Module, head: Head | CosineHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.locator: nn.Conv2d | None = None

    def features(self, image: Tensor) -> Tensor:
        """The last feature maps (batch, maps, rows, columns)."""
        maps: Tensor = self.backbone.forward_features(image)  # type: ignore[operator]
        return maps

    def pooled(self, image: Tensor) -> Tensor:
        """What the head gets: (batch, features)."""
        return pool(self.features(image))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, logits)."""
        logits: Tensor = self.head(self.pooled(image))
        return logits

    def located(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, logits), and a logit for opacity at every position of the last maps (batch, rows, columns)."""
        assert self.locator is not None
        features = self.features(image)
        opacity: Tensor = self.locator(features)[:, 0]
        return self.head(pool(features)), opacity

    def explainable(self, image: Tensor) -> tuple[Tensor, ...]:
        """What a bundle's network gives, in eval mode.

        Returns:
            logits (batch, logits); features (batch, maps, rows, columns); gradients (batch, logits, maps): the
            derivative of each logit by each feature map, averaged over space (Selvaraju et al. 2017, equation 1).
            As pooling is a mean, that is the head's slope over the number of positions.
        """
        features = self.features(image)
        pooled = pool(features)
        positions = features.shape[2] * features.shape[3]
        return self.head(pooled), features, self.head.slope(pooled) / positions


class StagedClassifier(Classifier):
    """A classifier that pools the two stages before the last maps, too, and takes all side by side.

    Args:
        backbone: of timm, with ``forward_intermediates``.
        head: on as many features as the stages have maps together.
    """

    head: Head

    def __init__(self, backbone: Any, head: Head) -> None:
        super().__init__(backbone, head)
        count = len(backbone.feature_info)
        self._places = list(range(count - 3, count - 1))

    def stages(self, image: Tensor) -> list[Tensor]:
        """The feature maps of three stages, the last ones last, each (batch, maps, rows, columns)."""
        last, before = self.backbone.forward_intermediates(  # type: ignore[operator]
            image, indices=self._places, output_fmt="NCHW"
        )
        return [*before, last]

    def pooled(self, image: Tensor) -> Tensor:
        """What the head gets: the stages side by side."""
        return torch.cat([pool(stage) for stage in self.stages(image)], dim=1)

    def explainable(self, image: Tensor) -> tuple[Tensor, ...]:
        """As :meth:`Classifier.explainable`, then features and gradients of the two stages before, the later first.

        A stage's gradients are those by way of its own pooling: what it adds to a logit by itself. What later stages
        make of it is theirs.
        """
        stages = self.stages(image)
        pooled = torch.cat([pool(stage) for stage in stages], dim=1)
        told: list[Tensor] = []
        end = pooled.shape[1]
        for stage in reversed(stages):
            begin = end - stage.shape[1]
            told += [stage, self.head.slope(pooled, begin, end) / (stage.shape[2] * stage.shape[3])]
            end = begin
        return (self.head(pooled), *told)


def early_layers(backbone: nn.Module) -> list[nn.Module]:
    """The layers of a timm backbone up to the stage that shrinks a side to an eighth.

    Raises:
        RecipeError: the backbone does not say where its stages end.
    """
    stages = [stage for stage in getattr(backbone, "feature_info", ()) if stage["reduction"] == 8]
    if not stages:
        raise RecipeError("frozen=early: timm does not say where the backbone's stages end")
    stage = f"{stages[0]['module']}."
    layers = list(backbone.named_modules())
    last = max(place for place, (name, _) in enumerate(layers) if f"{name}.".startswith(stage))
    # What the stage lies in goes on behind it.
    return [layer for name, layer in layers[: last + 1] if name and not stage.startswith(f"{name}.")]


STAGED_OUTPUTS = ("logits", "features", "gradients", "features_4", "gradients_4", "features_3", "gradients_3")
"""The names of what :meth:`StagedClassifier.explainable` gives; the last stage is the fifth of a ResNet50."""


def pool(features: Tensor) -> Tensor:
    """Global average pooling: (batch, maps, rows, columns) -> (batch, maps)."""
    return features.mean(dim=(2, 3))


def build(
    spec: ModelSpec, classes: int, channels: int, loss: LossSpec | None = None, *, locate: bool = False
) -> Classifier:
    """The network of a recipe, with its backbone's pretrained weights where the recipe asks for them.

    Args:
        spec: which network.
        classes: number of logits.
        channels: of the input image.
        loss: what it is trained with: LDAM wants cosines from a single last layer; None: no such thing.
        locate: with a second head, which tells where opacities are; it is used in training only.

    Raises:
        RecipeError: timm has no such backbone or option, or the weights file does not fit.
        ResourceError: the pretrained weights can't be fetched.
    """
    backbone: nn.Module
    if spec.backbone == "cnn":
        if spec.weights:
            raise RecipeError(f"model.weights={spec.weights}: the backbone cnn is trained from scratch")
        backbone = BaselineCnn(spec.filters, channels)
    else:
        backbone = timm_backbone(spec, channels)
    if spec.stages == 3:
        return _staged(backbone, spec, classes)
    if loss is not None and loss.kind == "ldam":
        return Classifier(backbone, CosineHead(_maps(backbone), loss.scale, classes))
    network = Classifier(backbone, Head(_maps(backbone), spec.hidden, spec.dropout, classes))
    if locate:
        network.locator = nn.Conv2d(_maps(backbone), 1, 1)
    return network


def _staged(backbone: nn.Module, spec: ModelSpec, classes: int) -> StagedClassifier:
    info = getattr(backbone, "feature_info", ())
    if not hasattr(backbone, "forward_intermediates") or len(info) < 3:
        raise RecipeError(f"model.stages=3: timm gives no maps of the stages of {spec.backbone}")
    maps = _maps(backbone) + sum(int(stage["num_chs"]) for stage in list(info)[-3:-1])
    return StagedClassifier(backbone, Head(maps, spec.hidden, spec.dropout, classes))


def _maps(backbone: nn.Module) -> int:
    maps = backbone.num_features
    assert isinstance(maps, int)
    return maps


def timm_backbone(spec: ModelSpec, channels: int) -> nn.Module:
    """A timm network without its head, with the pretrained weights that the recipe asks for (errors: see `build`)."""
    options: dict[str, Any] = {
        "num_classes": 0,
        "global_pool": "",
        "in_chans": channels,
        **spec.backbone_options,
    }
    if spec.backbone not in timm.list_models() and spec.backbone not in timm.list_pretrained():
        raise RecipeError(f"model.backbone={spec.backbone}: neither cnn nor the name of a timm model")
    from_hub = spec.from_hub
    retries = logging.getLogger("huggingface_hub")
    level = retries.level
    try:
        retries.setLevel(logging.ERROR)  # a hub that can't be reached is told once, below
        backbone: nn.Module = timm.create_model(spec.backbone, pretrained=from_hub, **options)
    except TypeError as error:
        raise RecipeError(f"model.backbone_options: {spec.backbone} does not take them ({error})") from error
    except Exception as error:
        # The hub's client raises errors of three libraries for one thing: no connection, no weights.
        if not from_hub:
            raise
        raise ResourceError(
            f"pretrained weights of {spec.backbone} could not be fetched from timm's hub ({type(error).__name__}); "
            "give a file with --set model.weights=PATH, or start from scratch with --set model.pretrained=false and no "
            "frozen layers (phases.NAME.frozen=none)"
        ) from error
    finally:
        retries.setLevel(level)
    if spec.weights.startswith(PREFIX):
        whole = timm.create_model(spec.backbone, **spec.backbone_options).state_dict()
        _fill(backbone, packaged_weights(spec.weights.removeprefix(PREFIX), whole), spec.weights, channels)
    elif spec.weights:
        _load(backbone, Path(spec.weights), channels)
    if hasattr(backbone, "pre_logits"):
        backbone.pre_logits = nn.Identity()  # VGG's fully connected layers: part of its own head, not of ours
    return backbone


def _load(backbone: nn.Module, file: Path, channels: int) -> None:
    """Load a state dict strictly, its classifier excepted; half precision becomes single.

    The file holds a backbone as timm names it, or a whole network as a run leaves it (``weights.safetensors``).
    """
    if not file.is_file():
        raise RecipeError(f"model.weights={file}: there is no such file")
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise RecipeError(f"model.weights={file}: not a safetensors file ({error})") from error
    if any(name.startswith("backbone.") for name in found):
        parts = ((name.partition("."), value) for name, value in found.items())
        found = {name: value for (part, _, name), value in parts if part == "backbone"}
    _fill(backbone, found, str(file), channels)


def _fill(backbone: nn.Module, found: dict[str, Tensor], source: str, channels: int) -> None:
    """Put weights into a backbone, all of them but the classifier's.

    Raises:
        RecipeError: names or shapes don't fit.
    """
    config = backbone.default_cfg
    assert isinstance(config, dict)
    own_head, first = f"{config['classifier']}.", f"{config['first_conv']}.weight"
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in found.items()
        if not name.startswith(own_head)
    }
    if channels != 3 and first in state:
        state[first] = adapt_input_conv(channels, state[first])
    expected = backbone.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        wanted = tuple(expected[name].shape) if name in expected else "has none"
        held = tuple(state[name].shape) if name in state else "has none"
        if wanted != held:
            raise RecipeError(
                f"model.weights={source}: does not fit the backbone ({name}: file {held}, network {wanted})"
            )
    backbone.load_state_dict(state)
