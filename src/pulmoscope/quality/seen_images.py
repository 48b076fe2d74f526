"""What is measured of some images of a place or a hospital, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulmoscope.core.types import BoolArray, FloatArray
from pulmoscope.quality.two_sample import Indices


@dataclass(frozen=True)
class SeenImages:
    """What is measured of some images.

    Attributes:
        pooled: float32 (n, maps), the network's last feature maps averaged over space.
        statistics: float32 (n, statistics), see ``image_statistics``.
        predicted: (n,), the most probable class of each, as an index.
        referred: bool (n,), whether its answer was referred.
        hospitals: (n,), where each is from; empty where nobody knows.
    """

    pooled: FloatArray
    statistics: FloatArray
    predicted: Indices
    referred: BoolArray
    hospitals: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.predicted)

    @classmethod
    def joined(cls, parts: Sequence[SeenImages]) -> SeenImages:
        """All of them as one; at least one."""
        return cls(
            np.concatenate([part.pooled for part in parts]),
            np.concatenate([part.statistics for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.referred for part in parts]),
            tuple(name for part in parts for name in part.hospitals),
        )

    def select(self, chosen: Indices | BoolArray) -> SeenImages:
        """Those at these indices, or where the mask is true."""
        return SeenImages(
            self.pooled[chosen],
            self.statistics[chosen],
            self.predicted[chosen],
            self.referred[chosen],
            tuple(np.asarray(self.hospitals)[chosen].tolist()),
        )


@dataclass(frozen=True)
class Outcomes:
    """What became of some images: of each class which fraction was predicted so, and which fraction was referred."""

    predicted: Mapping[str, float]
    referred: float
