"""The images that an export is calibrated with and verified on, as a model's networks see them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.errors import DatasetError, InputError
from pulmoscope.core.threads import ahead
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.inference.image import SeenImage, look_at_image
from pulmoscope.io import read_xray
from pulmoscope.preprocess.views import view_input
from pulmoscope.runtime.model import Model
from pulmoscope.segment.xray_lungs import finder_input

CALIBRATION, FEWEST_TO_CALIBRATE = 300, 20
"""Images of train by which int8 sets ranges: as many as NNCF takes; and the fewest."""
VERIFICATION, FEWEST = 1000, 50
"""Images of val that answers are compared on: at most, and the fewest. With 200, 99 % is known to 1.4 points."""
SEED = 20
_AHEAD = 64


@dataclass(frozen=True)
class Seen:
    """An image as a model's networks see it.

    Attributes:
        sample: which it is.
        image: framed, with its quality flags.
        inputs: of the networks beside the image network: ``lungs.onnx`` … → float32 (1, side, side).
    """

    sample: Sample
    image: SeenImage
    inputs: dict[str, FloatArray]

    def input_of(self, network: str) -> FloatArray:
        """What a network gets: one beside the image network its input, any other the tensor."""
        return self.inputs.get(network, self.image.prepared.tensor)


def stacked(seen: Sequence[Seen], network: str) -> FloatArray:
    """What a network gets of all images, (images, …)."""
    return np.stack([one.input_of(network) for one in seen])


def for_verification(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """Images of val with a label of the model's, at most :data:`VERIFICATION`, drawn by a fixed seed.

    Raises:
        DatasetError: they are fewer than :data:`FEWEST`.
    """
    return _drawn(table, "val", classes, VERIFICATION, FEWEST)


def for_calibration(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """Images of train, as many of each source and class as there are, at most :data:`CALIBRATION` in all.

    Raises:
        DatasetError: they are fewer than :data:`FEWEST_TO_CALIBRATE`.
    """
    return _drawn(table, "train", classes, CALIBRATION, FEWEST_TO_CALIBRATE)


def _drawn(table: SampleTable, split: str, classes: tuple[str, ...], most: int, fewest: int) -> SampleTable:
    """Images of a split, of each source and class in turn, drawn by a fixed seed."""
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in table.split(split):
        if sample.label in classes:
            groups[sample.source, sample.label].append(sample)
    rng = np.random.default_rng(SEED)
    queues = [[group[at] for at in rng.permutation(len(group))] for _, group in sorted(groups.items())]
    turns = (
        queue[turn]
        for turn in range(max(map(len, queues), default=0))
        for queue in queues
        if turn < len(queue)
    )
    chosen = [sample for sample, _ in zip(turns, range(most), strict=False)]
    if len(chosen) < fewest:
        raise DatasetError(
            f"{table.root}: an export needs at least {fewest} images of the split {split} with a label that the model "
            f"knows (found: {len(chosen)})"
        )
    return table.with_samples(chosen)


def look(model: Model, table: SampleTable) -> Iterator[Seen | None]:
    """Each image as a model sees it, in the table's order; None where it can't be read."""

    def one(sample: Sample) -> Seen | None:
        try:
            scan = read_xray(table.path(sample))
        except InputError:
            return None
        seen, pixels = look_at_image(scan, model), scan.pixels[0]
        inputs = {"lungs.onnx": finder_input, "view.onnx": view_input}
        return Seen(
            sample,
            seen,
            {name: make(pixels) for name, make in inputs.items() if name in model.bundle.networks},
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from ahead(threads, one, table, _AHEAD)
