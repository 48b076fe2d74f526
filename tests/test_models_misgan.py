from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import (
    SIDES,
    Critic,
    Generator,
    Imputer,
    between_neighbours,
    composite,
    mask_by,
    middle,
)

SHAPE = (2, 3, 4, 4)


def stack(*values: float) -> torch.Tensor:
    """One stack of 1 x 1 px slices."""
    return torch.tensor(values).reshape(1, 3, 1, 1)


def test_missing_pixels_get_one_value() -> None:
    masked = mask_by(stack(0.2, 0.9, 0.5), stack(1, 0, 0.5), tau=0.4)
    torch.testing.assert_close(masked, stack(0.2, 0.4, 0.45))


@given(
    arrays(np.float32, SHAPE, elements=st.floats(width=32, allow_nan=True)),
    arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 1.0, 0.25])),
    arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)),
)
def test_observed_pixels_stay_bit_for_bit(x: FloatArray, m: FloatArray, filled: FloatArray) -> None:
    found = composite(*map(torch.from_numpy, (x, m, filled))).numpy()
    seen = m > 0
    np.testing.assert_array_equal(found[seen].view(np.uint32), x[seen].view(np.uint32))
    np.testing.assert_array_equal(found[~seen], filled[~seen])


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ((0.2, 0.9, 0.6), (1, 1, 1), 0.4),  # the slice's own value plays no part
        ((0.2, 0.9, 0.6), (1, 0, 0), 0.2),
        ((0.2, 0.9, 0.6), (0, 1, 1), 0.6),
        ((0.2, 0.9, 0.6), (0.5, 0, 1), (0.5 * 0.2 + 0.6) / 1.5),  # seen two slices below
        ((0.2, 0.9, 0.6), (0, 1, 0), 0.9),  # the mean of what is seen of the stack
        ((0.2, 0.9, 0.6), (0, 0, 0), 0.0),
    ],
)
def test_between_neighbours(values: tuple[float, ...], weights: tuple[float, ...], expected: float) -> None:
    assert between_neighbours(stack(*values), stack(*weights)).item() == pytest.approx(expected)


@pytest.mark.parametrize("side", SIDES)
def test_networks_fit_every_side(side: int) -> None:
    torch.manual_seed(0)
    drawn = Generator(side, 5, 2)(torch.randn(2, 5))
    assert drawn.shape == (2, 3, side, side)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert Critic(side, 2)(drawn).shape == (2,)
    assert Critic(side, 2, slices=1)(middle(drawn)).shape == (2,)
    assert Imputer(2)(drawn, torch.ones_like(drawn)).shape == (2, 1, side, side)


def test_another_side_is_refused() -> None:
    with pytest.raises(ValueError, match=r"side of 32, 64, 128 px \(found: 48\)"):
        Generator(48, 5, 2)


def test_masks_come_from_a_steeper_sigmoid() -> None:
    torch.manual_seed(0)
    data, masks = Generator(32, 5, 2).eval(), Generator(32, 5, 2, temperature=0.66).eval()
    masks.load_state_dict(data.state_dict())
    code = torch.randn(2, 5)
    z = torch.logit(data(code))
    torch.testing.assert_close(masks(code), torch.sigmoid(z / 0.66), atol=1e-5, rtol=1e-5)


def test_a_critic_judges_every_stack_alone() -> None:
    torch.manual_seed(0)
    critic, stacks = Critic(32, 4), torch.rand(3, 3, 32, 32)
    together = critic(stacks)
    alone = torch.cat([critic(stacks[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(together, alone)


def test_at_the_start_the_imputer_says_about_what_lies_between_the_neighbours() -> None:
    torch.manual_seed(0)
    x, m = torch.rand(2, 3, 32, 32), (torch.rand(2, 3, 32, 32) > 0.3).float()
    said = Imputer(4)(x, m)
    apart = (said - between_neighbours(x, m)).abs()
    # exp(4) / (exp(4) + 3), 95 % of the weight, lies on it; values differ by 1 at most, the corrected ones by 2.
    assert apart.max() < 0.05 * 2
    assert apart.mean() < 0.02
    flat = torch.full_like(x, 0.3)
    torch.testing.assert_close(Imputer(4)(flat, torch.ones_like(m)), middle(flat), atol=1e-5, rtol=0)
