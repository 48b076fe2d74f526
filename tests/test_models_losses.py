"""Losses for unequal classes, against published fixtures and formulas written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pulmoscope.models.losses import CosineHead, GroupRisk, balanced_weights, build_loss, margins
from pulmoscope.recipes.specs import LossSpec

MOSMED = (254, 684, 125, 45)
ENDS = 0.999


def test_margins_of_mosmeddata() -> None:
    # 0.5 · (45/254)^(1/4) = 0.3244 and so on
    assert margins(MOSMED).tolist() == pytest.approx([0.3244, 0.2532, 0.3873, 0.5], abs=5e-5)


@pytest.mark.parametrize(
    ("beta", "weights"),
    [(0.9999, [0.4452, 0.1689, 0.8989, 2.4870]), (0.999, [0.4729, 0.2141, 0.9026, 2.4104])],
)
def test_balanced_weights_of_mosmeddata(beta: float, weights: list[float]) -> None:
    assert balanced_weights(MOSMED, beta).tolist() == pytest.approx(weights, abs=5e-5)


def test_balanced_weights_between_equal_and_inverse_frequency() -> None:
    assert balanced_weights((1, 7), 0.0).tolist() == [1.0, 1.0]
    # 1/2 and 1/6 scaled to the sum 2
    assert balanced_weights((2, 6), 0.9999999).tolist() == pytest.approx([1.5, 0.5], abs=1e-4)


def _by_hand(
    logits: list[list[float]], labels: list[int], spec: LossSpec, counts: tuple[int, ...], done: float
) -> float:
    """The formulas of the papers, a number at a time."""
    weights = [1.0] * len(counts)
    if spec.beta and done >= spec.deferred:
        raw = [(1 - spec.beta) / (1 - spec.beta**n) for n in counts]
        weights = [len(raw) * value / sum(raw) for value in raw]
    rarest = max(n**-0.25 for n in counts)
    total, mass = 0.0, 0.0
    for row, label in zip(logits, labels, strict=True):
        own = list(row)
        if spec.kind == "ldam":
            own[label] -= spec.largest_margin * counts[label] ** -0.25 / rarest
            own = [spec.scale * value for value in own]
        top = max(own)
        log_share = own[label] - top - math.log(sum(math.exp(value - top) for value in own))
        each = -log_share
        if spec.kind == "focal":
            each *= (1 - math.exp(log_share)) ** spec.gamma
        total += weights[label] * each
        mass += weights[label]
    return total / mass


@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["cross-entropy", "focal", "ldam"]),
    beta=st.sampled_from([0.0, 0.99, 0.9999]),
    done=st.sampled_from([0.0, 0.79, 0.8, 1.0]),
    counts=st.tuples(*[st.integers(1, 700)] * 4),
)
def test_every_loss_equals_the_formula(
    seed: int, kind: str, beta: float, done: float, counts: tuple[int, ...]
) -> None:
    spec = LossSpec(kind=kind, beta=beta, deferred=0.8, gamma=1.5)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 5)
    found = build_loss(spec, counts)(torch.from_numpy(logits), torch.from_numpy(labels), done)
    expected = _by_hand(logits.tolist(), labels.tolist(), spec, counts, done)
    assert float(found) == pytest.approx(expected, rel=2e-4, abs=2e-5)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, labels = torch.tensor([[1.0, -1.0], [0.3, 0.2]]), torch.tensor([0, 1])
    plain = build_loss(LossSpec(), (3, 5))(logits, labels, 0.0)
    focal = build_loss(LossSpec(kind="focal", gamma=0.0), (3, 5))(logits, labels, 0.0)
    assert float(focal) == pytest.approx(float(plain))


def test_a_margin_makes_the_loss_larger_for_the_rarer_class() -> None:
    loss = build_loss(LossSpec(kind="ldam"), MOSMED)
    same = torch.full((1, 4), 0.5)
    values = [float(loss(same, torch.tensor([label]), ENDS)) for label in range(4)]
    assert np.argsort(values).tolist() == [1, 0, 2, 3]


def test_the_cosine_head_gives_cosines_to_learn_from_and_scaled_ones_to_judge_by() -> None:
    head = CosineHead(2, scale=30.0, logits=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [3.0, 3.0]]))
    pooled = torch.tensor([[5.0, 0.0]])
    half = 2**-0.5
    assert head(pooled)[0].tolist() == pytest.approx([1.0, half])
    assert head.eval()(pooled)[0].tolist() == pytest.approx([30.0, 30 * half])


def test_the_cosine_heads_slope_is_its_derivative() -> None:
    torch.manual_seed(1)
    head = CosineHead(6, scale=30.0, logits=3).eval()
    pooled = torch.rand(4, 6, dtype=torch.float64, requires_grad=True)
    head.double()
    said: Tensor = head(pooled)
    for logit in range(3):
        (derivative,) = torch.autograd.grad(said[:, logit].sum(), pooled, retain_graph=True)
        assert torch.allclose(head.slope(pooled)[:, logit], derivative)


def test_group_weights_follow_losses_as_algorithm_1_has_it() -> None:
    risk = GroupRisk(3, step=0.5)
    found = risk(torch.tensor([2.0, 4.0, 1.0]), torch.tensor([0, 0, 2]))
    raw = [math.exp(1.5), 1.0, math.exp(0.5)]  # group 1 has no image here
    assert risk.log_weights.exp().tolist() == pytest.approx([own / sum(raw) for own in raw])
    assert float(found) == pytest.approx((raw[0] * 3 + raw[2] * 1) / (raw[0] + raw[2]))


def test_group_weights_neither_underflow_nor_overflow() -> None:
    risk = GroupRisk(2, step=1.0)
    for _ in range(100):
        risk(torch.tensor([50.0, 0.0]), torch.tensor([0, 1]))
    assert risk.log_weights.isfinite().all()
    assert float(risk(torch.tensor([0.5]), torch.tensor([1]))) == pytest.approx(0.5)  # the light group alone
    for _ in range(101):
        risk(torch.tensor([0.0, 50.0]), torch.tensor([0, 1]))
    assert risk.log_weights.argmax() == 1  # it has risen again


def test_a_single_group_is_the_plain_mean() -> None:
    each = torch.tensor([0.3, 0.8, 0.1])
    assert float(GroupRisk(1, 1.0)(each, torch.zeros(3, dtype=torch.long))) == pytest.approx(0.4)
