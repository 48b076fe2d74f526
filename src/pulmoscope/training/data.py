"""Framed images as a network learns from them: varied anew every epoch, in an order that is drawn.

What is drawn for an image depends on (seed, phase, epoch, image) alone: not on the order of the work, the number of
workers, or how often a run was interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.kinds import ImagePreprocess
from pulmoscope.preprocess.opacities import painted
from pulmoscope.training.frames import MAP_SIDE, Frames

Key = tuple[int, int, int]
"""Phase, epoch, and the image's index: what one variant of an image depends on, besides the seed."""


class Example(NamedTuple):
    """An image as a network learns from it; a batch has a first axis more.

    Attributes:
        image: float32 (channels, size, size); a batch's lie in memory as convolutions want them (channels last).
        target: float32 (classes,), the fraction of each class.
        opacities: float32 (MAP_SIDE, MAP_SIDE) in [0, 1]: where they are; NaN where nobody knows, empty where nobody
            asked.
        place: int64, which of the framed images it is.
    """

    image: Tensor
    target: Tensor
    opacities: Tensor
    place: Tensor


@dataclass(frozen=True)
class Painting:
    """Which images get simulated opacities, and what they are labelled as then.

    Attributes:
        probability: for each image of a normal class.
        normal: the numbers of the classes without opacities.
        typical, other: the class of opacities in both lungs, and in one.
    """

    probability: float
    normal: frozenset[int]
    typical: int
    other: int


class FramedImages(Dataset[Example]):
    """Framed images as a network's input.

    Args:
        frames: all images.
        preprocess: the recipe's, with its final mean and s.d.
        augment: None gives every image as it is, as in diagnosis.
        seed: of the whole run.
        others: places of the images whose amplitude may be blended in; none: no blending.
        painting: None paints nothing.
    """

    def __init__(
        self,
        frames: Frames,
        preprocess: ImagePreprocess,
        augment: Augmentation | None,
        seed: int,
        others: npt.NDArray[np.int64] | None = None,
        painting: Painting | None = None,
    ) -> None:
        self.frames, self.preprocess, self.augment, self.seed = frames, preprocess, augment, seed
        self.others, self.painting = others, painting
        self.classes = int(frames.labels.max()) + 1 if frames.targets is None else frames.targets.shape[1]

    def __getitem__(self, key: Key) -> Example:
        return Example(*(field[0] for field in self.batch([key])))

    def batch(self, keys: Sequence[Key]) -> Example:
        """The images of these keys as one batch."""
        size = self.preprocess.size
        images = np.empty((len(keys), size, size, self.preprocess.channels), dtype=np.float32)
        targets, opacities = [], []
        for index, key in enumerate(keys):
            tensor, target, where = self._example(key)
            cv2.merge(list(tensor), images[index])
            targets.append(target)
            opacities.append(self._unknown() if where is None else where)
        return Example(
            torch.from_numpy(images).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack(targets)),
            torch.from_numpy(np.stack(opacities)),
            torch.tensor([index for *_, index in keys]),
        )

    __getitems__ = batch
    """What torch's loaders ask for."""

    def _example(self, key: Key) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Of one image: the input (channels, size, size), the target, and where opacities are, if that is known."""
        index = key[2]
        image, target, opacities = self._raw(index), self._target(index), self._opacities(index)
        factor = 1.0
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, *key])
            image, target, opacities = self._painted(index, image, target, opacities, rng)
            another = None if self.others is None else lambda: self._another(rng)
            image, opacities = self.augment(image, rng, another, opacities)
            factor = self.augment.contrast_factor(rng)
        # The one place that says what comes first: augment the raw image, then harmonise what came out.
        return self.preprocess.tensor(self.preprocess.tone(image, factor)), target, opacities

    def __len__(self) -> int:
        return len(self.frames.labels)

    def _raw(self, index: int) -> FloatArray:
        return np.asarray(self.frames.images[index], dtype=np.float32) / np.float32(255)

    def _another(self, rng: np.random.Generator) -> FloatArray:
        assert self.others is not None
        return self._raw(int(self.others[rng.integers(len(self.others))]))

    def _target(self, index: int) -> FloatArray:
        if self.frames.targets is not None:
            return np.array(self.frames.targets[index])
        return _one_hot(int(self.frames.labels[index]), self.classes)

    def _opacities(self, index: int) -> FloatArray | None:
        """The readers' map; None where there is none."""
        maps = self.frames.maps
        if maps is None or not maps.known[index]:
            return None
        return np.asarray(maps.opacities[index], dtype=np.float32) / np.float32(255)

    def _unknown(self) -> FloatArray:
        side = 0 if self.frames.maps is None else MAP_SIDE
        return np.full((side, side), np.nan, dtype=np.float32)

    def _painted(
        self,
        index: int,
        image: FloatArray,
        target: FloatArray,
        opacities: FloatArray | None,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """With simulated opacities, labelled as what they are, where they are drawn for this image."""
        painting, maps = self.painting, self.frames.maps
        if painting is None or maps is None or target.argmax() not in painting.normal:
            return image, target, opacities
        if rng.random() >= painting.probability:
            return image, target, opacities
        simulated = painted(image, maps.lungs[index].astype(np.float32) / np.float32(255), rng)
        if simulated is None:
            return image, target, opacities
        label = painting.typical if simulated.typical else painting.other
        return (
            simulated.image,
            _one_hot(label, len(target)),
            np.asarray(cv2.resize(simulated.region, (MAP_SIDE, MAP_SIDE))),
        )


def _one_hot(label: int, classes: int) -> FloatArray:
    target = np.zeros(classes, dtype=np.float32)
    target[label] = 1
    return target


def balanced(groups: tuple[str, ...], indices: npt.NDArray[np.int64], power: float) -> FloatArray:
    """How likely each of these images is drawn, float64 (places,): its group's size to the power of -``power``.

    0 draws all alike; 1 draws every group (hospital and class) as often as any other.
    """
    sizes = Counter(groups[index] for index in indices)
    weights = np.array([sizes[groups[index]] ** -power for index in indices])
    return np.asarray(weights / weights.sum())


class EpochOrder(Sampler[list[Key]]):
    """Batches of keys. A training epoch's order is drawn from (seed, phase, epoch); otherwise the table's.

    All batches are of nearly the same size, at most ``batch_size``: no small last one, whose BatchNorm would be noise.

    Args:
        weights: float64 (places,), how likely each image is drawn, with replacement; None: each once an epoch.
        part: a batch's places → those that this process takes; None: all.
    """

    def __init__(
        self,
        indices: npt.NDArray[np.int64],
        batch_size: int,
        phase: int,
        seed: int,
        shuffle: bool,
        weights: FloatArray | None = None,
        part: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]] | None = None,
    ) -> None:
        self.places, self.batch_size, self.phase, self.seed = indices, batch_size, phase, seed
        self.shuffle, self.weights, self.part = shuffle, weights, part
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.places) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.places
        if self.shuffle:
            rng = np.random.default_rng([self.seed, self.phase, self.epoch])
            weighted = self.weights is not None
            order = rng.choice(order, len(order), p=self.weights) if weighted else rng.permutation(order)
        for batch in np.array_split(order, len(self)):
            batch = batch if self.part is None else self.part(batch)
            yield [(self.phase, self.epoch, int(index)) for index in batch]


class Loader:
    """Batches in the given order, prepared while the network learns from those before.

    What they are does not depend on who prepares them.

    Args:
        workers: processes of their own that prepare them; 0: threads of this one.
        threads: how many, where there are no such processes.
    """

    def __init__(self, images: FramedImages, order: EpochOrder, workers: int = 0, threads: int = 1) -> None:
        self.images, self.order, self.threads = images, order, threads
        self._processes: DataLoader[Example] | None = None
        if workers:
            self._processes = DataLoader(
                images,
                batch_sampler=order,
                num_workers=workers,
                collate_fn=_as_it_is,
                persistent_workers=True,
                multiprocessing_context="spawn",  # forking a process that has threads can hang
            )

    def __len__(self) -> int:
        return len(self.order)

    def keys(self, number: int = 0) -> list[list[Key]]:
        """What the batches of this epoch are made of."""
        self.order.set_epoch(number)
        return list(self.order)

    def epoch(self, number: int = 0) -> Iterator[Example]:
        """The batches of this epoch."""
        self.order.set_epoch(number)
        # What torch draws for its processes is drawn now, before the first batch's seed.
        return self._in_threads() if self._processes is None else iter(self._processes)

    def _in_threads(self) -> Iterator[Example]:
        with ThreadPoolExecutor(self.threads) as pool:
            yield from ahead(pool, self.images.batch, self.order, 1 + self.threads)


def _as_it_is(batch: Any) -> Any:
    return batch
