"""Optimisers, learning rates and running averages that a recipe can ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pulmoscope.recipes.specs import Phase


def optimizer_of(phase: Phase, weights: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The phase's optimiser for these weights."""
    if phase.optimizer == "sgd":
        return torch.optim.SGD(
            weights, phase.learning_rate, momentum=phase.momentum, weight_decay=phase.weight_decay
        )
    kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, phase.learning_rate, weight_decay=phase.weight_decay)


def learns(network: nn.Module) -> list[nn.Parameter]:
    """The weights that require gradients."""
    return [weight for weight in network.parameters() if weight.requires_grad]


def learning_rate(phase: Phase, done: float) -> float:
    """The learning rate when this fraction of the phase is done: ``cosine`` warms up over the first tenth."""
    if phase.schedule == "constant":
        return phase.learning_rate
    if done < 0.1:
        return phase.learning_rate * max(done, 0.001) / 0.1
    return phase.learning_rate * (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2


def one_cycle(rate: float, steps: int, warm_up: float) -> Callable[[int], Mapping[str, Any]]:
    """A step's number → Adam's learning rate and first moment's decay, as torch's ``OneCycleLR`` moves them.

    The rate climbs from a 25th to ``rate`` within the fraction ``warm_up`` of all steps and falls to nearly nothing, on
    cosines; the decay goes from 0.95 to 0.85 and back (Smith and Topin 2018).
    """
    peak, last = warm_up * steps - 1, steps - 1
    first, least = rate / 25, rate / 25 / 1e4

    def cosine(begin: float, end: float, fraction: float) -> float:
        return end + (begin - end) / 2 * (math.cos(math.pi * fraction) + 1)

    def settings(step: int) -> Mapping[str, Any]:
        if step <= peak or peak == last:
            fraction = step / peak if peak else 1.0
            return {"lr": cosine(first, rate, fraction), "betas": (cosine(0.95, 0.85, fraction), 0.999)}
        fraction = (step - peak) / (last - peak)
        return {"lr": cosine(rate, least, fraction), "betas": (cosine(0.85, 0.95, fraction), 0.999)}

    return settings


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and BatchNorm statistics; its decay grows to ``decay``.

    The decay after n steps is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    """

    def move(averages: Any, weights: Any, steps: Any) -> None:
        fraction = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, fraction)
            else:
                average.copy_(weight)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)
