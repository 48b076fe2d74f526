"""A data set's images, read and framed once and kept in memory, with all that is known of each to learn from."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import DatasetError, InputError, RecipeError, ResourceError
from pulmoscope.core.files import write_bytes
from pulmoscope.core.types import Box, FloatArray, Scan
from pulmoscope.datasets.hospitals import hospital_of, without
from pulmoscope.datasets.labels import LabelMap, learnable, mapped_labels, soft_labels, targets
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_xray
from pulmoscope.preprocess.framing import crop
from pulmoscope.preprocess.kinds import ImagePreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import built_in_lung_finder
from pulmoscope.runtime.model import find_lungs
from pulmoscope.runtime.network import Network, open_network
from pulmoscope.training.frame_cache import FrameCache, FramedSample
from pulmoscope.training.progress import Reporter

T = TypeVar("T")

IMAGES, LABELS = "images.npy", "labels.npz"
"""Files of framed images that several processes share."""
NAMED = 20
"""How many bad images a message names."""

MAP_SIDE = 40
"""Side of the maps of lungs and of opacities that go with a framed image, px."""


@dataclass(frozen=True)
class Maps:
    """What lies where in the framed images.

    Attributes:
        lungs: uint8 (n, MAP_SIDE, MAP_SIDE): lung probability x 255.
        opacities: the same shape: how much of each place readers' boxes cover, x 255.
        known: bool (n,): whether ``opacities`` says something: a reader drew boxes, or the class has none. Boxes are in
            pixels of the stored image: of one that was turned or resampled in reading they say nothing.
    """

    lungs: npt.NDArray[np.uint8]
    opacities: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Frames:
    """Framed images, in the table's order.

    Attributes:
        images: uint8 (n, size, size): ``preprocess.frame(...).image`` x 255, as most sources have 8 bit anyway.
        labels: int64 (n,), index into the class list.
        splits, files: of each image, as the table says.
        targets: float32 (n, classes): fractions of the classes, where a label is not one class for sure; None: it is.
        hospitals: of each image, as the hospital map says.
        maps: None where nobody asked.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    splits: tuple[str, ...]
    files: tuple[str, ...]
    targets: FloatArray | None = None
    hospitals: tuple[str, ...] = ()
    maps: Maps | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """Of each image its hospital and class."""
        return tuple(f"{name}: {label}" for name, label in zip(self.hospitals, self.labels, strict=True))

    def places(self, *splits: str) -> npt.NDArray[np.int64]:
        """Where the images of these splits are."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def select(self, indices: npt.NDArray[np.int64]) -> Frames:
        """The images at these places, as :func:`load_frames` gives them where there are no others."""
        targets = None if self.targets is None else self.targets[indices]
        if targets is not None and (targets.max(axis=1) == 1).all():
            targets = None
        maps = self.maps
        return Frames(
            self.images[indices],
            self.labels[indices],
            tuple(self.splits[index] for index in indices),
            tuple(self.files[index] for index in indices),
            targets,
            tuple(self.hospitals[index] for index in indices) if self.hospitals else (),
            maps and Maps(maps.lungs[indices], maps.opacities[indices], maps.known[indices]),
        )

    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels, in [0, 1] (system E, section II)."""
        counts = np.bincount(self.images.reshape(-1), minlength=256).astype(np.float64)
        values = np.arange(256) / 255
        mean = float((counts * values).sum() / counts.sum())
        return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


def write_frames(frames: Frames, folder: Path) -> None:
    """Keep framed images for other processes; the last file written is the images."""
    kept: dict[str, Any] = {
        name: getattr(frames, name) for name in ("labels", "splits", "files", "hospitals")
    }
    kept |= {} if frames.targets is None else {"targets": frames.targets}
    kept |= {} if frames.maps is None else vars(frames.maps)
    stream = io.BytesIO()
    np.savez(stream, **kept)
    write_bytes(folder / LABELS, stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, frames.images)
    write_bytes(folder / IMAGES, stream.getvalue())


def read_frames(folder: Path) -> Frames:
    """What :func:`write_frames` kept; the images stay on disk, and in memory once for all processes.

    Raises:
        ResourceError: this machine does not see the folder.
    """
    if not folder.is_dir():
        raise ResourceError(f"{folder}: {platform.node()} does not see this folder")
    with np.load(folder / LABELS) as arrays:
        return Frames(
            np.load(folder / IMAGES, mmap_mode="r"),
            arrays["labels"],
            tuple(arrays["splits"].tolist()),
            tuple(arrays["files"].tolist()),
            arrays.get("targets"),
            tuple(arrays["hospitals"].tolist()),
            Maps(arrays["lungs"], arrays["opacities"], arrays["known"]) if "known" in arrays else None,
        )


def prepared(recipe: Recipe, table: SampleTable) -> SampleTable:
    """A data set in a recipe's words: hospitals left out, labels mapped, and what is no class of it left out.

    Doing it twice changes nothing.

    Raises:
        DatasetError: nothing is left, or the recipe's table of labels makes no sense.
    """
    if recipe.left_out:
        table = without(table, recipe.left_out)
    table = mapped_labels(table, recipe.labels)
    return learnable(table, recipe.labels, recipe.classes) if recipe.classes else table


def frames_of(recipe: Recipe, table: SampleTable, progress: bool = True, cache: Path | None = None) -> Frames:
    """Everything of train and val that a resolved recipe learns from (see :func:`load_frames`)."""
    return load_frames(
        learnt_from(recipe, table),
        recipe.framing,
        recipe.classes,
        progress,
        labels=recipe.labels,
        unread=recipe.unread,
        maps=bool(recipe.locate or recipe.augmentation.opacities),
        cache=cache,
    )


def learnt_from(recipe: Recipe, table: SampleTable) -> SampleTable:
    """The images of train and val that have one of the classes; of several classes at once in train only.

    Raises:
        DatasetError: a split or a class has no image.
    """
    pool = table.split("train", "val")
    pool.with_labels(recipe.classes)
    known, shared = set(recipe.classes), {*soft_labels(recipe.labels)} - {*recipe.classes}
    return pool.with_samples(
        sample
        for sample in pool
        if sample.label in known or (sample.label in shared and sample.split == "train")
    )


def load_frames(
    table: SampleTable,
    preprocess: ImagePreprocess,
    classes: Sequence[str],
    progress: bool = True,
    *,
    labels: LabelMap | None = None,
    unread: Mapping[str, float] | None = None,
    maps: bool = False,
    cache: Path | None = None,
) -> Frames:
    """Read and frame every image of the table that is of one of the classes, in parallel threads.

    Args:
        labels, unread: of labels that are not one class for sure (see :func:`pulmoscope.datasets.labels.targets`).
        maps: also give the maps of lungs and opacities.
        cache: a folder of framed images, where those that were framed before are taken from and the others kept; None:
            every image is read.

    Raises:
        DatasetError: a class has no image.
        InputError, DatasetError: an image can't be read, or several; all are named.
        RecipeError: the recipe needs the lung finder, and it is not there.
    """
    labels, unread = labels or {}, unread or {}
    table.with_labels(classes)
    known = {*classes, *soft_labels(labels)}
    chosen = table.with_samples(sample for sample in table if sample.label in known)
    framed = _framed(chosen, preprocess, maps, progress, cache)
    soft_targets = targets(chosen, labels, classes, unread)
    soft = bool((soft_targets.max(axis=1) < 1).any())
    numbers = soft_targets.argmax(axis=1).astype(np.int64)
    return Frames(
        np.stack([image for image, *_ in framed]),
        numbers,
        tuple(sample.split for sample in chosen),
        tuple(sample.file for sample in chosen),
        soft_targets if soft else None,
        tuple(hospital_of(sample) for sample in chosen),
        _maps(chosen, framed, [classes[at] for at in numbers]) if maps else None,
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
        items = list(Reporter.of(progress).track(pool.map(tried, table), "reading images", len(table)))
    bad = [item for item in items if isinstance(item, InputError)]
    if len(bad) == 1:
        raise bad[0]
    if bad:
        lines = [str(error) for error in bad[:NAMED]]
        more = [f"and {len(bad) - NAMED} more"] if len(bad) > NAMED else []
        rule = f"{table.root}: {len(bad)} of {len(table)} images can't be read"
        raise DatasetError("\n  ".join([rule, *lines, *more]))
    return [item for item in items if not isinstance(item, InputError)]


def as_stored(scan: Scan) -> bool:
    """Whether a radiograph's pixels lie where its file has them, so that a reader's boxes fit."""
    return not any(flag.code in ("turned", "resampled") for flag in scan.remarks)


def lung_finder() -> Path:
    """The lung finder that comes with the package.

    Raises:
        RecipeError: it is not there.
    """
    network = built_in_lung_finder() / "lungs.onnx"
    if not network.is_file():
        raise RecipeError("preprocess.region=lungs: this installation has no lung finder (xray-lungs)")
    return network


def _framed(
    table: SampleTable, preprocess: ImagePreprocess, maps: bool, progress: bool, cache: Path | None
) -> list[FramedSample]:
    """Every sample framed, or taken from the cache."""
    framer = _Framer(preprocess, table, maps)
    if cache is None:
        return read_all(table, framer, progress)
    finder, tell = lung_finder() if framer.finds else None, Reporter.of(progress).line
    kept = FrameCache(cache, preprocess, maps, finder, tell)
    try:
        return read_all(table, kept.through(table, framer), progress)
    finally:  # also of a data set with bad images: the others need not be framed again
        kept.close()


class _Framer:
    """What turns a sample into a framed image, uint8 (size, size), its maps of lungs and opacities, and whether a
    reader's boxes are in the latter."""

    def __init__(self, preprocess: ImagePreprocess, table: SampleTable, maps: bool) -> None:
        self._preprocess, self._table, self._maps = preprocess, table, maps
        self.finds = preprocess.needs_finder or maps
        self._finder: Network | None = open_network(lung_finder()) if self.finds else None

    def __call__(self, sample: Sample) -> FramedSample:
        scan = read_xray(self._table.path(sample))
        pixels = scan.pixels[0]
        lungs = None if self._finder is None else find_lungs(self._finder, pixels)
        framed = self._preprocess.frame(pixels, lungs if self._preprocess.needs_finder else None)
        image = _bytes(framed.image)
        if not self._maps or lungs is None:
            return FramedSample(image, np.empty((0, 0), np.uint8), np.empty((0, 0), np.uint8), False)
        rows, columns = pixels.shape
        opacities = np.zeros((rows, columns), dtype=np.float32)
        stored = as_stored(scan)
        for left, top, right, bottom in sample.boxes if stored else ():
            down, across = (max(0, int(first)) for first in (top, left))
            opacities[down : max(0, int(np.ceil(bottom))), across : max(0, int(np.ceil(right)))] = 1
        whole = np.asarray(cv2.resize(lungs, (columns, rows)), dtype=np.float32)
        boxed = stored and bool(sample.boxes)
        return FramedSample(image, _map(whole, framed.box), _map(opacities, framed.box), boxed)


def _map(whole: FloatArray, box: Box) -> npt.NDArray[np.uint8]:
    return _bytes(cv2.resize(crop(whole, box), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA))


def _bytes(image: FloatArray) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _maps(table: SampleTable, framed: Sequence[FramedSample], classes: Sequence[str]) -> Maps:
    _, lungs, opacities, boxed = zip(*framed, strict=True)
    known = [
        has or not (sample.boxes or is_positive(name))
        for sample, name, has in zip(table, classes, boxed, strict=True)
    ]
    return Maps(np.stack(lungs), np.stack(opacities), np.array(known))
