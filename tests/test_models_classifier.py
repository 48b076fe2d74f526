from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pulmoscope.core.errors import RecipeError
from pulmoscope.models.classifier import Classifier, Head, build, build_multiscale
from pulmoscope.recipes.specs import ModelSpec

SMALL = ModelSpec(backbone="cnn", filters=4)


def image(channels: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((3, channels, 48, 64), generator=torch.Generator().manual_seed(seed))


def gradients_by_autograd(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """d logit / d map averaged over space, by torch's own differentiation: (batch, logits, maps)."""
    features = network.features(images).detach().requires_grad_()
    logits = network.head(features.mean(dim=(2, 3)))
    slopes = [
        torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)[0]
        for k in range(logits.shape[1])
    ]
    return torch.stack([slope.mean(dim=(2, 3)) for slope in slopes], dim=1)


@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("logits", [1, 4])
def test_gradients_are_those_of_autograd(hidden: int, logits: int) -> None:
    torch.manual_seed(1)
    network = build(ModelSpec(backbone="cnn", filters=4, hidden=hidden, dropout=0.5), logits, 1).eval()

    found, features, gradients = network.explainable(image(1))

    torch.testing.assert_close(found, network(image(1)))
    torch.testing.assert_close(features, network.features(image(1)))
    torch.testing.assert_close(gradients, gradients_by_autograd(network, image(1)))


@pytest.mark.parametrize("hidden", [0, 7])
def test_three_stages_are_pooled_side_by_side_each_with_its_gradients(hidden: int) -> None:
    torch.manual_seed(1)
    spec = ModelSpec(backbone="mobilenetv2_035", pretrained=False, stages=3, hidden=hidden)
    network = build(spec, 2, 3).eval()
    stages = [stage.detach().requires_grad_() for stage in network.stages(image(3))]
    assert [tuple(stage.shape[2:]) for stage in stages] == [
        (6, 8),
        (3, 4),
        (2, 2),
    ]  # 1/8, 1/16, 1/32 of 48 x 64
    logits = network.head(torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1))
    by_autograd = [
        torch.stack(
            [
                torch.autograd.grad(logits[:, k].sum(), stage, retain_graph=True)[0].mean(dim=(2, 3))
                for k in (0, 1)
            ],
            dim=1,
        )
        for stage in stages
    ]

    found = dict(zip(network.outputs, network.explainable(image(3)), strict=True))

    torch.testing.assert_close(found["logits"], network(image(3)))
    torch.testing.assert_close(found["logits"], logits)
    assert len(found) == 7
    for suffix, stage, gradients in zip(("_3", "_4", ""), stages, by_autograd, strict=True):
        torch.testing.assert_close(found[f"features{suffix}"], stage)
        torch.testing.assert_close(found[f"gradients{suffix}"], gradients)


def of_slices(backbone: str = "mobilenetv2_035", hidden: int = 16) -> Classifier:
    torch.manual_seed(4)
    spec = ModelSpec(backbone, pretrained=False, hidden=hidden, dropout=0.5)
    return build_multiscale(spec, 3, 3).eval()


def test_a_slice_network_on_resnet50_pools_512_1024_and_2048_maps() -> None:
    network = of_slices("resnet50", hidden=1024)

    with torch.no_grad():
        shapes = [tuple(stage.shape) for stage in network.stages(torch.rand(1, 3, 224, 224))]

    assert shapes == [(1, 512, 28, 28), (1, 1024, 14, 14), (1, 2048, 7, 7)]
    weights = sum(weight.numel() for weight in network.head.parameters())
    assert weights == 3584 * 1024 + 1024 + 1024 * 3 + 3


@pytest.mark.parametrize("backbone", ["mobilenetv2_035", "resnet18", "efficientnet_b0"])
def test_a_slice_network_gives_a_vector_and_the_gradients_of_three_stages(backbone: str) -> None:
    network = of_slices(backbone)
    assert isinstance(network.head, Head)
    assert network.head.hidden is not None
    images = torch.rand(2, 3, 64, 64)

    found = dict(zip(network.outputs, network.explainable(images), strict=True))

    maps = [found[f"features_{stage}"].detach().requires_grad_() for stage in (3, 4, 5)]
    pooled = torch.cat([stage.flatten(2).mean(dim=2) for stage in maps], dim=1)
    vector = torch.relu(pooled @ network.head.hidden.weight.T + network.head.hidden.bias)
    logits = network.head.output(vector)
    torch.testing.assert_close(found["vector"], vector)
    torch.testing.assert_close(found["logits"], logits)
    torch.testing.assert_close(network(images), logits)
    for number in range(3):
        slopes = torch.autograd.grad(logits[:, number].sum(), maps, retain_graph=True)
        for stage, slope in zip((3, 4, 5), slopes, strict=True):
            torch.testing.assert_close(
                found[f"gradients_{stage}"][:, number], slope.mean(dim=(2, 3)), atol=1e-7, rtol=1e-4
            )


def test_a_slice_network_drops_features_before_its_hidden_layer() -> None:
    head = of_slices().train().head
    assert isinstance(head, Head)
    assert head.hidden is not None
    head.dropout.p = 1.0  # nothing is left of the features; of the vector everything
    expected = head.output(torch.relu(head.hidden.bias))
    torch.testing.assert_close(head(torch.ones(1, head.hidden.in_features)), expected.unsqueeze(0))


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (ModelSpec("cnn", pretrained=False, hidden=8), "maps of the stages of cnn"),
        (ModelSpec("mobilenetv2_035", pretrained=False, hidden=0), "hidden=0"),
        (ModelSpec("no_such_network", pretrained=False, hidden=8), "no_such_network"),
    ],
)
def test_a_slice_network_that_can_not_be_is_refused(spec: ModelSpec, rule: str) -> None:
    with pytest.raises(RecipeError, match=rule):
        build_multiscale(spec, 3, 3)


def test_a_backbone_without_stages_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"model\.stages=3: timm gives no maps of the stages of cnn"):
        build(ModelSpec(backbone="cnn", stages=3), 2, 3)


def test_maps_of_the_baseline_are_a_sixteenth_of_the_image() -> None:
    assert build(SMALL, 1, 1).eval().features(image(1)).shape == (3, 8, 3, 4)


def test_local_weights_are_loaded_in_single_precision_without_their_classifier(tmp_path: Path) -> None:
    source = build(ModelSpec(backbone="mobilenetv2_035", pretrained=False), 2, 3)
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in source.backbone.state_dict().items()
    }
    save_file({**state, "classifier.weight": torch.zeros(1000, 1280)}, tmp_path / "weights.safetensors")

    network = build(
        ModelSpec(backbone="mobilenetv2_035", weights=str(tmp_path / "weights.safetensors")), 5, 3
    )

    loaded = network.backbone.state_dict()
    assert all(value.dtype != torch.float16 for value in loaded.values())
    assert all(torch.equal(loaded[name], value.to(loaded[name].dtype)) for name, value in state.items())
    assert network.eval()(image(3)).shape == (3, 5)


def test_colour_weights_fit_a_grey_input_by_their_sum(tmp_path: Path) -> None:
    source = build(ModelSpec(backbone="mobilenetv2_035", pretrained=False), 2, 3).eval()
    save_file(source.backbone.state_dict(), tmp_path / "weights.safetensors")

    grey = build(
        ModelSpec(backbone="mobilenetv2_035", weights=str(tmp_path / "weights.safetensors")), 2, 1
    ).eval()

    one = image(1)
    torch.testing.assert_close(
        grey.features(one), source.features(one.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (ModelSpec("no_such_net"), "neither cnn nor the name of a timm model"),
        (ModelSpec("cnn", weights="here"), "trained from scratch"),
        (ModelSpec("mobilenetv2_035", weights="nowhere.safetensors"), "no such file"),
        (ModelSpec("mobilenetv2_035", pretrained=False, backbone_options={"wings": "2"}), "wings"),
    ],
)
def test_what_can_not_be_built_is_told_in_one_line(spec: ModelSpec, rule: str) -> None:
    with pytest.raises(RecipeError, match=rule) as error:
        build(spec, 2, 3)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(build(SMALL, 1, 3).backbone.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(RecipeError, match=r"does not fit the backbone \(.*: file .*, network .*\)"):
        build(ModelSpec("mobilenetv2_035", weights=str(tmp_path / "weights.safetensors")), 2, 3)


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(RecipeError, match="not a safetensors file"):
        build(ModelSpec("mobilenetv2_035", weights=str(tmp_path / "weights.safetensors")), 2, 3)


def test_the_imagenet_weights_at_hand_fit(shared: Path) -> None:
    file = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    spec = ModelSpec("mobilenetv2_100", weights=str(file), backbone_options={"pad_type": "same"})
    assert build(spec, 4, 3).eval()(image(3)).shape == (3, 4)


def test_a_second_head_tells_where_opacities_are() -> None:
    network = build(SMALL, 3, 1, locate=True).eval()
    assert network.locator is not None
    logits, opacity = network.located(image(1))
    features = network.features(image(1))
    torch.testing.assert_close(logits, network(image(1)))
    weight, bias = network.locator.weight[0, :, 0, 0], network.locator.bias
    assert bias is not None
    torch.testing.assert_close(opacity, torch.einsum("bmrc,m->brc", features, weight) + bias)


def test_without_a_second_head_the_weights_are_as_ever() -> None:
    torch.manual_seed(1)
    plain = build(SMALL, 3, 1)
    torch.manual_seed(1)
    both = build(SMALL, 3, 1, locate=True)
    assert plain.locator is None
    assert set(both.state_dict()) - set(plain.state_dict()) == {"locator.weight", "locator.bias"}
    for name, value in plain.state_dict().items():
        assert torch.equal(both.state_dict()[name], value), name
