"""Losses for classes of very unequal size, usable by every recipe of slices or images.

Which one is data (:class:`LossSpec`); :func:`build_loss` makes it ready for a data set's counts.

- Focal: Lin et al., «Focal Loss for Dense Object Detection», ICCV 2017, equation 4: -(1 - p)^gamma log p.
- LDAM: Cao et al., «Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss», NeurIPS 2019, equations 10
  to 13: the true class's logit is lowered by a margin that is the larger, the fewer of its class there are; then
  cross-entropy of the scaled logits, which are cosines (:class:`CosineHead`).
- Class-balanced: Cui et al., «Class-Balanced Loss Based on Effective Number of Samples», CVPR 2019, equation 6.
- DRW, deferred reweighting: Cao et al., section 3.3: the weights are switched on late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pulmoscope.recipes.specs import LossSpec

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""Logits (batch, classes), labels int64 (batch,), the fraction of the training that is done (0 … 1) -> a number."""


def margins(counts: Sequence[int], largest: float = 0.5) -> Tensor:
    """LDAM's margins, float32 (classes,): ``largest`` · n^(-1/4) over the rarest class's (equation 13).

    Args:
        counts: samples of each class, at least 1 each.
    """
    roots = torch.tensor(counts, dtype=torch.float64).pow(-0.25)
    return (largest * roots / roots.max()).float()


def balanced_weights(counts: Sequence[int], beta: float) -> Tensor:
    """Class-balanced weights, float32 (classes,): (1 - beta) / (1 - beta^n), scaled so that they sum to the classes.

    Args:
        counts: samples of each class, at least 1 each.
        beta: in [0, 1); 0 gives equal weights, near 1 the inverse frequency.
    """
    effective = 1 - torch.tensor(beta, dtype=torch.float64).pow(torch.tensor(counts, dtype=torch.float64))
    weights = (1 - beta) / effective
    return (weights * len(counts) / weights.sum()).float()


def build_loss(spec: LossSpec, counts: Sequence[int]) -> Loss:
    """The loss for classes of which the training data hold so many samples.

    All are means over the batch; with class weights the mean is weighted, as torch's cross-entropy has it.

    Args:
        counts: of what is weighed: slices, or patients; at least 1 each.
    """
    weights = balanced_weights(counts, spec.beta) if spec.beta else None
    lowered = margins(counts, spec.largest_margin)

    def loss(logits: Tensor, labels: Tensor, done: float) -> Tensor:
        logits = logits.float()
        if spec.kind == "ldam":
            logits = spec.scale * (
                logits - functional.one_hot(labels, len(counts)) * lowered.to(logits.device)
            )
        switched_on = weights is not None and done >= spec.deferred
        class_weights = weights.to(logits.device) if weights is not None and switched_on else None
        if spec.kind == "focal":
            return _focal(logits, labels, spec.gamma, class_weights)
        return functional.cross_entropy(logits, labels, weight=class_weights)

    return loss


def _focal(logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None) -> Tensor:
    log_probability = functional.log_softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    each = -((1 - log_probability.exp()) ** gamma) * log_probability
    if weights is None:
        return each.mean()
    of_labels = weights[labels]
    return (of_labels * each).sum() / of_labels.sum()


class GroupRisk(nn.Module):
    """Group DRO: groups that are learnt badly count more (Sagawa et al., ICLR 2020, algorithm 1).

    Args:
        groups: number of groups.
        step: how quickly weights follow losses.

    Attributes:
        log_weights: float32 (groups,), the logarithms of weights whose sum is 1: a group that is learnt well for long
            keeps a weight from which it can rise again.
    """

    log_weights: Tensor

    def __init__(self, groups: int, step: float) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("log_weights", torch.zeros(groups).log_softmax(0))

    def forward(self, each: Tensor, members: Tensor) -> Tensor:
        """The weighted loss, a number, after the weights have followed this batch's losses.

        Args:
            each: float (batch,), the loss of every image.
            members: int64 (batch,), the group of each.
        """
        weights = self.log_weights.to(each.device)
        counts = torch.bincount(members, minlength=len(weights)).to(each.dtype)
        sums = torch.zeros(len(weights), dtype=each.dtype, device=each.device).index_add(0, members, each)
        means = sums / counts.clamp_min(1)
        weights = (weights + self.step * means.detach()).log_softmax(0)
        self.log_weights = weights.cpu()
        here = weights.masked_fill(counts == 0, -torch.inf).softmax(0)
        return (here * means).sum()


class CosineHead(nn.Module):
    """LDAM's last layer: the cosine of the angle between the features and each class's vector; no bias.

    In training the logits are the cosines, which LDAM scales; in eval mode they are scaled already, so that a softmax
    of them is what was trained.
    """

    def __init__(self, maps: int, scale: float, logits: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(logits, maps))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.scale = scale

    def forward(self, pooled: Tensor) -> Tensor:
        """(batch, maps) -> logits (batch, logits)."""
        cosines = functional.linear(pooled / _length(pooled), self.weight / _length(self.weight))
        return cosines if self.training else self.scale * cosines

    def slope(self, pooled: Tensor) -> Tensor:
        """The derivative of each scaled logit by each pooled feature: (batch, logits, maps).

        Of w.f / |f| it is (w - (w.f/|f|) f/|f|) / |f|, for a w of length 1.
        """
        length = _length(pooled)[:, None]
        along = pooled[:, None] / length
        directions = (self.weight / _length(self.weight))[None]
        slope: Tensor = (
            self.scale * (directions - (directions * along).sum(dim=2, keepdim=True) * along) / length
        )
        return slope


def _length(rows: Tensor) -> Tensor:
    """The Euclidean length of each row, (rows, 1); written out, as onnx2torch knows no norm."""
    return (rows * rows).sum(dim=1, keepdim=True).clamp_min(1e-24).sqrt()
