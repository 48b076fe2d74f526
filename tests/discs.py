"""Synthetic slices for tests of anomaly detection: a dark disc on bright ground is what is normal."""

from __future__ import annotations

import numpy as np

from pulmoscope.core.types import FloatArray


def discs(count: int, seed: int = 0) -> FloatArray:
    """Slices (count, 32, 32) with a disc of any size."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, 32, dtype=np.float32)
    apart = np.hypot(line[:, None], line)
    slices = [np.where(apart < radius, 0.2, 0.8) for radius in rng.uniform(0.4, 0.8, count)]
    return np.stack(slices).astype(np.float32)
