"""A data set's images, read and framed once and kept in memory; augmented anew every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulmoscope.datasets.table import SampleTable
from pulmoscope.preprocess.xray import XrayPreprocess


@dataclass(frozen=True)
class Frames:
    """Framed images of the splits train and val, in the table's order.

    Attributes:
        images: uint8 (n, size, size): ``preprocess.frame(...).image`` x 255.
        labels: int64 (n,), index into the class list.
        splits, files: of each image, as the table says.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    splits: tuple[str, ...]
    files: tuple[str, ...]


def load_frames(
    table: SampleTable, preprocess: XrayPreprocess, classes: Sequence[str], progress: bool = True
) -> Frames:
    """Read and frame every image of the table that is of one of the classes, in parallel threads."""
    raise NotImplementedError
