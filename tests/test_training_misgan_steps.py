from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pulmoscope.models.misgan import mask_by, middle
from pulmoscope.recipes.gan_specs import MisGanSettings
from pulmoscope.training.misgan.data import Batch, Pool
from pulmoscope.training.misgan.steps import (
    Networks,
    Step,
    critic_loss,
    gradient_penalty,
    reconstruction_error,
)

TINY = MisGanSettings(latent=5, width=2, imputer_width=2, batch=4, tau=0.25)


class Linear(nn.Module):
    """A critic whose slope is everywhere its weights."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, stack: Tensor) -> Tensor:
        return (stack * self.weight).sum(dim=(1, 2, 3))


def one_of(settings: MisGanSettings = TINY) -> Step:
    torch.manual_seed(3)
    networks = Networks(32, settings)
    return Step(networks, networks.optimizers(settings), settings)


def batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.random((5, 32, 32), dtype=np.float32)
    missing = np.zeros(images.shape, dtype=bool)
    missing[1, 4:9, 8:20] = missing[3, 20:24] = True
    return Pool.of(images, missing, [0, 0, 0, 1, 1]).draw(4, rng)


def test_the_penalty_of_a_linear_critic_has_a_closed_form() -> None:
    critic = Linear(torch.tensor([3.0, 0, 0, 4.0]).reshape(1, 2, 2))  # slope of length 5
    real, fake = torch.rand(6, 1, 2, 2), torch.rand(6, 1, 2, 2)
    assert gradient_penalty(critic, real, fake).item() == pytest.approx((5 - 1) ** 2)


def test_a_critics_loss_by_hand() -> None:
    critic = Linear(torch.full((1, 2, 2), 0.75))  # slope of length 1.5
    real, fake = torch.ones(3, 1, 2, 2), torch.full((3, 1, 2, 2), 0.5)
    loss, apart = critic_loss(critic, real, fake, penalty=10)
    assert apart == pytest.approx(4 * 0.75 - 4 * 0.375)
    assert loss.item() == pytest.approx(10 * 0.25 - 1.5)
    loss.backward()
    # d/dw of 10 (|w| - 1)^2 - (0.5 · sum of w) at w = 0.75 everywhere: 10 · 2 · 0.5 · 0.75 / 1.5 - 0.5 = 4.5
    assert critic.weight.grad is not None
    torch.testing.assert_close(critic.weight.grad, torch.full((1, 2, 2), 4.5))


def test_slices_count_alike_in_the_reconstruction_error() -> None:
    truth, filled, hidden = torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    filled[0], hidden[0, 0, 0, 0] = 0.2, 1  # one pixel, wrong by 0.2
    filled[1, 0, 0], hidden[1] = -0.4, 1  # four pixels, two of them wrong by 0.4
    filled[2] = 9  # nothing was hidden
    assert reconstruction_error(filled, truth, hidden).item() == pytest.approx((0.2 + 0.2) / 2)
    assert reconstruction_error(filled, truth, torch.zeros_like(hidden)).item() == 0


@pytest.mark.parametrize(("imputing", "alpha", "beta"), [(False, 0.2, 0.0), (True, 0.1, 0.1)])
def test_generators_learn_from_their_own_losses(imputing: bool, alpha: float, beta: float) -> None:
    step = one_of()
    own = step.networks
    torch.manual_seed(8)
    codes = torch.randn(2, 4, TINY.latent)
    drawn, masks = own.data(codes[0]), own.masks(codes[1])
    data_loss = -own.data_critic(mask_by(drawn, masks, TINY.tau)).mean()
    mask_loss = -own.mask_critic(masks).mean()
    imputer_loss = own.imputer_critic(middle(drawn)).mean()

    def slopes(loss: Tensor, of: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, list(of.parameters()), retain_graph=True)

    expected = [
        *slopes(data_loss + beta * imputer_loss, own.data),
        *slopes(mask_loss + alpha * data_loss, own.masks),
    ]
    critics = {name: value.clone() for name, value in own.state_dict().items() if "critic" in name}
    torch.manual_seed(8)
    step.generate(4, imputing=imputing)
    found = [weight.grad for part in (own.data, own.masks) for weight in part.parameters()]
    for slope, wanted in zip(found, expected, strict=True):
        assert slope is not None
        torch.testing.assert_close(slope, wanted)
    assert all(torch.equal(own.state_dict()[name], value) for name, value in critics.items())


def test_critics_learn_and_nothing_else_does() -> None:
    step = one_of()
    before = {name: value.clone() for name, value in step.networks.named_parameters()}
    figures = step.criticise(batch(), imputing=False)
    assert set(figures) == {"data_distance", "mask_distance"}
    figures = step.criticise(batch(), imputing=True)
    assert set(figures) == {"data_distance", "mask_distance", "imputer_distance"}
    for name, value in step.networks.named_parameters():
        if name.endswith("7.bias"):  # of a critic's last layer: it has no part in a difference of two answers
            continue
        assert torch.equal(value, before[name]) == ("critic" not in name), name


def test_the_imputer_learns_from_hidden_pixels_and_from_its_critic() -> None:
    step = one_of()
    assert set(step.impute(batch(), adversarial=False)) == {"reconstruction"}
    plain = one_of(replace(TINY, reconstruction=0))
    before = {name: value.clone() for name, value in plain.networks.named_parameters()}
    assert plain.impute(batch(), adversarial=True) == {}
    changed = {
        name for name, value in plain.networks.named_parameters() if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith("imputer.") for name in changed)


@pytest.mark.parametrize("weight", [0.0, 100.0])
def test_what_is_shown_stays_as_it_is(weight: float) -> None:
    own = batch()
    shown = own.m * own.other if weight else own.m
    _, filled = one_of(replace(TINY, reconstruction=weight)).fill(own)
    kept = middle(shown) > 0
    assert torch.equal(filled[kept], middle(own.x)[kept])
    assert not torch.equal(filled[~kept], middle(own.x)[~kept])
