"""BatchNorm over whole batches, of which each process has a part, on CPUs and GPUs alike.

torch's own layer for it works on GPUs only, and put in place of timm's it drops the activation that is part of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class WholeBatches(TorchFunctionMode):
    """While it is entered, every BatchNorm that learns normalises by mean and variance of all processes' parts.

    It takes the place of the function that all kinds of the layer call, so the network itself stays as it is. Nothing
    changes in a single process, or for a layer that keeps its statistics.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call one of torch's functions, or ours in its place."""
        called = _batch_norm if function is functional.batch_norm else function
        return called(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's function, of a part of a batch: float (part, channels, …)."""
    if not (training and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, var, count = _whole(x.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
    statistics = mean.float(), var.float(), count
    normalised: Tensor = _Normalised.apply(x, weight, bias, *statistics, eps)  # type: ignore[no-untyped-call]
    return normalised


def _whole(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and (biased) variance of each channel over all parts, float64 (channels,), and how many values each has.

    Variances are joined as by Chan et al. (1979), which loses no digits.
    """
    channels = x.shape[1]
    var, mean = torch.var_mean(x.float(), _axes(x), correction=0)
    own = torch.cat([mean, var, mean.new_tensor([x.numel() / channels])]).double()
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    every = torch.stack(parts)
    means, variances, counts = every[:, :channels], every[:, channels:-1], every[:, -1:]
    shares = counts / counts.sum()
    whole = (shares * means).sum(dim=0)
    return whole, (shares * (variances + (means - whole).square())).sum(dim=0), float(counts.sum())


class _Normalised(Function):
    """Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 1 and the gradients of its section 3, over all parts."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: float,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.count = count
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, inverse = ctx.saved_tensors
        gradient, axes = gradients[0].float(), _axes(x)
        across = [1, -1, *[1] * (x.ndim - 2)]
        standard = (x.float() - mean.view(across)) * inverse.view(across)
        own = torch.stack([(gradient * standard).sum(axes), gradient.sum(axes)])
        whole = own.clone()
        torch.distributed.all_reduce(whole)
        by_variance, by_mean = (whole / ctx.count).view(2, *across)
        scale = inverse if weight is None else inverse * weight
        of_x = (gradient - by_mean - standard * by_variance) * scale.view(across)
        of_weight, of_bias = own.to(inverse.dtype)
        affine = (None, None) if weight is None else (of_weight, of_bias)
        return of_x.to(x.dtype), *affine, None, None, None, None


def _axes(x: Tensor) -> list[int]:
    """All but the channels'."""
    return [0, *range(2, x.ndim)]
