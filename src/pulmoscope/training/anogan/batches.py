"""The normal slices that AnoGAN learns from, in batches that depend on seed, stage, epoch and number alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class NormalSlices:
    """Slices and how they are drawn.

    Attributes:
        images: float32 (n, 1, side, side) in [0, 1].
        count, batch_size: of an epoch's batches; an epoch's length does not depend on how many slices there are.
        shift: slices are moved by up to so many pixels, down or up, left or right.
        brightness: and brightened or darkened by up to this fraction.
        seed: of everything.
    """

    images: Tensor
    count: int
    batch_size: int
    shift: int
    brightness: float
    seed: int

    def seeded(self, *key: int) -> None:
        """Draw from here on, with torch, what belongs to this place: stage, epoch, batch."""
        torch.manual_seed(int(np.random.SeedSequence([self.seed, *key]).generate_state(1)[0]))

    def batches(self, stage: int, epoch: int) -> Iterator[Tensor]:
        """Disturbed slices (batch_size, 1, side, side); every slice comes as often as any other, to one.

        How they are disturbed is torch's to draw: the training loop seeds it for every batch.
        """
        wanted = self.count * self.batch_size
        rng = np.random.default_rng([self.seed, stage, epoch])
        rounds = -(-wanted // len(self.images))
        order = np.concatenate([rng.permutation(len(self.images)) for _ in range(rounds)])[:wanted]
        for chosen in order.reshape(self.count, self.batch_size):
            yield self._disturbed(self.images[torch.from_numpy(chosen)])

    def _disturbed(self, slices: Tensor) -> Tensor:
        """Moved by whole pixels, the border repeated: no value is mixed, so that noise stays what it was."""
        side = slices.shape[-1]
        padded = functional.pad(slices, (self.shift,) * 4, mode="replicate")
        down, across = torch.randint(0, 2 * self.shift + 1, (2, len(slices))).tolist()
        moved = torch.stack(
            [
                image[:, top : top + side, left : left + side]
                for image, top, left in zip(padded, down, across, strict=True)
            ]
        )
        gain = 1 + self.brightness * (2 * torch.rand(len(slices), 1, 1, 1) - 1)
        return (moved * gain).clamp(0, 1)
