"""A map of what a network knows of patients: t-SNE (van der Maaten and Hinton 2008)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.manifold import TSNE

from pulmoscope.core.types import FloatArray

PERPLEXITY = 30.0
LEAST = 5
"""Fewer points make no map."""


def side_by_side(vectors: Sequence[FloatArray]) -> FloatArray:
    """One vector of several of a patient, each brought to length 1 so that none outweighs the others."""
    parts = [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
    return np.concatenate(parts).astype(np.float32)


def map_of(vectors: npt.ArrayLike, seed: int = 20) -> FloatArray:
    """Places (n, 2) of vectors (n, d), near ones together. Distances between clusters mean nothing.

    Args:
        seed: equal vectors and seeds give equal maps.

    Raises:
        ValueError: fewer than :data:`LEAST` vectors.
    """
    points = np.asarray(vectors, dtype=np.float32)
    if len(points) < LEAST:
        raise ValueError(f"a map needs at least {LEAST} points (found: {len(points)})")
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    start = "pca" if min(points.shape) > 2 else "random"
    positions = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(points)
    return np.asarray(positions, dtype=np.float32)
