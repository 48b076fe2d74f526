from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.training import loop
from pulmoscope.training.classification import (
    Batch,
    Classification,
    by_accuracy_then_loss,
    by_loss,
    cross_entropy,
)
from pulmoscope.training.hardware import fabric_of
from pulmoscope.training.loop import Outcome, Stage, Validation, fit, in_steps, part_of
from pulmoscope.training.optimizers import average_of, one_cycle
from pulmoscope.training.parallel.launch import spawned
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import PhaseState, begin

CPU = torch.device("cpu")
POINTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.5], [0.5, 2.0]])
LABELS = torch.tensor([0, 1, 0, 1])


def batches(_: int = 0) -> Iterator[Batch]:
    yield Batch((POINTS,), LABELS)


def layer() -> nn.Linear:
    network = nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, -2.0]]))
        network.bias.zero_()
    return network


def stage_of(network: nn.Module, **changes: Any) -> Stage:
    learning = Classification(cross_entropy(changes.pop("weights", None)))
    plain = Stage(
        name="plan",
        epochs=5,
        seed=(1,),
        network=network,
        optimizers={"network": torch.optim.Adam(network.parameters(), 0.1)},
        batches=batches,
        step=learning.step,
        validation=Validation(batches, learning.check, by_accuracy_then_loss),
    )
    return replace(plain, **changes)


def trained(stage: Stage, folder: Path | None = None, reporter: Reporter | None = None) -> PhaseState:
    return fit(stage, folder, fabric_of(CPU), reporter or Reporter())


def test_it_learns_and_ends_with_the_best_epoch(tmp_path: Path) -> None:
    network = layer()
    state = trained(stage_of(network, epochs=60), tmp_path)
    best = state.rows[state.best_epoch - 1]
    assert state.epochs == 60
    assert best["val_accuracy"] == 1
    # Of equally accurate epochs the one of least loss is kept.
    assert best["val_loss"] == min(row["val_loss"] for row in state.rows if row["val_accuracy"] == 1)
    assert (network(POINTS).argmax(dim=1) == LABELS).all()
    assert not network.training


def test_waiting_for_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    learning = Classification(cross_entropy(None))

    def slow(_: int) -> Iterator[Batch]:
        for seconds in (1.0, 2.0):
            now[0] += seconds
            yield Batch((POINTS,), LABELS)

    def step(network: nn.Module, batch: Batch, done: float) -> Outcome:
        now[0] += 4.5
        return learning.step(network, batch, done)

    state = trained(stage_of(layer(), epochs=2, batches=slow, step=step))
    assert [(row["waited"], row["seconds"]) for row in state.rows] == [(0.25, 12.0)] * 2  # 3 s of 3 + 9
    assert "gpu_busy" not in state.rows[0]


def test_how_busy_a_gpu_is_is_told_where_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([0.5, 1.0])  # of batches 0 and 10
    monkeypatch.setattr(loop, "gpu_busy", lambda device: next(said))
    many = stage_of(layer(), epochs=1, batches=lambda _: [Batch((POINTS,), LABELS)] * 15)
    assert trained(many).rows[0]["gpu_busy"] == 0.75


def test_the_first_step_is_that_of_adam_on_loss_and_penalties() -> None:
    l1, l2 = 0.3, 0.05
    network, other = layer(), layer()
    weights = torch.tensor([0.25, 1.75])
    trained(stage_of(network, epochs=1, l1=l1, l2=l2, weights=weights))

    optimizer = torch.optim.Adam(other.parameters(), 0.1)
    loss = nn.functional.cross_entropy(other(POINTS), LABELS, weight=weights)
    matrix = other.weight
    (loss + l1 * matrix.abs().sum() + l2 * (matrix**2).sum()).backward()  # the bias is not penalised
    optimizer.step()
    torch.testing.assert_close(network.weight, other.weight)
    torch.testing.assert_close(network.bias, other.bias)


def test_without_a_held_out_split_the_last_epoch_is_kept() -> None:
    network = layer()
    state = trained(stage_of(network, epochs=3, validation=None))
    assert state.best_epoch == 3
    assert not any(name.startswith("val_") for row in state.rows for name in row)


def test_it_stops_when_its_patience_is_over() -> None:
    network = layer()
    learning = Classification(cross_entropy())
    still = {"network": torch.optim.SGD(network.parameters(), 0.0)}
    held_out = Validation(batches, learning.check, by_loss)
    state = trained(stage_of(network, epochs=9, optimizers=still, validation=held_out, patience=2))
    assert (state.epochs, state.best_epoch) == (3, 1)


def test_the_average_is_what_is_kept() -> None:
    network = layer()
    other, optimizer = layer(), None
    average = average_of(other, 0.9)
    optimizer = torch.optim.SGD(other.parameters(), 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(other(POINTS), LABELS).backward()
        optimizer.step()
        average.update_parameters(other)
    own = {"network": torch.optim.SGD(network.parameters(), 0.5)}
    trained(stage_of(network, epochs=3, optimizers=own, average=0.9, validation=None))
    torch.testing.assert_close(network.weight, average.module.weight)
    assert not torch.allclose(network.weight, other.weight)


def test_the_learning_rate_moves_with_batches_or_with_epochs() -> None:
    def seen(**changes: Any) -> list[float]:
        network, found = layer(), []
        optimizer = torch.optim.SGD(network.parameters(), 0.0)
        learning = Classification(cross_entropy())

        def step(module: nn.Module, batch: Batch, done: float) -> Outcome:
            found.append(optimizer.param_groups[0]["lr"])
            return learning.step(module, batch, done)

        two = {"epochs": 2, "batches": lambda _: [*batches(), *batches()], "step": step, "validation": None}
        own = {"network": optimizer}
        trained(stage_of(network, optimizers=own, schedule=lambda done: {"lr": 1 + done}, **two, **changes))
        return found

    assert seen(steps=2) == [1.0, 1.25, 1.5, 1.75]
    assert seen() == [1.0, 1.0, 1.5, 1.5]


class StoppedError(Exception):
    pass


def stopping(at: int) -> Reporter:
    def after(row: dict[str, Any]) -> None:
        if row["epoch"] == at:
            raise StoppedError

    return Reporter(after_epoch=after)


def noisy(draw: Callable[[], Tensor], **changes: Any) -> Stage:
    """Dropout, averaging, a scheduled learning rate, and batches that are drawn."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def drawn(_: int) -> Iterator[Batch]:
        for _ in range(3):
            yield Batch((POINTS + draw(),), LABELS)

    rate = {"schedule": lambda done: {"lr": 0.1 * (1 - done)}, "steps": 3}
    return stage_of(network, epochs=6, batches=drawn, average=0.9, **rate, **changes)


@pytest.mark.parametrize("kind", ["torch", "numpy", "none"])
def test_it_goes_on_to_the_same_weights(tmp_path: Path, kind: str) -> None:
    def stage() -> Stage:
        if kind == "torch":
            own = torch.Generator().manual_seed(7)
            return noisy(lambda: torch.rand(4, 2, generator=own), random=own)
        if kind == "numpy":
            rng = np.random.default_rng(7)
            return noisy(lambda: torch.from_numpy(rng.random((4, 2), dtype=np.float32)), random=rng)
        return noisy(lambda: torch.rand(4, 2))  # seeded by the loop

    whole, parts = stage(), stage()
    trained(whole, tmp_path / "whole")
    with pytest.raises(StoppedError):
        trained(stage(), tmp_path / "parts", stopping(3))
    torch.rand(5)
    state = trained(parts, tmp_path / "parts")
    assert [row["epoch"] for row in state.rows] == [1, 2, 3, 4, 5, 6]
    assert all(
        torch.equal(value, whole.network.state_dict()[name])
        for name, value in parts.network.state_dict().items()
    )


def test_a_finished_stage_is_read_not_trained_again(tmp_path: Path) -> None:
    network, again = layer(), layer()
    trained(stage_of(network), tmp_path)

    def never(_: int) -> Iterator[Batch]:
        raise AssertionError

    trained(stage_of(again, batches=never), tmp_path)
    assert torch.equal(again.weight, network.weight)


def test_a_step_may_move_several_optimisers_itself(tmp_path: Path) -> None:
    """Two networks against each other, as generative ones; stopped between, they end alike."""

    def stage() -> Stage:
        torch.manual_seed(2)
        pair = nn.ModuleDict({"one": nn.Linear(2, 1), "other": nn.Linear(2, 1)})
        optimizers = {name: torch.optim.Adam(own.parameters(), 0.05) for name, own in pair.items()}

        def step(_: nn.Module, batch: Tensor, done: float) -> Outcome:
            figures = {}
            for name, sign in (("one", 1), ("other", -1)):
                optimizers[name].zero_grad()
                loss = (sign * (pair["one"](batch) - pair["other"](batch))).tanh().mean()
                loss.backward()
                optimizers[name].step()
                figures[f"{name}_loss"] = float(loss.detach())
            return Outcome(figures)

        epochs, numbers = in_steps(10, 4)
        draws = {"batches": lambda epoch: (torch.rand(4, 2) for _ in numbers(epoch)), "step": step}
        return stage_of(pair, epochs=epochs, optimizers=optimizers, validation=None, **draws)

    whole, parts = stage(), stage()
    assert [row["epoch"] for row in trained(whole, tmp_path / "whole").rows] == [1, 2, 3]
    with pytest.raises(StoppedError):
        trained(stage(), tmp_path / "parts", stopping(1))
    state = trained(parts, tmp_path / "parts")
    assert set(state.optimizers) == {"one", "other"}
    for name, value in whole.network.state_dict().items():
        assert torch.equal(parts.network.state_dict()[name], value)


def test_an_interval_may_be_shorter_at_the_end() -> None:
    epochs, numbers = in_steps(10, 4)
    assert [list(numbers(epoch)) for epoch in range(epochs)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_one_cycle_is_that_of_torch() -> None:
    for steps, warm_up in ((40, 0.1), (7, 0.15), (2, 0.1), (1, 0.15)):
        weight = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([weight], 0.02)
        known = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps, pct_start=warm_up)
        cycle = one_cycle(0.02, steps, warm_up)
        for step in range(steps):
            group = optimizer.param_groups[0]
            assert cycle(step) == {"lr": group["lr"], "betas": tuple(group["betas"])}
            optimizer.step()
            if step + 1 < steps:
                known.step()


def test_a_loss_that_became_nan_is_told_in_one_line(tmp_path: Path) -> None:
    def broken(_: int) -> Iterator[Batch]:
        yield Batch((POINTS * float("nan"),), LABELS)

    with pytest.raises(RecipeError, match="NaN in epoch 1") as told:
        trained(stage_of(layer(), batches=broken), tmp_path)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_foreign_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.ckpt").write_bytes(b"no state")
    with pytest.raises(RecipeError, match=r"plan\.ckpt"):
        trained(stage_of(layer()), tmp_path)


def test_a_folder_keeps_to_what_was_begun_in_it(tmp_path: Path) -> None:
    file = tmp_path / "begun.json"
    begin(file, {"settings": {"steps": 3}, "images": "ab"})
    begin(file, {"settings": {"steps": 3}, "images": "ab"})
    with pytest.raises(RecipeError, match="other images"):
        begin(file, {"settings": {"steps": 3}, "images": "cd"})


def test_a_batch_is_shared_out_whole_and_evenly() -> None:
    parts = [part_of(np.arange(5), SimpleNamespace(world_size=2, global_rank=rank)) for rank in (0, 1)]  # type: ignore[arg-type]
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4]]
    with pytest.raises(RecipeError, match=r"2 processes .* one has 1 images"):
        part_of(np.arange(1), SimpleNamespace(world_size=2, global_rank=0))  # type: ignore[arg-type]


def failing(fabric: object) -> None:
    raise ResourceError("no room; 3 GiB")


def test_the_error_of_a_process_comes_out_as_its_own() -> None:
    with pytest.raises(ResourceError) as told:
        spawned(2)(failing, "cpu", "32")
    assert str(told.value) == "no room; 3 GiB"
