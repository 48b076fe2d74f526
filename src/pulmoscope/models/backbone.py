"""Backbones of timm, without their heads, and where their pretrained weights come from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.models.packaged import PREFIX, packaged_weights
from pulmoscope.recipes.specs import ModelSpec
from pulmoscope.runtime.torchvision_shim import declare_missing_operators

declare_missing_operators()

import timm  # noqa: E402  (torchvision, which timm imports, needs the line above)
from timm.models import adapt_input_conv  # noqa: E402


def timm_backbone(spec: ModelSpec, channels: int, setting: str = "model.weights") -> nn.Module:
    """A timm network without its head, with the pretrained weights that the recipe asks for (errors: see `build`).

    Args:
        setting: what the recipe calls ``spec.weights``, for errors.
    """
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
        retries.setLevel(logging.ERROR)  # a hub that can't be reached is reported once, below
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
    source = f"{setting}={spec.weights}"
    if spec.weights.startswith(PREFIX):
        whole = timm.create_model(spec.backbone, **spec.backbone_options).state_dict()
        _fill(
            backbone,
            packaged_weights(spec.weights.removeprefix(PREFIX), whole),
            channels,
            f"{setting}={spec.weights}",
        )
    elif spec.weights:
        _load(backbone, Path(spec.weights), channels, source)
    if hasattr(backbone, "pre_logits"):
        backbone.pre_logits = nn.Identity()  # VGG's fully connected layers: part of its own head, not of ours
    return backbone


def _load(backbone: nn.Module, file: Path, channels: int, source: str) -> None:
    """Load a state dict strictly, its classifier excepted; half precision becomes single.

    The file holds a backbone as timm names it, or a whole network as a run leaves it (``weights.safetensors``).
    """
    if not file.is_file():
        raise RecipeError(f"{source}: there is no such file")
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise RecipeError(f"{source}: not a safetensors file ({error})") from error
    if any(name.startswith("backbone.") for name in state):
        parts = ((name.partition("."), value) for name, value in state.items())
        state = {name: value for (part, _, name), value in parts if part == "backbone"}
    _fill(backbone, state, channels, source)


def _fill(backbone: nn.Module, loaded: dict[str, Tensor], channels: int, source: str) -> None:
    """Put weights into a backbone, all of them but the classifier's.

    Raises:
        RecipeError: names or shapes don't fit.
    """
    config = backbone.default_cfg
    assert isinstance(config, dict)
    head, first = f"{config['classifier']}.", f"{config['first_conv']}.weight"
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in loaded.items()
        if not name.startswith(head)
    }
    if channels != 3 and first in state:
        state[first] = adapt_input_conv(channels, state[first])
    expected = backbone.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        wanted = tuple(expected[name].shape) if name in expected else "has none"
        held = tuple(state[name].shape) if name in state else "has none"
        if wanted != held:
            raise RecipeError(f"{source}: does not fit the backbone ({name}: file {held}, network {wanted})")
    backbone.load_state_dict(state)


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
    last = max(index for index, (name, _) in enumerate(layers) if f"{name}.".startswith(stage))
    # What the stage lies in goes on behind it.
    return [layer for name, layer in layers[: last + 1] if name and not stage.startswith(f"{name}.")]
