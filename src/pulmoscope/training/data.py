"""A data set's images, read and framed once and kept in memory; varied anew every epoch.

What is drawn for an image depends on (seed, phase, epoch, image) alone: not on the order of the work, the number of
workers, or how often a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset, Sampler

from pulmoscope.core.errors import DatasetError, InputError, RecipeError
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.preprocess.augment import Augmentation
from pulmoscope.preprocess.kinds import Preprocess
from pulmoscope.runtime.bundle import built_in_lung_finder
from pulmoscope.runtime.model import find_lungs
from pulmoscope.runtime.network import open_network

T = TypeVar("T")

NAMED = 20
"""How many bad images a message names."""

Key = tuple[int, int, int]
"""Phase, epoch, and the image's place: what one variant of an image depends on, besides the seed."""


@dataclass(frozen=True)
class Frames:
    """Framed images, in the table's order.

    Attributes:
        images: uint8 (n, size, size): ``preprocess.frame(...).image`` x 255, as most sources have 8 bit anyway.
        labels: int64 (n,), index into the class list.
        splits, files: of each image, as the table says.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    splits: tuple[str, ...]
    files: tuple[str, ...]

    def places(self, *splits: str) -> npt.NDArray[np.int64]:
        """Where the images of these splits are."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels, in [0, 1] (system E, section II)."""
        counts = np.bincount(self.images.reshape(-1), minlength=256).astype(np.float64)
        values = np.arange(256) / 255
        mean = float((counts * values).sum() / counts.sum())
        return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


def load_frames(
    table: SampleTable, preprocess: Preprocess, classes: Sequence[str], progress: bool = True
) -> Frames:
    """Read and frame every image of the table that is of one of the classes, in parallel threads.

    Raises:
        DatasetError: a class has no image.
        InputError, DatasetError: an image can't be read, or several; all are named.
        RecipeError: the recipe needs the lung finder, and it is not there.
    """
    chosen = table.with_labels(classes)
    frame = _framer(preprocess)
    framed = read_all(chosen, lambda sample: frame(chosen.path(sample)), progress)
    return Frames(
        np.stack(framed),
        np.array([list(classes).index(sample.label) for sample in chosen], dtype=np.int64),
        tuple(sample.split for sample in chosen),
        tuple(sample.file for sample in chosen),
    )


def read_all(table: SampleTable, read: Callable[[Sample], T], progress: bool) -> list[T]:
    """What ``read`` gives for every sample, in parallel threads.

    Learning from less than was asked for would change the result without a word, so nothing is left out: images that
    can't be read are refused, all of them at once.

    Raises:
        InputError: one image can't be read.
        DatasetError: several can't; the message has a line for each, up to :data:`NAMED`.
    """

    def tried(sample: Sample) -> T | InputError:
        try:
            return read(sample)
        except InputError as error:
            return error

    with ThreadPoolExecutor() as pool:
        found = list(
            track(
                pool.map(tried, table),
                description="reading images",
                total=len(table),
                console=Console(stderr=True),
                transient=True,
                disable=not progress,
            )
        )
    bad = [item for item in found if isinstance(item, InputError)]
    if len(bad) == 1:
        raise bad[0]
    if bad:
        lines = [str(error) for error in bad[:NAMED]]
        more = [f"and {len(bad) - NAMED} more"] if len(bad) > NAMED else []
        rule = f"{table.root}: {len(bad)} of {len(table)} images can't be read"
        raise DatasetError("\n  ".join([rule, *lines, *more]))
    return [item for item in found if not isinstance(item, InputError)]


def lung_finder() -> Path:
    """The lung finder that comes with the package.

    Raises:
        RecipeError: it is not there.
    """
    network = built_in_lung_finder() / "lungs.onnx"
    if not network.is_file():
        raise RecipeError("preprocess.region=lungs: this installation has no lung finder (xray-lungs)")
    return network


def _framer(preprocess: Preprocess) -> Callable[[Path], npt.NDArray[np.uint8]]:
    """What turns a file into a framed image, uint8 (size, size)."""
    finder = None
    if preprocess.needs_finder:
        finder = open_network(lung_finder())

    def frame(path: Path) -> npt.NDArray[np.uint8]:
        pixels = read_pixels(path)
        lungs = None if finder is None else find_lungs(finder, pixels)
        return np.rint(np.clip(preprocess.frame(pixels, lungs).image, 0, 1) * 255).astype(np.uint8)

    return frame


class FramedImages(Dataset[tuple[torch.Tensor, int]]):
    """Framed images as a network's input, float32 (channels, size, size), each with its label.

    Args:
        frames: all images.
        preprocess: the recipe's, with its final mean and s.d.
        augment: None gives every image as it is, as in diagnosis.
        seed: of the whole run.
    """

    def __init__(
        self, frames: Frames, preprocess: Preprocess, augment: Augmentation | None, seed: int
    ) -> None:
        self.frames, self.preprocess, self.augment, self.seed = frames, preprocess, augment, seed

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        image = self.frames.images[key[2]].astype(np.float32) / np.float32(255)
        return torch.from_numpy(np.require(self._input(image, key), requirements="W")), int(
            self.frames.labels[key[2]]
        )

    def _input(self, image: FloatArray, key: Key) -> FloatArray:
        """The one place that says what comes first: augment the raw image, then harmonise what came out."""
        factor = 1.0
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, *key])
            image, factor = self.augment(image, rng), self.augment.contrast_factor(rng)
        return self.preprocess.tensor(self.preprocess.tone(image, factor))

    def __len__(self) -> int:
        return len(self.frames.labels)


class EpochOrder(Sampler[list[Key]]):
    """Batches of keys. A training epoch's order is drawn from (seed, phase, epoch); otherwise the table's.

    All batches are of nearly the same size, at most ``batch_size``: no small last one, whose BatchNorm would be noise.
    """

    def __init__(
        self, places: npt.NDArray[np.int64], batch_size: int, phase: int, seed: int, shuffle: bool
    ) -> None:
        self.places, self.batch_size, self.phase, self.seed = places, batch_size, phase, seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next; Lightning calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.places) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.places
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.phase, self.epoch]).permutation(self.places)
        for batch in np.array_split(order, len(self)):
            yield [(self.phase, self.epoch, int(place)) for place in batch]


def loader(images: FramedImages, order: EpochOrder, workers: int) -> DataLoader[Any]:
    """Batches in the given order; ``workers`` processes prepare them, 0: the training process itself."""
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,  # forking a process that has threads can hang
    )
