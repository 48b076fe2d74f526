from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pulmoscope.models.anogan import (
    AnomalyNetwork,
    Discriminator,
    Encoder,
    Generator,
    channels,
    scores,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(32, (8, 16, 32)), (64, (8, 16, 32, 64)), (128, (8, 16, 32, 64, 64))],
)
def test_channels_double_at_every_coarser_level_up_to_eight_times(
    size: int, expected: tuple[int, ...]
) -> None:
    assert channels(size, 8) == expected


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match=r"32, 64, 128 px \(found: 48\)"):
        Generator(48)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_shapes_and_ranges(size: int) -> None:
    torch.manual_seed(1)
    generator, discriminator, encoder = Generator(size, 7, 4), Discriminator(size, 4), Encoder(size, 7, 4)
    for network in (generator, discriminator, encoder):
        network.eval()
    slices = torch.rand(3, 1, size, size)
    with torch.no_grad():
        latent = encoder(slices)
        drawn = generator(latent)
        assert latent.shape == (3, 7, 1, 1)
        assert latent.abs().max() <= 1
        assert drawn.shape == slices.shape
        assert 0 <= drawn.min() <= drawn.max() <= 1
        assert discriminator.features(slices).shape == (3, channels(size, 4)[-1], 4, 4)
        assert discriminator(slices).shape == (3,)
        score, residual = AnomalyNetwork(generator, discriminator, encoder, 0.1).explainable(slices)
    assert score.shape == (3,)
    torch.testing.assert_close(residual, (slices - drawn).abs())


class Grey(nn.Module):
    """A stub generator: every slice is one grey."""

    def forward(self, latent: Tensor) -> Tensor:
        return torch.full((len(latent), 1, 2, 2), 0.5)


class Halves(nn.Module):
    """A stub discriminator with two features: the sums of the left and of the right column."""

    def features(self, slices: Tensor) -> Tensor:
        return slices.sum(dim=2).reshape(-1, 2, 1, 1)


class Nothing(nn.Module):
    """A stub encoder."""

    def forward(self, slices: Tensor) -> Tensor:
        return torch.zeros(len(slices), 1, 1, 1)


SLICES = torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]], [[[0.0, 1.0], [0.5, 0.75]]]])
# Of the second slice: residuals 0.5 + 0.5 + 0 + 0.25 = 1.25; features (0.5, 1.75) against (1, 1): 0.5 + 0.75 = 1.25.
# With λ = 0.1: (0.9 · 1.25 + 0.1 · 1.25) / 4 = 0.3125.


def test_the_score_by_hand() -> None:
    network = AnomalyNetwork(Grey(), Halves(), Nothing(), 0.1)  # type: ignore[arg-type]
    score, residual = network.explainable(SLICES)
    assert score.tolist() == pytest.approx([0, 0.3125])
    assert residual[1].flatten().tolist() == [0.5, 0.5, 0, 0.25]


@pytest.mark.parametrize(
    ("weight", "expected"), [(0, 1.5 / 4), (1, 10 / 4), (0.1, (0.9 * 1.5 + 0.1 * 10) / 4)]
)
def test_weight_shares_the_score_between_residual_and_features(weight: float, expected: float) -> None:
    slices, drawn = torch.ones(1, 1, 2, 2), torch.tensor([[[[0.5, 0.5], [0.5, 1.0]]]])
    features, drawn_features = torch.tensor([[3.0, -4.0, 0.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    found = scores(slices, drawn, features[..., None, None], drawn_features[..., None, None], weight)
    assert found.tolist() == pytest.approx([expected])


def test_the_network_is_a_copy_that_nothing_trains_further() -> None:
    generator, discriminator, encoder = Generator(32, 3, 2), Discriminator(32, 2), Encoder(32, 3, 2)
    network = AnomalyNetwork(generator, discriminator, encoder, 0.1)
    assert not any(weight.requires_grad for weight in network.parameters())
    assert all(weight.requires_grad for weight in generator.parameters())
    assert not network.training
    assert generator.training
