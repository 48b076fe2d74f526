"""What the slice network learns from: which slices have a label, how an epoch is drawn, how a batch is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.types import Bytes
from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import CtAugmentation
from pulmoscope.training.classification import Batch
from pulmoscope.training.three_level.studies import Cache, PreparedStudy, finer

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SliceSet:
    """Labelled slices.

    Attributes:
        stacks: uint8 (slices, size, size) each.
        places: int64 (n, 2): which stack, which of its slices.
        labels: int64 (n,).
    """

    stacks: tuple[Bytes, ...]
    places: IntArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, number: int) -> Bytes:
        """One slice, uint8 (size, size)."""
        stack, index = self.places[number]
        return np.asarray(self.stacks[stack][index])

    def counts(self, classes: int) -> list[int]:
        """How many slices each class has."""
        return [int(count) for count in np.bincount(self.labels, minlength=classes)]

    def with_slices(self, other: SliceSet) -> SliceSet:
        """These and others."""
        moved = other.places + np.array([len(self.stacks), 0])
        return SliceSet(
            self.stacks + other.stacks,
            np.concatenate([self.places, moved]),
            np.concatenate([self.labels, other.labels]),
        )


def slice_set(parts: Sequence[tuple[Bytes, Sequence[int] | IntArray, int]]) -> SliceSet:
    """Put together (stack, which of its slices, their label)."""
    indices = [
        np.stack([np.full(len(chosen), number), np.asarray(chosen, dtype=np.int64)], axis=1)
        for number, (_, chosen, _) in enumerate(parts)
    ]
    labels = [np.full(len(chosen), label) for _, chosen, label in parts]
    return SliceSet(
        tuple(stack for stack, _, _ in parts),
        np.concatenate([*indices, np.empty((0, 2), dtype=np.int64)]).astype(np.int64),
        np.concatenate([*labels, np.empty(0, dtype=np.int64)]).astype(np.int64),
    )


def labelled(studies: Sequence[PreparedStudy], normal: int, factor: int, cache: Cache) -> SliceSet:
    """All slices of normal patients, and the infected ones of the others where they are known.

    Slices without infection of infected patients are left out: they may have traces that nobody saw.

    Args:
        normal: the number of the normal class.
        factor: how many slices become of one along z.
    """
    parts = []
    for study in studies:
        if study.infected is not None:
            slices, infected = finer(study, factor, cache)
            chosen = np.arange(len(slices)) if study.label == normal else np.flatnonzero(infected)
            parts.append((slices, chosen, study.label))
    return slice_set(parts)


def check_classes(slices: SliceSet, classes: Sequence[str], split: str) -> None:
    """Is there a labelled slice of every class?

    Raises:
        DatasetError: of one there is none.
    """
    missing = [name for name, count in zip(classes, slices.counts(len(classes)), strict=True) if not count]
    if missing:
        raise DatasetError(
            f"split {split}: needs patients whose infected slices are known (column infected) of every class but "
            f"the normal one, and slices of that (none of: {', '.join(missing)})"
        )


def drawn(labels: IntArray, per_epoch: int, classes: int, rng: np.random.Generator) -> IntArray:
    """Which slices an epoch learns from, in random order.

    Args:
        per_epoch: 0: all; else about so many, as many of each class, none twice before all of its class were drawn.
    """
    if not per_epoch:
        return rng.permutation(len(labels))
    each = -(-per_epoch // classes)
    chosen = []
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        rounds = -(-each // len(of_class)) if len(of_class) else 0
        chosen += (
            [np.concatenate([rng.permutation(of_class) for _ in range(rounds)])[:each]] if rounds else []
        )
    return rng.permutation(np.concatenate(chosen))


@dataclass(frozen=True)
class SliceBatches:
    """Batches of labelled slices as tensors.

    Attributes:
        slices: what they are made of.
        preprocess, augment: of the recipe; ``augment`` None: slices as diagnosis sees them.
        batch_size: at most.
        per_epoch, classes: see :func:`drawn`.
        seed: with the epoch it decides order and augmentation.
    """

    slices: SliceSet
    preprocess: CtPreprocess
    augment: CtAugmentation | None
    batch_size: int
    per_epoch: int
    classes: int
    seed: tuple[int, ...]

    def learn(self, epoch: int) -> Iterator[Batch]:
        """An epoch's batches."""
        rng = np.random.default_rng([*self.seed, epoch])
        order = drawn(self.slices.labels, self.per_epoch, self.classes, rng)
        yield from self._batches(order, epoch)

    def validation(self) -> Iterator[Batch]:
        """All slices in their order."""
        yield from self._batches(np.arange(len(self.slices)), 0)

    def _batches(self, order: IntArray, epoch: int) -> Iterator[Batch]:
        for chosen in np.array_split(order, -(-len(order) // self.batch_size)):
            images = np.stack([self._image(int(number), epoch) for number in chosen])
            tensor = torch.from_numpy(self.preprocess.tensor(images))
            labels = torch.from_numpy(self.slices.labels[chosen])
            yield Batch((tensor.contiguous(memory_format=torch.channels_last),), labels)

    def _image(self, number: int, epoch: int) -> Bytes:
        image = self.slices.image(number)
        if self.augment is None:
            return image
        return self.augment(image, np.random.default_rng([*self.seed, epoch, number]))
