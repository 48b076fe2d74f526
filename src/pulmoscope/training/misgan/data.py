"""What MisGAN learns from: slices of studies with pixels missing, drawn as stacks of three neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import FloatArray
from pulmoscope.models.misgan import SIDES
from pulmoscope.quality.imputation import stack_at

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Pixel = TypeVar("Pixel", np.float32, np.bool_)


def neighbours(study: npt.ArrayLike) -> Indices:
    """The slices below, at and above each slice: (n, 3) indices; a study's first and last slice take themselves.

    Args:
        study: (n,) the number of each slice's study; a study's slices lie together, from the feet to the head.
    """
    of: Indices = np.asarray(study)
    here = np.arange(len(of))
    same = np.equal(of[1:], of[:-1])
    return np.stack([here - np.append(False, same), here, here + np.append(same, False)], axis=1)


@dataclass(frozen=True)
class Batch:
    """Stacks as the networks take them.

    Attributes:
        x: float32 (batch, 3, side, side) in [0, 1], 0 where it is missing.
        m: float32 alike, 1 where observed, or black on purpose.
        slices, observed: the imputer's view, alike (see :func:`pulmoscope.quality.imputation.stack_at`).
        other: the masks of other stacks: what may be hidden on purpose is where they are 0; 1 where black on purpose.
    """

    x: Tensor
    m: Tensor
    slices: Tensor
    observed: Tensor
    other: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(value.to(device) for value in vars(self).values()))

    def first(self, count: int) -> Batch:
        """Its first stacks."""
        return Batch(*(value[:count] for value in vars(self).values()))


@dataclass(frozen=True)
class Pool:
    """All slices, and which stacks of them are damaged.

    Attributes:
        images: float32 (n, side, side).
        observed, shown: bool alike; where ``shown`` is false, a pixel is black on purpose.
        stack: (n, 3) indices of each stack's slices.
        study: (n, 2) the first slice of each slice's study, and the one after its last.
        damaged: the stacks in which anything is missing.
        holed: the stacks whose middle slice lacks anything.
    """

    images: FloatArray
    observed: Bools
    shown: Bools
    stack: Indices
    study: Indices
    damaged: Indices
    holed: Indices

    @classmethod
    def of(cls, images: FloatArray, missing: Bools, study: npt.ArrayLike, shown: Bools | None = None) -> Pool:
        """Look through the slices.

        Args:
            shown: None: all is.

        Raises:
            DatasetError: the slices can't be learnt from (see :func:`_check`).
        """
        _check(images, missing, np.asarray(study))
        stack = neighbours(study)
        gone: Bools = np.any(missing, axis=(1, 2))
        return cls(
            images,
            ~missing,
            np.ones_like(missing) if shown is None else shown,
            stack,
            _bounds(np.asarray(study)),
            np.flatnonzero(gone[stack].any(axis=1)),
            np.flatnonzero(gone),
        )

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw stacks at random, at least the first half of them damaged.

        Each is mirrored from left to right, and turned from feet to head, with probability one half: a chest so turned
        is as plausible to the networks, and few studies go four times as far. Masks of others are turned likewise.
        """
        first = (count + 1) // 2
        indices = np.append(rng.choice(self.damaged, first), rng.integers(0, len(self.stack), count - first))
        chosen = self.stack[indices]
        views = [self._view(int(index)) for index in indices]
        turns, swaps = rng.integers(0, 2, (2, count)).astype(bool)
        seen = self.observed[chosen]

        def turned(stacks: npt.NDArray[Any]) -> Tensor:
            return torch.from_numpy(_turned(stacks.astype(np.float32), turns, swaps))

        x = np.where(seen, self.images[chosen], np.float32(0))
        others = self._others(chosen, rng)
        return Batch(
            turned(x),
            turned(seen),
            turned(np.stack([values for values, _ in views])),
            turned(np.stack([weights for _, weights in views])),
            turned(others),
        )

    def _view(self, index: int) -> tuple[FloatArray, FloatArray]:
        """The imputer's view of one slice."""
        start, end = self.study[index]
        seen = self.observed[start:end] & self.shown[start:end]
        return stack_at(self.images[start:end], seen, index - int(start))

    def _others(self, chosen: Indices, rng: np.random.Generator) -> Bools:
        """Masks of stacks whose middle slice is damaged, turned at random, one for each of ``chosen``."""
        count = len(chosen)
        turns, swaps = rng.integers(0, 2, (2, count)).astype(bool)
        masks = _turned(self.observed[self.stack[rng.choice(self.holed, count)]], turns, swaps)
        # A study's first and last slice are their own neighbour: what is hidden of them is hidden of both.
        itself = chosen == chosen[:, 1:2]
        kept: Bools = masks & (masks[:, 1:2] | ~itself[:, :, None, None])
        return kept | ~self.shown[chosen]


def _bounds(study: Indices) -> Indices:
    """Where each slice's study begins and ends: (n, 2)."""
    starts = np.flatnonzero(np.append(True, study[1:] != study[:-1]))
    ends = np.append(starts[1:], len(study))
    return np.repeat(np.stack([starts, ends], axis=1), ends - starts, axis=0)


def _turned(stacks: npt.NDArray[Pixel], turns: Bools, swaps: Bools) -> npt.NDArray[Pixel]:
    """Mirror left and right where ``turns`` says so; swap feet and head where ``swaps`` does."""
    turned = stacks.copy()
    turned[turns] = turned[turns][:, :, :, ::-1]
    turned[swaps] = turned[swaps][:, ::-1]
    return turned


def _check(images: FloatArray, missing: Bools, study: Indices) -> None:
    """Refuse what can't be learnt from.

    Raises:
        DatasetError: the arrays do not fit together, slices are no squares that the networks are made for, values lie
            outside [0, 1], a study's slices do not lie together, or nothing is missing anywhere.
    """
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] not in SIDES:
        raise DatasetError(
            f"MisGAN: slices must be (n, side, side) with a side of {', '.join(map(str, SIDES))} px "
            f"(found: {images.shape})"
        )
    if missing.shape != images.shape or study.shape != images.shape[:1]:
        raise DatasetError(
            f"MisGAN: slices, what is missing and studies must fit together "
            f"(found: {images.shape}, {missing.shape} and {study.shape})"
        )
    seen = images[~missing]
    if not (seen.size and np.isfinite(seen).all() and seen.min() >= 0 and seen.max() <= 1):
        raise DatasetError("MisGAN: observed pixels must lie in [0, 1]")
    if np.count_nonzero(study[1:] != study[:-1]) + 1 != len(np.unique(study)):
        raise DatasetError("MisGAN: the slices of a study must lie together")
    if not missing.any():
        raise DatasetError(
            f"MisGAN: learns from missing regions (found: none in {len(images)} slices); take another imputer, "
            "such as linear"
        )
