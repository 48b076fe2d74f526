from __future__ import annotations

import pytest
import torch
from torch import nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.multiscale import OUTPUTS, MultiScaleClassifier, build_multiscale
from pulmoscope.recipes.specs import ModelSpec

CLASSES = 3


def small(backbone: str = "mobilenetv2_035", hidden: int = 16) -> MultiScaleClassifier:
    torch.manual_seed(4)
    spec = ModelSpec(backbone, pretrained=False, hidden=hidden, dropout=0.5)
    return build_multiscale(spec, CLASSES, 3).eval()


def test_a_resnet50_gives_512_1024_and_2048_maps() -> None:
    network = build_multiscale(ModelSpec("resnet50", pretrained=False, hidden=1024, dropout=0.5), CLASSES, 3)

    with torch.no_grad():
        shapes = [tuple(stage.shape) for stage in network.eval().stages(torch.rand(1, 3, 224, 224))]

    assert shapes == [(1, 512, 28, 28), (1, 1024, 14, 14), (1, 2048, 7, 7)]
    head = sum(weight.numel() for layer in (network.hidden, network.output) for weight in layer.parameters())
    assert head == 3584 * 1024 + 1024 + 1024 * 3 + 3


def test_the_hidden_layer_is_one_layer_on_the_pooled_stages_side_by_side() -> None:
    network = small()
    image = torch.rand(2, 3, 64, 64)
    one = nn.Linear(sum(layer.in_features for layer in network.hidden), 16)
    one.weight.data = torch.cat([layer.weight.data for layer in network.hidden], dim=1)
    one.bias.data = network.hidden[0].bias.data

    stages = network.stages(image)
    pooled = torch.cat([stage.flatten(2).mean(dim=2) for stage in stages], dim=1)

    torch.testing.assert_close(network.vector(stages), torch.relu(one(pooled)))
    torch.testing.assert_close(network(image), network.output(torch.relu(one(pooled))))


@pytest.mark.parametrize("backbone", ["mobilenetv2_035", "resnet18", "efficientnet_b0"])
def test_gradients_are_those_of_autograd_at_all_three_stages(backbone: str) -> None:
    network = small(backbone)
    image = torch.rand(2, 3, 64, 64)

    found = dict(zip(OUTPUTS, network.explainable(image), strict=True))

    maps = [found[f"features_{stage}"].detach().requires_grad_() for stage in (3, 4, 5)]
    logits = network.output(network.vector(maps))
    torch.testing.assert_close(logits, found["logits"])
    assert found["vector"].shape == (2, 16)
    for number in range(CLASSES):
        slopes = torch.autograd.grad(logits[:, number].sum(), maps, retain_graph=True)
        for stage, slope in zip((3, 4, 5), slopes, strict=True):
            torch.testing.assert_close(
                found[f"gradients_{stage}"][:, number], slope.mean(dim=(2, 3)), atol=1e-7, rtol=1e-4
            )


def test_dropout_is_before_the_hidden_layer() -> None:
    network = small().train()
    stages = [torch.ones(1, layer.in_features, 2, 2) for layer in network.hidden]
    network.dropout.p = 1.0
    torch.testing.assert_close(network.vector(stages), torch.relu(network.hidden[0].bias).unsqueeze(0))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ModelSpec("cnn", pretrained=False, hidden=8), "model.backbone=cnn"),
        (ModelSpec("mobilenetv2_035", pretrained=False, hidden=0), "hidden=0"),
        (ModelSpec("no_such_network", pretrained=False, hidden=8), "no_such_network"),
    ],
)
def test_a_network_that_can_not_be_is_refused(spec: ModelSpec, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_multiscale(spec, CLASSES, 3)
