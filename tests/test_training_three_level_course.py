from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from pulmoscope.core.errors import RecipeError
from pulmoscope.training.three_level.course import Batch, Course, Teller, follow

CPU = torch.device("cpu")
POINTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.5], [0.5, 2.0]])
LABELS = torch.tensor([0, 1, 0, 1])


def batches(_: int = 0) -> Iterator[Batch]:
    yield (POINTS,), LABELS


def layer() -> nn.Linear:
    network = nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, -2.0]]))
        network.bias.zero_()
    return network


def course(**changes: object) -> Course:
    plan: dict[str, object] = {
        "epochs": 5,
        "learning_rate": 0.1,
        "seed": (1,),
        "learn": batches,
        "judge": batches,
    }
    return Course("plan", **{**plan, **changes})  # type: ignore[arg-type]


def test_it_learns_and_ends_with_the_best_epoch(tmp_path: Path) -> None:
    network = layer()
    state = follow(network, course(epochs=60), tmp_path, CPU, Teller())
    best = state.rows[state.best_epoch - 1]
    assert state.epochs == 60
    assert best["val_accuracy"] == 1
    # Of equally accurate epochs the one of least loss is kept.
    assert best["val_loss"] == min(row["val_loss"] for row in state.rows if row["val_accuracy"] == 1)
    assert (network(POINTS).argmax(dim=1) == LABELS).all()


def test_the_first_step_is_that_of_adam_on_loss_and_penalties(tmp_path: Path) -> None:
    l1, l2 = 0.3, 0.05
    network, other = layer(), layer()
    weights = torch.tensor([0.25, 1.75])
    follow(network, course(epochs=1, l1=l1, l2=l2, weights=weights), tmp_path, CPU, Teller())

    optimizer = torch.optim.Adam(other.parameters(), 0.1)
    loss = nn.functional.cross_entropy(other(POINTS), LABELS, weight=weights)
    matrix = other.weight
    (loss + l1 * matrix.abs().sum() + l2 * (matrix**2).sum()).backward()  # the bias is not penalised
    optimizer.step()
    torch.testing.assert_close(network.weight, other.weight)
    torch.testing.assert_close(network.bias, other.bias)


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = layer()
    follow(whole, course(epochs=6), tmp_path / "whole", CPU, Teller())

    class StopError(Exception):
        pass

    def interrupted(epoch: int) -> Iterator[Batch]:
        if epoch == 3:
            raise StopError
        return batches()

    with pytest.raises(StopError):
        follow(layer(), course(epochs=6, learn=interrupted), tmp_path / "parts", CPU, Teller())
    seen = []

    def rest(epoch: int) -> Iterator[Batch]:
        seen.append(epoch)
        return batches()

    parts = layer()
    follow(parts, course(epochs=6, learn=rest), tmp_path / "parts", CPU, Teller())
    assert seen == [3, 4, 5]
    assert torch.equal(parts.weight, whole.weight)


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    def broken(_: int) -> Iterator[Batch]:
        yield (POINTS * float("nan"),), LABELS

    with pytest.raises(RecipeError, match="no number any more in epoch 1"):
        follow(layer(), course(learn=broken), tmp_path, CPU, Teller())
